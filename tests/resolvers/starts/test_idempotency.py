"""Tests of idempotency keys: repeated requests with one key get the first one's response."""

import asyncio
from typing import Any

import pytest

from db.bulk import operations, pinning
from domain.enums import RunStatus
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import make_flow, make_run_family, make_runs

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
COUNT = "{ flowRuns { totalCount } }"
RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $key: String) {
    result: retry(runId: $id, strategy: $strategy, idempotencyKey: $key) {
        ... on RetrySuccess { run { id } } ... on UserError { code } } }"""


@pytest.fixture
async def echo(idle_app: App) -> str:
    return await idle_app.create_flow(ECHO)


async def test_same_key_and_arguments_return_same_run(idle_app: App, echo: str) -> None:
    values: dict[str, Any] = {
        "idempotencyKey": "k",
        "input": {"b": 1, "a": 2},
        "metadata": {"x": 1},
        "tags": ["t", "s"],
    }
    first = await idle_app.start(echo, **values)
    again = await idle_app.start(echo, **values | {"input": {"a": 2, "b": 1}, "tags": ["s", "t"]})
    assert first == again
    assert (await idle_app.query(COUNT))["flowRuns"]["totalCount"] == 1


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


async def test_same_key_with_other_arguments_is_conflict(idle_app: App, echo: str) -> None:
    await idle_app.start(echo, idempotencyKey="k", input={"a": 1})
    for other in OTHERS:
        answer = await idle_app.start(echo, **{"idempotencyKey": "k", "input": {"a": 1}, **other})
        assert answer["__typename"] == "IdempotencyConflict", other


DEFAULTS: list[dict[str, Any]] = [
    {"tags": [], "metadata": {}, "environment": "PRODUCTION", "failParentOnFailure": False},
    {"triggerMethod": "API", "waitMs": 0, "externalId": None, "source": None, "parentRunId": None},
]


@pytest.mark.parametrize("defaults", DEFAULTS)
async def test_default_that_is_given_makes_no_difference(idle_app: App, echo: str, defaults: dict[str, Any]) -> None:
    first = await idle_app.start(echo, idempotencyKey="k", input={"a": 1})
    assert await idle_app.start(echo, **{"idempotencyKey": "k", "input": {"a": 1}, **defaults}) == first


async def test_same_key_for_other_flow_or_parent_is_conflict(idle_app: App, echo: str) -> None:
    (parent,) = await make_runs(idle_app, await make_flow(idle_app, "parent"), {"status": RunStatus.RUNNING})
    await idle_app.start(echo, idempotencyKey="k")
    other = await idle_app.create_flow(ECHO, "other")
    assert (await idle_app.start(other, idempotencyKey="k"))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await idle_app.start(echo, idempotencyKey="k", parentRunId=parent))["code"] == "IDEMPOTENCY_CONFLICT"


async def test_keys_of_two_projects_are_independent(idle_app: App, echo: str) -> None:
    foreign = await idle_app.create_flow(ECHO, key=idle_app.keys.other_admin)
    own = await idle_app.start(echo, idempotencyKey="k")
    other = await idle_app.start(foreign, idempotencyKey="k", key=idle_app.keys.other_admin)
    assert own["run"]["id"] != other["run"]["id"]


async def test_request_without_key_starts_new_run(idle_app: App, echo: str) -> None:
    assert (await idle_app.start(echo))["run"] != (await idle_app.start(echo))["run"]


async def test_concurrent_identical_requests_start_one_run(idle_app: App, echo: str) -> None:
    answers = await asyncio.gather(*(idle_app.start(echo, idempotencyKey="k") for _ in range(20)))
    assert len({answer["run"]["id"] for answer in answers}) == 1
    assert (await idle_app.query(COUNT))["flowRuns"]["totalCount"] == 1


async def test_same_key_retries_run_once(idle_app: App) -> None:
    (failed,) = await make_runs(idle_app, await make_flow(idle_app), {"status": "FAILED"})
    variables = {"id": failed, "strategy": "ON_LATEST_VERSION", "key": "k"}
    answers = await asyncio.gather(*(idle_app.query(RETRY, variables) for _ in range(10)))
    assert len({answer["result"]["run"]["id"] for answer in answers}) == 1
    other = await idle_app.query(RETRY, variables | {"strategy": "FROM_FAILED_STEP"})
    assert other["result"]["code"] == "IDEMPOTENCY_CONFLICT"


async def test_key_of_invalid_length_is_refused(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    for key in ("", "x" * 201, "a\0b"):
        variables = {"id": family.failed, "strategy": "FROM_FAILED_STEP", "key": key}
        assert await idle_app.error_code(RETRY, variables) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("change", ["disabled", "stricter"])
async def test_key_returns_run_after_its_flow_changed(idle_app: App, echo: str, change: str) -> None:
    first = await idle_app.start(echo, idempotencyKey="k", input={"a": 1})
    if change == "disabled":
        await idle_app.query(
            "mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }", {"id": echo}
        )
        refusal = "FLOW_DISABLED"
    else:
        publish = "mutation($id: ID!, $d: JSON!) { publishFlowVersion(flowId: $id, definition: $d) { __typename } }"
        await idle_app.query(publish, {"id": echo, "d": ECHO | {"inputSchema": {"required": ["b"]}}})
        refusal = "INPUT_INVALID"
    assert await idle_app.start(echo, idempotencyKey="k", input={"a": 1}) == first
    assert (await idle_app.start(echo, idempotencyKey="k", input={"a": 2}))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await idle_app.start(echo, idempotencyKey="other", input={"a": 1}))["code"] == refusal
    assert (await idle_app.start(echo, input={"a": 1}))["code"] == refusal
    assert (await idle_app.query(COUNT))["flowRuns"]["totalCount"] == 1


# Bulk operations

ARCHIVE = """mutation($filter: FlowRunFilter, $key: String, $dryRun: Boolean! = false, $planId: ID) {
    result: bulkArchive(filter: $filter, idempotencyKey: $key, dryRun: $dryRun, planId: $planId) {
        ... on BulkOperationSuccess { operation { id status matched plan { planId } } }
        ... on UserError { code } } }"""
FAILED = {"statuses": ["FAILED"]}
OPERATIONS = "{ bulkOperations { nodes { id status succeeded } } }"


async def archive(app: App, secret: str | None = None, **variables: Any) -> dict[str, Any]:
    """Returns the answer of `bulkArchive`; without a filter it archives the FAILED runs."""
    answer = await app.query(ARCHIVE, {"filter": FAILED, "key": "k", **variables}, key=secret)
    result: dict[str, Any] = answer["result"]
    return result


@pytest.mark.parametrize("who", ["admin", "all_projects"])
async def test_same_key_starts_one_bulk_operation(idle_app: App, who: str) -> None:
    """The operator key names no project."""
    await make_run_family(idle_app)
    secret = getattr(idle_app.keys, who)
    before = {each["id"] for each in (await idle_app.query(OPERATIONS, key=secret))["bulkOperations"]["nodes"]}
    answers = await asyncio.gather(*(archive(idle_app, secret) for _ in range(10)))
    assert len({answer["operation"]["id"] for answer in answers}) == 1
    # The same filter with its fields in another order.
    run_filter = {"tags": ["t"], "statuses": ["FAILED"]}
    first = await archive(idle_app, secret, filter=run_filter, key="other")
    assert first == await archive(idle_app, secret, filter=dict(reversed(run_filter.items())), key="other")
    others = {each["id"] for each in (await idle_app.query(OPERATIONS, key=secret))["bulkOperations"]["nodes"]} - before
    assert len(others) == 2


@pytest.mark.parametrize(
    "defaults",
    [{"archived": "EXCLUDE"}, {"includeArchived": False}, {"metadata": {}, "minDurationMs": 0}, {"tags": None}],
)
async def test_default_of_a_filter_that_is_given_makes_no_difference(idle_app: App, defaults: dict[str, Any]) -> None:
    await make_run_family(idle_app)
    assert await archive(idle_app) == await archive(idle_app, filter=FAILED | defaults)


async def test_same_key_for_other_bulk_operation_is_conflict(idle_app: App) -> None:
    await make_run_family(idle_app)
    await archive(idle_app)
    others: list[dict[str, Any]] = [{"filter": {"statuses": ["STOPPED"]}}, {"dryRun": True}]
    for other in others:
        assert await archive(idle_app, **other) == {"code": "IDEMPOTENCY_CONFLICT"}
    cancel = 'mutation { result: bulkCancel(filter: {statuses: [FAILED]}, idempotencyKey: "k") { __typename } }'
    assert (await idle_app.query(cancel))["result"] == {"__typename": "IdempotencyConflict"}
    foreign = await archive(idle_app, idle_app.keys.other_admin)
    assert foreign["operation"]["matched"] == 0


async def test_same_key_creates_one_plan_which_needs_no_key_to_execute(idle_app: App) -> None:
    await make_run_family(idle_app)
    first, again = [await archive(idle_app, dryRun=True) for _ in range(2)]
    assert first == again
    assert first["operation"]["status"] == "PLANNED"
    plan_id = first["operation"]["plan"]["planId"]
    response = await idle_app.post(ARCHIVE, {"planId": plan_id, "key": "k"})
    assert response.json()["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
    carried_out = await archive(idle_app, filter=None, key=None, planId=plan_id)
    assert carried_out["operation"]["status"] == "COMPLETED"
    # A plan is a bulk operation, so the repeated dry run returns it.
    assert (await archive(idle_app, dryRun=True))["operation"]["status"] == "COMPLETED"


async def test_repeated_request_waits_until_runs_are_pinned(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_run_family(idle_app)
    asked_again: list[asyncio.Task[dict[str, Any]]] = []
    waits, find = asyncio.Event(), operations.find_by_idempotency_key
    loop = asyncio.get_running_loop()

    def looked_up(*args: Any) -> Any:
        found = find(*args)
        if found is not None:
            loop.call_soon_threadsafe(waits.set)
        return found

    read = idle_app.database.read

    async def slowly(query: Any, *args: Any, **kwargs: Any) -> Any:
        if query is pinning.select_runs and not asked_again:
            asked_again.append(asyncio.create_task(archive(idle_app)))
            await waits.wait()
        return await read(query, *args, **kwargs)

    monkeypatch.setattr(operations, "find_by_idempotency_key", looked_up)
    monkeypatch.setattr(idle_app.database, "read", slowly)
    first = await archive(idle_app)
    assert first["operation"]["matched"] > 0
    assert (await asked_again[0])["operation"]["id"] == first["operation"]["id"]


async def test_key_of_lost_preparation_can_be_reused(
    fake_clock: FakeClock, idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_run_family(idle_app)
    with monkeypatch.context() as patch:
        patch.setattr(pinning, "pin", _lost)
        response = await idle_app.post(ARCHIVE, {"filter": FAILED, "key": "k"})
        assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"
    await fake_clock.advance(61)
    again = await archive(idle_app)
    assert (again["operation"]["status"], again["operation"]["matched"]) == ("COMPLETED", 1)
    assert await archive(idle_app) == again


def _lost(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError
