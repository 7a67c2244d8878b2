"""Introspection, by the queries of the usual tools: without errors, and equal to the SDL."""

import json
from pathlib import Path
from typing import Any

import pytest
from graphql import build_client_schema, build_schema, get_introspection_query, lexicographic_sort_schema, print_schema

from schema.build import SDL_FILE
from tests.support.app import App
from tests.support.processes.node import running

QUERIES = {
    "all options": {
        "descriptions": True,
        "specified_by_url": True,
        "directive_is_repeatable": True,
        "schema_description": True,
        "input_value_deprecation": True,
        "one_of": True,
    },
    "GraphiQL": {"schema_description": True, "input_value_deprecation": True},
    "Apollo": {},
    "codegen": {
        "specified_by_url": True,
        "directive_is_repeatable": True,
        "schema_description": True,
        "input_value_deprecation": True,
    },
}
"""The options with which the tools make the standard query."""
COMPARE = """
import { readFileSync } from "node:fs";
import { buildClientSchema, buildSchema, lexicographicSortSchema, printSchema } from "graphql";
const [introspection, sdl] = process.argv.slice(2).map((file) => readFileSync(file, "utf8"));
const print = (schema) => printSchema(lexicographicSortSchema(schema));
console.log(print(buildClientSchema(JSON.parse(introspection))) === print(buildSchema(sdl)));
"""

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def introspect(app: App, options: dict[str, bool]) -> Any:
    body = await app.execute(get_introspection_query(**options))
    assert "errors" not in body
    return body["data"]


@ON_SQLITE
@pytest.mark.parametrize("tool", QUERIES)
async def test_standard_query_of_tools_has_no_errors_and_a_whole_schema(idle_app: App, tool: str) -> None:
    introspection = await introspect(idle_app, QUERIES[tool])
    types = {each["name"]: each for each in introspection["__schema"]["types"]}
    (default,) = (field for field in types["StartRunInput"]["inputFields"] if field["name"] == "input")
    assert (
        default["defaultValue"] is None
    )  # of an object in the scalar JSON: neither graphql-js nor graphql-core prints it
    assert build_client_schema(introspection).query_type is not None


@ON_SQLITE
@pytest.mark.parametrize("tool", ["all options", "codegen"])
async def test_schema_from_the_url_equals_the_sdl(idle_app: App, tool: str) -> None:
    introspected = build_client_schema(await introspect(idle_app, QUERIES[tool]))
    declared = build_schema(SDL_FILE.read_text())
    assert print_schema(lexicographic_sort_schema(introspected)) == print_schema(lexicographic_sort_schema(declared))


@ON_SQLITE
async def test_graphql_js_reads_the_same_schema_from_the_url_and_from_the_sdl(idle_app: App, tmp_path: Path) -> None:
    file = tmp_path / "introspection.json"
    file.write_text(json.dumps(await introspect(idle_app, QUERIES["codegen"])))
    async with running(COMPARE, str(file), str(SDL_FILE)) as process:
        output, errors = await process.communicate()
    assert (output.decode().strip(), errors.decode()) == ("true", "")


def test_no_default_of_the_sdl_is_null_or_a_json_object() -> None:
    sdl = SDL_FILE.read_text()
    assert "= null" not in sdl
    assert "= {" not in sdl
