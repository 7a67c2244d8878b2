"""Tests of starting runs: values of the run, and refusals."""

from typing import Any

import pytest

from db import flows
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import LIVE
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

HELLO = {
    "inputSchema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 2}}},
    "steps": [{"name": "greet", "kind": "transform", "input": "Hello {{ run.input.name }}"}],
}
ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
EVERYTHING = """input environment tags metadata triggerMethod parentRun { id } rootRun { id } failParentOnFailure
    externalId source status attempt stepData retryOf { id } flow { id } flowVersion { number } project { id }"""


@pytest.fixture
async def echo(idle_app: App) -> str:
    return await idle_app.create_flow(ECHO)


async def start_code(app: App, flow: str, **values: Any) -> str:
    """Returns the code of the top-level error of `startRun`."""
    text = "mutation($input: StartRunInput!) { startRun(input: $input) { __typename } }"
    return await app.error_code(text, {"input": {"flowId": flow, **values}})


async def test_run_has_start_arguments(idle_app: App, echo: str) -> None:
    (parent,) = await make_runs(idle_app, await make_flow(idle_app, "parent"), {"status": RunStatus.RUNNING})
    said: dict[str, Any] = {
        "input": {"name": ["Ada", 1, 1.5, None, True]},
        "environment": "TESTING",
        "tags": ["b", "a"],
        "metadata": {"order": {"id": 7}},
        "triggerMethod": "WEBHOOK",
        "failParentOnFailure": True,
        "externalId": "order-7",
        "source": "shop",
    }
    answer = await idle_app.start(echo, **said, parentRunId=parent, select=EVERYTHING)
    assert answer["run"] == said | {
        "parentRun": {"id": parent},
        "rootRun": {"id": parent},
        "status": "QUEUED",
        "attempt": 1,
        "stepData": "NOT_STARTED",
        "retryOf": None,
        "flow": {"id": echo},
        "flowVersion": {"number": 1},
        "project": {"id": idle_app.project},
    }


async def test_run_without_arguments_has_defaults(idle_app: App, echo: str) -> None:
    run = (await idle_app.start(echo, select=f"id {EVERYTHING}"))["run"]
    assert run["rootRun"]["id"] == run["id"]
    defaults = {name: run[name] for name in ("input", "environment", "tags", "metadata", "triggerMethod", "parentRun")}
    assert defaults == {
        "input": {},
        "environment": "PRODUCTION",
        "tags": [],
        "metadata": {},
        "triggerMethod": "API",
        "parentRun": None,
    }


async def test_duplicate_tags_are_removed_in_order(idle_app: App, echo: str) -> None:
    assert (await idle_app.start(echo, tags=["b", "a", "b"], select="tags"))["run"]["tags"] == ["b", "a"]


async def test_run_is_executed_and_has_history(app: App) -> None:
    flow = await app.create_flow(HELLO)
    started = await app.start(flow, input={"name": "Ada"})
    select = "status output durationMs stepData steps { name status output } statusHistory { from to message }"
    assert await app.wait_until_final(started["run"]["id"], select) | {"durationMs": 0} == {
        "status": "SUCCEEDED",
        "output": "Hello Ada",
        "durationMs": 0,
        "stepData": "AVAILABLE",
        "steps": [{"name": "greet", "status": "SUCCEEDED", "output": "Hello Ada"}],
        "statusHistory": [
            {"from": None, "to": "QUEUED", "message": "Flow started via api"},
            {"from": "QUEUED", "to": "RUNNING", "message": "Run started"},
            {"from": "RUNNING", "to": "SUCCEEDED", "message": "Run succeeded"},
        ],
    }


async def test_run_keeps_version_published_at_its_start(idle_app: App, echo: str) -> None:
    run = (await idle_app.start(echo))["run"]["id"]
    publish = "mutation($id: ID!, $d: JSON!) { publishFlowVersion(flowId: $id, definition: $d) { __typename } }"
    await idle_app.query(publish, {"id": echo, "d": HELLO})
    found = await idle_app.query("query($id: ID!) { flowRun(id: $id) { flowVersion { number } } }", {"id": run})
    assert found["flowRun"]["flowVersion"]["number"] == 1
    again = await idle_app.start(echo, input={"name": "Ada"}, select="flowVersion { number }")
    assert again["run"]["flowVersion"]["number"] == 2


async def test_invalid_input_reports_problems_with_paths(idle_app: App) -> None:
    flow = await idle_app.create_flow(HELLO)
    for value, path in [({"name": "A"}, "input.name"), ({"name": 7}, "input.name"), ({}, "input"), ([1], "input")]:
        answer = await idle_app.start(flow, input=value)
        assert (answer["__typename"], answer["code"]) == ("InputInvalid", "INPUT_INVALID")
        assert [problem["path"] for problem in answer["problems"]] == [path]


async def test_unknown_flow_is_refused(idle_app: App) -> None:
    assert (await idle_app.start("flow_" + "0" * 32))["code"] == "FLOW_NOT_FOUND"


async def test_unpublished_flow_is_refused(idle_app: App) -> None:
    assert (await idle_app.start(await idle_app.create_flow(None)))["code"] == "FLOW_NOT_PUBLISHED"


async def test_disabled_flow_is_refused(idle_app: App, echo: str) -> None:
    await idle_app.database.write(flows.change, ids.decode(IdKind.FLOW, echo), {"enabled": False})
    assert (await idle_app.start(echo))["code"] == "FLOW_DISABLED"


async def test_parent_must_be_live(idle_app: App, echo: str) -> None:
    published = await make_flow(idle_app, "parent")
    for status in RunStatus:
        (parent,) = await make_runs(idle_app, published, {"status": status})
        answer = await idle_app.start(echo, parentRunId=parent, select="triggerMethod")
        if status in LIVE:
            assert answer["run"]["triggerMethod"] == "PARENT"
        else:
            assert answer["code"] == "PARENT_NOT_LIVE"


async def test_parent_of_other_project_is_not_found(idle_app: App, echo: str) -> None:
    foreign = await make_flow(idle_app, "parent", project=idle_app.other_project)
    (parent,) = await make_runs(idle_app, foreign, {"status": RunStatus.RUNNING})
    for key in (idle_app.keys.admin, idle_app.keys.all_projects):
        refusal = await idle_app.start(echo, parentRunId=parent, key=key)
        unknown = await idle_app.start(echo, parentRunId="run_" + "0" * 32, key=key)
        assert refusal == unknown
        assert refusal["code"] == "RUN_NOT_FOUND"


async def test_headers_name_parent_unless_arguments_do(idle_app: App, echo: str) -> None:
    published = await make_flow(idle_app, "parent")
    first, second = await make_runs(idle_app, published, *[{"status": RunStatus.RUNNING}] * 2)
    text = """mutation($input: StartRunInput!) { startRun(input: $input) { ... on StartRunSuccess {
        run { triggerMethod failParentOnFailure parentRun { id } } } } }"""

    async def start(headers: dict[str, str], **values: Any) -> tuple[str | None, bool]:
        found = await idle_app.query(text, {"input": {"flowId": echo, **values}}, headers=headers)
        run = found["startRun"]["run"]
        return run["parentRun"] and run["parentRun"]["id"], run["failParentOnFailure"]

    named = {"ap-parent-run-id": first, "ap-fail-parent-on-failure": "true"}
    assert await start({}) == (None, False)
    assert await start(named) == (first, True)
    assert await start({**named, "ap-fail-parent-on-failure": "false"}) == (first, False)
    assert await start(named, parentRunId=second) == (second, True)
    assert await start(named, failParentOnFailure=False) == (first, False)
    assert (
        await idle_app.error_code(text, {"input": {"flowId": echo}}, headers={"ap-parent-run-id": "x"}) == "INVALID_ID"
    )


async def test_too_large_json_is_refused(idle_app: App, echo: str) -> None:
    too_large: list[dict[str, Any]] = [
        {"metadata": {"blob": "x" * 1_000_000}},
        {"metadata": {"blob": "x" * 65_536}},
        {"input": "x" * 1_048_576},
    ]
    for values in too_large:
        answer = await idle_app.start(echo, **values)
        assert (answer["__typename"], answer["code"]) == ("InputTooLarge", "INPUT_TOO_LARGE")
        assert "bytes of JSON" in answer["message"]


async def test_json_of_largest_size_is_accepted(idle_app: App, echo: str) -> None:
    metadata, value = {"blob": "x" * (65_536 - 11)}, "x" * (1_048_576 - 2)
    answer = await idle_app.start(echo, metadata=metadata, input=value, select="metadata input")
    assert answer["run"] == {"metadata": metadata, "input": value}


NUL = "a\0b"


OUT_OF_BOUNDS: list[dict[str, Any]] = [
    {"tags": [f"tag {number}" for number in range(51)]},
    {"tags": [""]},
    {"tags": ["x" * 201]},
    {"tags": [NUL]},
    {"metadata": [1]},
    {"metadata": {"a": NUL}},
    {"metadata": {NUL: 1}},
    {"externalId": ""},
    {"externalId": NUL},
    {"source": "x" * 201},
    {"source": NUL},
    {"idempotencyKey": ""},
    {"idempotencyKey": "x" * 201},
    {"idempotencyKey": NUL},
    {"waitMs": -1},
    {"waitMs": 60_001},
    {"triggerMethod": "RETRY"},
]


async def test_out_of_range_arguments_are_refused(idle_app: App, echo: str) -> None:
    for values in OUT_OF_BOUNDS:
        assert await start_code(idle_app, echo, **values) == "INVALID_ARGUMENT", values


async def test_invalid_id_is_refused(idle_app: App, echo: str) -> None:
    for text in ("x", NUL, "proj_" + "0" * 32):
        for name in ("flowId", "parentRunId"):
            assert await start_code(idle_app, echo, **{name: text}) == "INVALID_ID"


async def test_any_json_input_is_stored_unchanged(app: App) -> None:
    flow = await app.create_flow(ECHO)
    values: list[Any] = [NUL, {NUL: [NUL]}, "\U0001f600", 2**63 - 1, -(2**63), 1e300, [], "", "é"]
    for value in values:
        answer = await app.start(flow, input={"v": value}, waitMs=60_000, select="status input output steps { output }")
        assert answer["run"] == {
            "status": "SUCCEEDED",
            "input": {"v": value},
            "output": {"v": value},
            "steps": [{"output": {"v": value}}],
        }


async def test_repeated_tags_count_once(idle_app: App, echo: str) -> None:
    tags = [f"t{number}" for number in range(50)]
    assert (await idle_app.start(echo, tags=[*tags, "t0"], select="tags"))["run"]["tags"] == tags
    assert await start_code(idle_app, echo, tags=[*tags, "t50"]) == "INVALID_ARGUMENT"


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


async def test_nested_json_is_accepted_up_to_limit(idle_app: App, echo: str) -> None:
    assert (await idle_app.start(echo, input=nested(90), select="input"))["run"]["input"] == nested(90)
    assert await start_code(idle_app, echo, input=nested(500)) == "INVALID_ARGUMENT"
    assert await start_code(idle_app, echo, metadata={"a": nested(500)}) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 123456789012345678901234, "1e400"])
async def test_number_that_clients_cannot_keep_has_one_code(idle_app: App, echo: str, number: Any) -> None:
    literal = f'mutation {{ startRun(input: {{flowId: "{echo}", input: {{n: {number}}}}}) {{ __typename }} }}'
    metadata = f'mutation {{ startRun(input: {{flowId: "{echo}", metadata: {{n: [{number}]}}}}) {{ __typename }} }}'
    for text in (literal, metadata):
        assert await idle_app.error_code(text) == "NUMBER_OUT_OF_RANGE"
    mutation = "mutation($i: StartRunInput!) { startRun(input: $i) { __typename } }"
    for field in ("input", "metadata"):
        body = f'{{"query": "{mutation}", "variables": {{"i": {{"flowId": "{echo}", "{field}": {{"n": {number}}}}}}}}}'
        headers = {"authorization": f"Bearer {idle_app.keys.admin}", "content-type": "application/json"}
        response = await idle_app.http.post("/graphql", content=body, headers=headers)
        assert response.json()["errors"][0]["extensions"]["code"] == "NUMBER_OUT_OF_RANGE", field


async def test_literal_escape_of_nul_is_kept(idle_app: App, echo: str) -> None:
    six = "\\u0000"
    assert len(six) == 6
    run = (await idle_app.start(echo, input=six, metadata={six: six}, tags=[six], select="input metadata tags"))["run"]
    assert run == {"input": six, "metadata": {six: six}, "tags": [six]}
    found = await idle_app.query(
        "query($m: JSON) { flowRuns(filter: {metadata: $m}) { totalCount } }", {"m": {six: six}}
    )
    assert found["flowRuns"]["totalCount"] == 1


DEFAULTS = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "default": 5}}}


async def test_defaults_of_the_input_schema_apply(app: App) -> None:
    flow = await app.create_flow({**ECHO, "inputSchema": DEFAULTS})
    for given, expected in (({}, {"n": 5}), ({"n": 1, "m": 2}, {"n": 1, "m": 2})):
        run = (await app.start(flow, input=given, waitMs=30_000, select="input output"))["run"]
        assert run == {"input": expected, "output": expected}
    refused = await app.start(flow, input={"n": "x"}, select="id")
    assert refused["__typename"] == "InputInvalid"


async def test_explicit_default_is_another_request(idle_app: App) -> None:
    flow = await idle_app.create_flow({**ECHO, "inputSchema": DEFAULTS})
    first = (await idle_app.start(flow, input={}, idempotencyKey="k"))["run"]
    assert (await idle_app.start(flow, input={}, idempotencyKey="k"))["run"] == first


async def test_definition_whose_default_does_not_fit_is_refused(idle_app: App) -> None:
    schema = {"properties": {"n": {"type": "integer", "default": "x"}}}
    text = """mutation($d: JSON) { createFlow(name: "x", definition: $d) { __typename
        ... on DefinitionInvalid { problems { path } } } }"""
    result = (await idle_app.query(text, {"d": {**ECHO, "inputSchema": schema}}))["createFlow"]
    assert result == {"__typename": "DefinitionInvalid", "problems": [{"path": "inputSchema.properties.n.default"}]}


async def test_lone_surrogates_are_refused(idle_app: App, echo: str) -> None:
    headers = {"authorization": f"Bearer {idle_app.keys.admin}", "content-type": "application/json"}
    for literal in (r'"\uD800"', r'"\u{D800}"', r'"\uDC00\uD800"'):
        text = f'mutation {{ startRun(input: {{flowId: "{echo}", source: {literal}}}) {{ __typename }} }}'
        assert await idle_app.error_code(text) == "BAD_REQUEST"
        body = f'{{"query": "{{ viewer {{ role }} }}", "variables": {{"a": {literal}}}}}'
        assert (await idle_app.http.post("/graphql", content=body, headers=headers)).status_code == 400
