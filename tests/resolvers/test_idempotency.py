"""One run for one key, however often and at whatever time it is asked for."""

import asyncio
from typing import Any

import pytest

from domain.states import RunStatus
from tests.support.api import Api
from tests.support.world import add_home, add_runs, add_world

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
COUNT = "{ flowRuns { totalCount } }"
RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $key: String) {
    result: retry(runId: $id, strategy: $strategy, idempotencyKey: $key) {
        ... on RetrySuccess { run { id } } ... on UserError { code } } }"""


@pytest.fixture
async def echo(idle_api: Api) -> str:
    return await idle_api.create_flow(ECHO)


async def test_same_key_with_same_arguments_finds_the_run(idle_api: Api, echo: str) -> None:
    values: dict[str, Any] = {"idempotencyKey": "k", "input": {"b": 1, "a": 2}, "metadata": {"x": 1}, "tags": ["t"]}
    first = await idle_api.start(echo, **values)
    again = await idle_api.start(echo, **values | {"input": {"a": 2, "b": 1}})
    assert first == again
    assert (await idle_api.query(COUNT))["flowRuns"]["totalCount"] == 1


OTHERS: list[dict[str, Any]] = [
    {"input": {"a": 2}},
    {"environment": "TESTING"},
    {"tags": ["t"]},
    {"metadata": {"a": 1}},
    {"externalId": "e"},
    {"source": "s"},
    {"failParentOnFailure": True},
    {"triggerMethod": "MANUAL"},
]


async def test_same_key_with_other_arguments_is_a_conflict(idle_api: Api, echo: str) -> None:
    await idle_api.start(echo, idempotencyKey="k", input={"a": 1})
    for other in OTHERS:
        answer = await idle_api.start(echo, **{"idempotencyKey": "k", "input": {"a": 1}, **other})
        assert answer["__typename"] == "IdempotencyConflict", other


async def test_same_key_for_another_flow_or_parent_is_a_conflict(idle_api: Api, echo: str) -> None:
    (parent,) = await add_runs(idle_api, await add_home(idle_api, "parent"), {"status": RunStatus.RUNNING})
    await idle_api.start(echo, idempotencyKey="k")
    other = await idle_api.create_flow(ECHO, "other")
    assert (await idle_api.start(other, idempotencyKey="k"))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await idle_api.start(echo, idempotencyKey="k", parentRunId=parent))["code"] == "IDEMPOTENCY_CONFLICT"


async def test_keys_of_two_projects_do_not_meet(idle_api: Api, echo: str) -> None:
    foreign = await idle_api.create_flow(ECHO, key=idle_api.keys.other_admin)
    own = await idle_api.start(echo, idempotencyKey="k")
    other = await idle_api.start(foreign, idempotencyKey="k", key=idle_api.keys.other_admin)
    assert own["run"]["id"] != other["run"]["id"]


async def test_without_a_key_each_request_starts_a_run(idle_api: Api, echo: str) -> None:
    assert (await idle_api.start(echo))["run"] != (await idle_api.start(echo))["run"]


async def test_twenty_identical_requests_at_once_start_one_run(idle_api: Api, echo: str) -> None:
    answers = await asyncio.gather(*(idle_api.start(echo, idempotencyKey="k") for _ in range(20)))
    assert len({answer["run"]["id"] for answer in answers}) == 1
    assert (await idle_api.query(COUNT))["flowRuns"]["totalCount"] == 1


async def test_retries_are_done_once_under_a_key(idle_api: Api) -> None:
    world = await add_world(idle_api)
    variables = {"id": world.failed, "strategy": "FROM_FAILED_STEP", "key": "k"}
    answers = await asyncio.gather(*(idle_api.query(RETRY, variables) for _ in range(10)))
    assert len({answer["result"]["run"]["id"] for answer in answers}) == 1
    other = await idle_api.query(RETRY, variables | {"strategy": "ON_LATEST_VERSION"})
    assert other["result"]["code"] == "IDEMPOTENCY_CONFLICT"


async def test_keys_out_of_bounds_are_refused(idle_api: Api) -> None:
    world = await add_world(idle_api)
    for key in ("", "x" * 201, "a\0b"):
        variables = {"id": world.failed, "strategy": "FROM_FAILED_STEP", "key": key}
        assert await idle_api.refused(RETRY, variables) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("change", ["disabled", "stricter"])
async def test_a_run_is_found_by_its_key_whatever_became_of_its_flow(idle_api: Api, echo: str, change: str) -> None:
    first = await idle_api.start(echo, idempotencyKey="k", input={"a": 1})
    if change == "disabled":
        await idle_api.query(
            "mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }", {"id": echo}
        )
        refusal = "FLOW_DISABLED"
    else:
        publish = "mutation($id: ID!, $d: JSON!) { publishFlowVersion(flowId: $id, definition: $d) { __typename } }"
        await idle_api.query(publish, {"id": echo, "d": ECHO | {"inputSchema": {"required": ["b"]}}})
        refusal = "INPUT_INVALID"
    assert await idle_api.start(echo, idempotencyKey="k", input={"a": 1}) == first
    assert (await idle_api.start(echo, idempotencyKey="k", input={"a": 2}))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await idle_api.start(echo, idempotencyKey="other", input={"a": 1}))["code"] == refusal
    assert (await idle_api.start(echo, input={"a": 1}))["code"] == refusal
    assert (await idle_api.query(COUNT))["flowRuns"]["totalCount"] == 1
