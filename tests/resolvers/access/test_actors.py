"""Who started, retried, cancelled, archived and answered: fields of runs and of input requests."""

from typing import Any

import pytest

from db.runs import cancellation
from domain import ids
from domain.ids import IdKind
from tests.support.app import App, run_app
from tests.support.run_family import make_run_family

ACTORS = (
    "startedBy { kind id name } retriedBy { kind id name } cancelledBy { kind id name } archivedBy { kind id name }"
)
HELLO = {"steps": [{"name": "a", "kind": "transform", "input": 1}]}
FAILS = {"steps": [{"name": "a", "kind": "transform", "input": "{{ 1 / 0 }}"}]}
PARENT = {"steps": [{"name": "call", "kind": "flow", "input": {"flow": "hello"}}]}
ASKS = {"steps": [{"name": "ask", "kind": "humanInput", "input": {"title": "Well?", "schema": {}}}]}


@pytest.fixture(params=[True, False], ids=["compiled", "general"])
async def both_ways(request: pytest.FixtureRequest, database_url: str) -> Any:
    """The service with a worker, reading in the compiled and in the general way."""
    async with run_app(database_url, with_worker=True, compiled_reads=request.param) as running:
        yield running


async def actors(app: App, run_id: str) -> dict[str, Any]:
    text = f"query($id: ID!) {{ flowRun(id: $id) {{ {ACTORS} }} }}"
    found: dict[str, Any] = (await app.query(text, {"id": run_id}))["flowRun"]
    return found


async def key_of(app: App, name: str) -> dict[str, Any]:
    found = await app.query("{ apiKeys { nodes { id name } } }")
    (key_id,) = [key["id"] for key in found["apiKeys"]["nodes"] if key["name"] == name]
    return {"kind": "API_KEY", "id": key_id, "name": name}


async def test_key_that_started_and_the_one_that_retried(both_ways: App) -> None:
    app = both_ways
    flow = await app.create_flow(FAILS)
    run = (await app.start(flow, key=app.keys.operator))["run"]["id"]
    await app.wait_until_final(run)
    text = "mutation($id: ID!) { it: %s { ... on %s { run { id } } } }"
    retrying = text % ("retry(runId: $id, strategy: ON_LATEST_VERSION)", "RetrySuccess")
    retry = (await app.query(retrying, {"id": run}))["it"]["run"]["id"]
    await app.wait_until_final(retry)
    operator, admin = await key_of(app, "operator for tests"), await key_of(app, "admin for tests")
    unset = {"retriedBy": None, "cancelledBy": None, "archivedBy": None}
    assert await actors(app, run) == {**unset, "startedBy": operator}
    assert await actors(app, retry) == {**unset, "startedBy": operator, "retriedBy": admin}
    rerunning = text % ("rerun(runId: $id)", "RerunSuccess")
    rerun = (await app.query(rerunning, {"id": run}))["it"]["run"]["id"]
    assert await actors(app, rerun) == {**unset, "startedBy": admin}


async def test_bulk_operations_act_for_their_requester(both_ways: App) -> None:
    app = both_ways
    flow = await app.create_flow(FAILS)
    run = (await app.start(flow))["run"]["id"]
    await app.wait_until_final(run)
    admin, operator = await key_of(app, "admin for tests"), await key_of(app, "operator for tests")
    bulk = (
        "mutation($ids: [ID!]) { it: %s(filter: {ids: $ids}%s) { ... on BulkOperationSuccess { operation { %s } } } }"
    )
    selection = "requestedBy { kind id name } outcomes { nodes { newRun { id } } }"
    retried = await app.query(
        bulk % ("bulkRetry", ", strategy: FROM_FAILED_STEP", selection), {"ids": [run]}, key=app.keys.operator
    )
    operation = retried["it"]["operation"]
    assert operation["requestedBy"] == operator
    (outcome,) = operation["outcomes"]["nodes"]
    found = await actors(app, outcome["newRun"]["id"])
    assert (found["startedBy"], found["retriedBy"]) == (admin, operator)
    await app.query(bulk % ("bulkArchive", "", "id"), {"ids": [run]}, key=app.keys.operator)
    assert (await actors(app, run))["archivedBy"] == operator
    await app.query(bulk % ("bulkUnarchive", "", "id"), {"ids": [run]})
    assert (await actors(app, run))["archivedBy"] is None


async def test_cancelled_runs_and_their_descendants_name_the_key(both_ways: App) -> None:
    app = both_ways
    await app.create_flow(ASKS, "hello")
    parent = (await app.start(await app.create_flow(PARENT, "parent")))["run"]["id"]
    (child,) = await _children(app, parent)
    started_by = (await actors(app, child))["startedBy"]
    assert started_by == {"kind": "PARENT_RUN", "id": parent, "name": None}
    text = "mutation($id: ID!) { cancel(runId: $id) { __typename } }"
    assert (await app.query(text, {"id": parent}, key=app.keys.operator))["cancel"]["__typename"] == "CancelSuccess"
    operator = await key_of(app, "operator for tests")
    assert (await actors(app, parent))["cancelledBy"] == operator
    assert (await actors(app, child))["cancelledBy"] == operator


async def _children(app: App, parent: str) -> list[str]:
    """Waits until the parent is PAUSED, and returns its child runs."""
    text = "query($id: ID!) { flowRun(id: $id) { status childRuns { nodes { id } } } }"
    while True:
        found = (await app.query(text, {"id": parent}))["flowRun"]
        if found["status"] == "PAUSED":
            return [child["id"] for child in found["childRuns"]["nodes"]]


async def test_bulk_cancel_names_its_requester(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    text = "mutation($ids: [ID!]) { bulkCancel(filter: {ids: $ids}) { __typename } }"
    await idle_app.query(text, {"ids": [family.queued]})
    assert (await actors(idle_app, family.queued))["cancelledBy"] == await key_of(idle_app, "admin for tests")


async def test_answer_has_its_actor_and_time(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    fields = (
        "inputRequests { id status answeredAt answeredBy { kind id name } } pendingInputs { id answeredBy { kind } }"
    )
    text = f"query($id: ID!) {{ flowRun(id: $id) {{ {fields} }} }}"
    (asked,) = (await idle_app.query(text, {"id": family.paused}))["flowRun"]["inputRequests"]
    assert asked == {"id": family.request, "status": "PENDING", "answeredAt": None, "answeredBy": None}
    answer = """mutation($run: ID!, $request: ID!) {
        resumeRun(runId: $run, requestId: $request, response: 1) { __typename } }"""
    await idle_app.query(answer, {"run": family.paused, "request": family.request}, key=idle_app.keys.operator)
    found = (await idle_app.query(text, {"id": family.paused}))["flowRun"]
    (answered,) = found["inputRequests"]
    assert found["pendingInputs"] == []
    assert (answered["status"], answered["answeredAt"] is None) == ("ANSWERED", False)
    assert answered["answeredBy"] == await key_of(idle_app, "operator for tests")


async def test_webhook_names_itself(idle_app: App) -> None:
    flow = await idle_app.create_flow(HELLO)
    text = """mutation($flow: ID!) { it: createWebhook(flowId: $flow, name: "shop") {
        ... on CreateWebhookSuccess { path webhook { id } } } }"""
    made = (await idle_app.query(text, {"flow": flow}))["it"]
    run = (await idle_app.http.post(made["path"], json={})).json()["runId"]
    assert (await actors(idle_app, run))["startedBy"] == {
        "kind": "WEBHOOK",
        "id": made["webhook"]["id"],
        "name": "shop",
    }
    events = await idle_app.query("{ auditEvents(filter: {actions: [START_RUN]}) { totalCount } }")
    assert events["auditEvents"]["totalCount"] == 0


async def test_runs_from_before_name_no_actor(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    await idle_app.database.write(cancellation.stop, ids.decode(IdKind.RUN, family.queued), "Cancelled")
    assert set((await actors(idle_app, family.queued)).values()) == {None}
