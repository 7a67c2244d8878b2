"""Tests of the inbox, and of the kinds and durations of waits."""

from datetime import timedelta
from typing import Any

from db.runs.waits import input_requests
from domain import ids
from domain.enums import RunStatus, WaitKind
from domain.ids import IdKind
from domain.time import clock
from tests.resolvers.test_cancel_and_resume import ASK, cancel, paused, resume
from tests.service.streams.test_socket import receive, signed_in, subscribe
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.processes.server import run_server
from tests.support.run_family import make_flow, make_runs

LIST = """query($filter: InputRequestFilter, $first: Int, $after: String) {
    inputRequests(filter: $filter, first: $first, after: $after) { totalCount pageInfo { endCursor hasNextPage }
        nodes { id status title assignee answer answeredBy { name } answeredAt run { id status } flow { name } } } }"""
WATCH = """subscription($filter: InputRequestFilter, $after: String) {
    inputRequestsChanged(filter: $filter, after: $after) { __typename ... on CaughtUp { cursor }
        ... on InputRequestChanged { cursor matches requestStatus requestId runId request { answer } } } }"""
WAITING = """query($filter: FlowRunFilter) { flowRuns(filter: $filter, orderBy: {direction: ASC}) { nodes {
    id waitingFor { kind until position blockedBy { id __typename } } } } }"""


async def listed(app: App, filter_: Any = None, **more: Any) -> list[dict[str, Any]]:
    found = await app.query(LIST, {"filter": filter_}, **more)
    nodes: list[dict[str, Any]] = found["inputRequests"]["nodes"]
    assert found["inputRequests"]["totalCount"] == len(nodes)
    return nodes


async def test_inbox_lists_requests_of_all_runs_with_their_responses(app: App) -> None:
    run_id, asked = await paused(app)
    second = _asking("Second", "ada")
    other_run, other = await paused(app, second, "second")
    assert [node["title"] for node in await listed(app)] == ["Second", "Well?"]
    assert [node["id"] for node in await listed(app, {"assignees": ["ada"]})] == [other["id"]]
    await resume(app, run_id, asked["id"], {"ok": True}, wait=20_000)
    await cancel(app, other_run)
    (answered,) = await listed(app, {"statuses": ["ANSWERED"]})
    assert (answered["answer"], answered["answeredBy"]) == ({"ok": True}, {"name": "admin for tests"})
    assert answered["answeredAt"] is not None
    assert answered["run"] == {"id": run_id, "status": "SUCCEEDED"}
    assert [node["id"] for node in await listed(app, {"statuses": ["CANCELLED"]})] == [other["id"]]
    assert await listed(app, key=app.keys.other_admin) == []
    node = "query($id: ID!) { node(id: $id) { ... on InputRequest { title } } }"
    assert (await app.query(node, {"id": asked["id"]}))["node"] == {"title": "Well?"}
    assert (await app.query(node, {"id": asked["id"]}, key=app.keys.other_admin))["node"] is None


async def test_inbox_is_filtered_by_age_expiry_flow_and_assignee(fake_clock: FakeClock, idle_app: App) -> None:
    app = idle_app
    published, second = await make_flow(app), await make_flow(app, "second")
    now = clock.now()
    rows = [
        (published, None, timedelta(hours=-2), None),
        (published, "ada", timedelta(hours=-1), timedelta(hours=1)),
        (second, "ada", timedelta(), timedelta(hours=5)),
    ]
    for number, (flow, assignee, age, expiry) in enumerate(rows):
        (run,) = await make_runs(app, flow, {"status": RunStatus.PAUSED, "due_at": None})
        values = {
            "id": ids.first_uuid_at(now + age),
            "run_id": ids.decode(IdKind.RUN, run),
            **{"project_id": flow.project_id, "flow_id": flow.flow_id, "position": 0, "step_name": "ask"},
            **{"title": str(number), "answer_schema": "{}", "assignee": assignee, "created_at": now + age},
            "expires_at": None if expiry is None else now + expiry,
        }
        await app.database.write(input_requests.create, values)
    flow_id = ids.encode(IdKind.FLOW, second.flow_id)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "210"),
        ({"olderThan": "PT30M"}, "10"),
        ({"createdWithin": "PT90M"}, "21"),
        ({"createdWithin": "", "olderThan": "", "expiresWithin": ""}, "210"),
        ({"expiresWithin": "PT2H"}, "1"),
        ({"expiresAfter": (now + timedelta(hours=2)).isoformat()}, "2"),
        ({"unassigned": True}, "0"),
        ({"assignees": ["ada"], "flowIds": [flow_id]}, "2"),
        ({"statuses": []}, ""),
    ]
    for filter_, expected in cases:
        assert "".join(node["title"] for node in await listed(app, filter_)) == expected, filter_
    page = (await app.query(LIST, {"first": 2}))["inputRequests"]
    rest = (await app.query(LIST, {"first": 2, "after": page["pageInfo"]["endCursor"]}))["inputRequests"]
    assert [node["title"] for node in [*page["nodes"], *rest["nodes"]]] == ["2", "1", "0"]
    assert await app.error_code(LIST, {"filter": {"olderThan": "yesterday"}}) == "INVALID_ARGUMENT"


async def test_changes_of_requests_are_streamed(database_url: str) -> None:
    async with run_server(database_url, with_worker=True) as server, signed_in(server) as socket:
        app = server.app

        async def change() -> Any:
            message = await receive(socket)
            assert message["type"] == "next", message
            return message["payload"]["data"]["inputRequestsChanged"]

        await subscribe(socket, WATCH, filter={"statuses": ["PENDING"]})
        start = await change()
        run_id, asked = await paused(app)
        created = await change()
        assert (created["matches"], created["requestStatus"], created["requestId"]) == (True, "PENDING", asked["id"])
        await resume(app, run_id, asked["id"], {"ok": True})
        answered = await change()
        assert (answered["matches"], answered["requestStatus"]) == (False, "ANSWERED")
        assert (answered["runId"], answered["request"]) == (run_id, {"answer": {"ok": True}})
        await subscribe(socket, WATCH, "again", after=start["cursor"])
        assert [(await change()).get("requestStatus") for _ in range(3)] == ["PENDING", "ANSWERED", None]


async def test_waiting_for_names_the_blocking_object(fake_clock: FakeClock, idle_app: App) -> None:
    app = idle_app
    published = await make_flow(app)
    flow = ids.encode(IdKind.FLOW, published.flow_id)
    now = clock.now()
    later, minute = now + timedelta(hours=1), timedelta(minutes=1)
    parked = {"status": RunStatus.PAUSED, "due_at": None}
    slots = [{**parked, "blocked_by": published.flow_id, "blocked_since": now - minute * number} for number in (1, 2)]
    timed, parent, retrying, slot, first_slot, due, running, _ = await make_runs(
        app,
        published,
        {**parked, "waits_for": WaitKind.TIME, "due_at": later},
        {**parked, "waits_for": WaitKind.CHILDREN},
        {"status": RunStatus.RUNNING, "due_at": later},
        *slots,
        {"due_at": now},
        {"status": RunStatus.RUNNING, "due_at": later, "lease_token": ids.new_uuid()},
        {"status": RunStatus.SUCCEEDED},
    )
    (person,) = await make_runs(app, published, {**parked, "waits_for": WaitKind.PERSON})
    asked = {
        **{"id": ids.new_uuid(), "run_id": ids.decode(IdKind.RUN, person), "position": 0, "step_name": "ask"},
        **{"project_id": published.project_id, "flow_id": published.flow_id, "title": "Well?"},
        **{"answer_schema": "{}", "created_at": now},
    }
    await app.database.write(input_requests.create, asked)
    of_parent = ids.decode(IdKind.RUN, parent)
    (child,) = await make_runs(
        app, published, {**parked, "waits_for": WaitKind.TIME, "parent_run_id": of_parent, "root_run_id": of_parent}
    )
    found = {node["id"]: node["waitingFor"] for node in (await app.query(WAITING))["flowRuns"]["nodes"]}
    until = later.isoformat().replace("+00:00", "Z")
    kinds = {key: (it["kind"], it["until"], it["position"], it["blockedBy"]) for key, it in found.items() if it}
    request = (await listed(app))[0]["id"]
    limit = {"id": flow, "__typename": "Flow"}
    assert {key: value for key, value in kinds.items() if key not in (due,)} == {
        person: ("PERSON", None, None, {"id": request, "__typename": "InputRequest"}),
        timed: ("TIME", kinds[timed][1], None, None),
        parent: ("CHILDREN", None, None, {"id": child, "__typename": "FlowRun"}),
        retrying: ("RETRY", kinds[timed][1], None, None),
        slot: ("SLOT", None, 2, limit),
        first_slot: ("SLOT", None, 1, limit),
        child: ("TIME", None, None, None),
    }
    assert kinds[timed][1].startswith(until[:19])
    assert kinds[due] == ("WORKER", None, 1, None)
    assert found[running] is None
    for kind in WaitKind:
        matching = (await app.query(WAITING, {"filter": {"waitingFor": [kind]}}))["flowRuns"]["nodes"]
        assert [node["id"] for node in matching] == [key for key, it in found.items() if it and it["kind"] == kind]
    others = await app.query(WAITING, {"filter": {"not": {"waitingFor": list(WaitKind)}}})
    assert [node["id"] for node in others["flowRuns"]["nodes"]] == [key for key, it in found.items() if it is None]


async def test_times_of_a_run_add_up(fake_clock: FakeClock, idle_app: App) -> None:
    app = idle_app
    published = await make_flow(app)
    made = clock.now() - timedelta(seconds=10)
    ended = {
        **{"status": RunStatus.SUCCEEDED, "started_at": made + timedelta(seconds=1), "duration_ms": 7_000},
        **{"running_since": made + timedelta(seconds=6), "ran_ms": 1_500, "finished_at": made + timedelta(seconds=8)},
    }
    await make_runs(app, published, {"created_at": made, "ran_ms": 0}, {"created_at": made, **ended})
    text = (
        "{ flowRuns(orderBy: {direction: ASC}) { nodes { queuedMs runningMs pausedMs logUrl id flowId projectId } } }"
    )
    queued, done = (await app.query(text))["flowRuns"]["nodes"]
    assert (queued["queuedMs"], queued["runningMs"], queued["pausedMs"]) == (10_000, 0, 0)
    assert (done["queuedMs"], done["runningMs"], done["pausedMs"]) == (1_000, 3_500, 3_500)
    assert done["logUrl"] == f"/runs/{done['id']}/log"
    assert (done["flowId"], done["projectId"]) == (ids.encode(IdKind.FLOW, published.flow_id), app.project)


def _asking(title: str, assignee: str | None) -> Any:
    (step,) = ASK["steps"]
    asked = {"title": title, **({"assignee": assignee} if assignee else {})}
    return {"steps": [{**step, "input": asked}]}
