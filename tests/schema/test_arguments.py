"""Optional arguments: none has a default of null in the schema, and null means the same as no value."""

from typing import Any

import pytest
from graphql import GraphQLArgument, GraphQLInputField, GraphQLNamedType

from schema.build import build_schema
from tests.support.app import App

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def declarations(named_type: GraphQLNamedType) -> list[tuple[str, GraphQLArgument | GraphQLInputField]]:
    """Returns the input fields of a type and the arguments of its fields, with their names."""
    fields = getattr(named_type, "fields", {})
    inputs = [(name, field) for name, field in fields.items() if isinstance(field, GraphQLInputField)]
    arguments = [
        (f"{name}({argument})", declared)
        for name, field in fields.items()
        for argument, declared in getattr(field, "args", {}).items()
    ]
    return inputs + arguments


def test_no_default_is_null(dialect: str) -> None:
    schema = build_schema()._schema
    null_defaults = [
        f"{named_type.name}.{name}"
        for named_type in schema.type_map.values()
        for name, declared in declarations(named_type)
        if declared.default_value is None
    ]
    assert null_defaults == []


OPTIONAL_RUN_FIELDS = (
    "triggerMethod",
    "parentRunId",
    "failParentOnFailure",
    "externalId",
    "source",
    "idempotencyKey",
    "waitMs",
)


async def test_null_and_absent_fields_start_equal_runs(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    select = "status triggerMethod parentRun { id } failParentOnFailure externalId source tags environment"
    absent = await idle_app.start(flow, select=select)
    null_fields: dict[str, Any] = dict.fromkeys(OPTIONAL_RUN_FIELDS)
    null = await idle_app.start(flow, select=select, **null_fields)
    assert null == absent


async def test_null_and_absent_fields_are_one_idempotent_request(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    first = await idle_app.start(flow, idempotencyKey="k")
    fields: dict[str, Any] = {name: None for name in OPTIONAL_RUN_FIELDS if name != "idempotencyKey"}
    assert await idle_app.start(flow, idempotencyKey="k", **fields) == first


async def test_null_and_absent_arguments_return_same_page(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    await idle_app.start(flow)
    select = "nodes { id } pageInfo { startCursor hasNextPage }"
    arguments = "filter: null, orderBy: null, first: null, after: null, last: null, before: null"
    body = await idle_app.query(f"{{ absent: flowRuns {{ {select} }} null: flowRuns({arguments}) {{ {select} }} }}")
    assert body["null"] == body["absent"]
    assert len(body["absent"]["nodes"]) == 1


async def test_null_and_absent_variables_return_same_page(idle_app: App) -> None:
    await idle_app.create_flow(ECHO)
    text = "query($first: Int, $filter: FlowFilter) { flows(first: $first, filter: $filter) { nodes { name } } }"
    absent = await idle_app.query(text)
    assert await idle_app.query(text, {"first": None, "filter": None}) == absent
    assert await idle_app.query(text, {"filter": {"enabled": None, "ids": None, "nameContains": None}}) == absent


@pytest.mark.parametrize("arguments", ["", ", name: null, enabled: null"])
async def test_null_and_absent_arguments_keep_values_of_flow(idle_app: App, arguments: str) -> None:
    flow = await idle_app.create_flow(ECHO)
    text = f"""mutation($id: ID!) {{ result: updateFlow(flowId: $id{arguments}) {{
        ... on UpdateFlowSuccess {{ flow {{ name enabled maxConcurrentRuns }} }} }} }}"""
    flow_fields = (await idle_app.query(text, {"id": flow}))["result"]["flow"]
    assert flow_fields == {"name": "flow", "enabled": True, "maxConcurrentRuns": None}


async def test_null_removes_a_limit_and_absence_keeps_it(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)

    async def update(arguments: str) -> Any:
        text = f"""mutation($id: ID!) {{ result: updateFlow(flowId: $id{arguments}) {{
            ... on UpdateFlowSuccess {{ flow {{ maxConcurrentRuns }} }} }} }}"""
        return (await idle_app.query(text, {"id": flow}))["result"]["flow"]["maxConcurrentRuns"]

    assert await update(", maxConcurrentRuns: 3") == 3
    assert await update("") == 3
    assert await update(", maxConcurrentRuns: null") is None
