"""Defaults of JSON Schemas: where they apply, and which of them are refused."""

from typing import Any

import pytest

from domain.errors import InputInvalidError
from domain.flows.json_defaults import CheckedSchema, Defaults, default_problems

NESTED = {
    "properties": {
        "n": {"type": "integer", "default": 5},
        "options": {"default": {}, "properties": {"deep": {"default": [1]}}},
        "lines": {"items": {"properties": {"count": {"default": 0}}}},
        "pair": {"prefixItems": [{"properties": {"a": {"default": "x"}}}]},
        "by_reference": {"$ref": "#/$defs/text"},
        "either": {"anyOf": [{"properties": {"z": {"default": 1}}}]},
    },
    "allOf": [{"properties": {"also": {"default": None}}}],
    "additionalProperties": {"properties": {"k": {"default": "v"}}},
    "$defs": {"text": {"type": "string", "default": "behind"}},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"n": 5, "options": {"deep": [1]}, "by_reference": "behind", "also": None}),
        ({"n": None}, {"n": None, "options": {"deep": [1]}, "by_reference": "behind", "also": None}),
        (
            {"n": 0, "options": 1, "by_reference": "", "also": 2, "lines": [{}, 3, {"count": 9}], "pair": [{}, {}]},
            {
                "n": 0,
                "options": 1,
                "by_reference": "",
                "also": 2,
                "lines": [{"count": 0}, 3, {"count": 9}],
                "pair": [{"a": "x"}, {}],
            },
        ),
        ([1], [1]),
        (None, None),
    ],
)
def test_missing_members_get_their_defaults(given: Any, expected: Any) -> None:
    assert Defaults(NESTED).fill(given) == expected


def test_defaults_of_branches_do_not_apply_and_other_members_are_known() -> None:
    filled = Defaults(NESTED).fill({"either": {}, "other": {}})
    assert (filled["either"], filled["other"]) == ({}, {"k": "v"})


def test_value_that_was_given_is_not_changed() -> None:
    given: dict[str, Any] = {"options": {}}
    Defaults(NESTED).fill(given)
    assert given == {"options": {}}


def test_schema_without_defaults_returns_the_value_itself() -> None:
    given = {"a": 1}
    assert Defaults({"properties": {"a": {"type": "integer"}}}).fill(given) is given


def test_schema_that_refers_to_itself_fills_every_level() -> None:
    tree = {"properties": {"name": {"default": "?"}, "children": {"items": {"$ref": "#"}}}}
    assert Defaults(tree).fill({"children": [{"children": [{}]}]}) == {
        "name": "?",
        "children": [{"name": "?", "children": [{"name": "?"}]}],
    }


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        (NESTED, []),
        ({"properties": {"n": {"type": "integer", "default": "x"}}}, ["inputSchema.properties.n.default"]),
        ({"properties": {"n": {"enum": [1, 2], "default": 3}}}, ["inputSchema.properties.n.default"]),
        ({"properties": {"o": {"required": ["a"], "default": {}}}}, ["inputSchema.properties.o.default"]),
        ({"properties": {"o": {"required": ["a"], "default": {}, "properties": {"a": {"default": 1}}}}}, []),
        (
            {"properties": {"n": {"$ref": "#/$defs/q", "default": 1}}, "$defs": {"q": {"type": "string"}}},
            ["inputSchema.properties.n.default"],
        ),
        (
            {"$id": "https://example.com/a", "properties": {"n": {"type": "string", "default": 1}}},
            ["inputSchema.properties.n.default"],
        ),
        (
            {"anyOf": [{"properties": {"n": {"type": "string", "default": 1}}}]},
            ["inputSchema.anyOf.0.properties.n.default"],
        ),
        ({"properties": {"a/b~c": {"type": "string", "default": 1}}}, ["inputSchema.properties.a/b~c.default"]),
        ({"properties": {"a": {"default": {}, "$ref": "#"}}}, ["inputSchema.properties.a.default"]),
    ],
)
def test_default_that_does_not_fit_is_a_problem(schema: dict[str, Any], paths: list[str]) -> None:
    assert [problem.path for problem in default_problems(schema, "inputSchema")] == paths


def test_default_without_end_is_refused_when_it_is_filled() -> None:
    with pytest.raises(InputInvalidError):
        CheckedSchema({"properties": {"a": {"default": {}, "$ref": "#"}}}).accept({}, "input")


def test_value_is_checked_with_its_defaults() -> None:
    schema = CheckedSchema({"required": ["n"], "properties": {"n": {"type": "integer", "default": 5}}})
    assert schema.accept({}, "input") == {"n": 5}
    with pytest.raises(InputInvalidError) as caught:
        schema.accept({"n": "x"}, "input")
    assert caught.value.problems[0].path == "input.n"
