"""The views of the workers and of the queue: numbers, groups, and who sees what."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from db.core.unit_of_work import UnitOfWork
from db.models import Flow
from db.models.types import table
from db.queue import workers
from db.queue.due import INTERACTIVE, NEW, STARTED_RUN
from db.queue.workers import WorkerIdentity
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import make_flow, make_runs

QUEUES = """query($by: QueueGroup! = FLOW, $first: Int! = 100, $projects: [ID!]) {
    queues(by: $by, first: $first, projectIds: $projects) {
        project { name } flow { name } priority due oldestDueAt waitingForSlot oldestWaitingAt executing later nextDueAt
        maxConcurrentRuns slotsInUse } }"""
WORKERS = """query($statuses: [WorkerStatus!]) { workers(statuses: $statuses) { totalCount nodes {
    id host processId version status concurrency executing free startedAt heartbeatAt
    runs { id status flow { name } } } } }"""
MINUTE = timedelta(minutes=1)


async def queues(app: App, by: str = "FLOW", **more: Any) -> list[dict[str, Any]]:
    key = more.pop("key", None)
    found: list[dict[str, Any]] = (await app.query(QUEUES, {"by": by, **more}, key=key))["queues"]
    for row in found:
        for name in ("oldestDueAt", "oldestWaitingAt", "nextDueAt"):
            row[name] = row[name] and datetime.fromisoformat(row[name])
    return found


async def fill(app: App) -> None:
    """Makes runs of three flows in two projects that wait for different things."""
    now = clock.now()
    busy, limited = await make_flow(app, "busy"), await make_flow(app, "limited")
    foreign = await make_flow(app, "foreign", project=app.other_project)

    def limit(uow: UnitOfWork) -> None:
        flow = table(Flow)
        uow.conn.execute(update(flow).where(flow.c.id == limited.flow_id).values(max_concurrent_runs=1))

    await app.database.write(limit)
    due = {"due_at": now - MINUTE, "lease_token": None, "priority": NEW}
    leased = {"status": RunStatus.RUNNING, "due_at": now + MINUTE, "lease_token": ids.new_uuid()}
    await make_runs(
        app,
        busy,
        *[due] * 3,
        {**due, "due_at": now - 3 * MINUTE, "priority": INTERACTIVE},
        {**leased, "priority": STARTED_RUN},
        {"status": RunStatus.PAUSED, "due_at": now + 2 * MINUTE, "lease_token": None, "priority": STARTED_RUN},
        {"status": RunStatus.PAUSED, "due_at": None, "priority": STARTED_RUN},
        {"status": RunStatus.SUCCEEDED, "due_at": None, "priority": STARTED_RUN},
    )
    waiting = {"due_at": None, "blocked_by": limited.flow_id, "priority": NEW}
    await make_runs(
        app,
        limited,
        {**leased, "priority": STARTED_RUN},
        {**waiting, "blocked_since": now - 2 * MINUTE},
        {**waiting, "blocked_since": now - MINUTE},
    )
    await make_runs(app, foreign, *[due] * 7)


async def test_queues_are_counted_by_flow_project_and_priority(idle_app: App, fake_clock: FakeClock) -> None:
    app, now = idle_app, clock.now()
    await fill(app)

    busy, limited = await queues(app)
    assert busy == {
        "project": {"name": "default"},
        "flow": {"name": "busy"},
        "priority": None,
        "due": 4,
        "oldestDueAt": now - 3 * MINUTE,
        "waitingForSlot": 0,
        "oldestWaitingAt": None,
        "executing": 1,
        "later": 1,
        "nextDueAt": now + 2 * MINUTE,
        "maxConcurrentRuns": None,
        "slotsInUse": None,
    }
    assert (limited["due"], limited["waitingForSlot"], limited["executing"]) == (0, 2, 1)
    assert (limited["oldestDueAt"], limited["oldestWaitingAt"]) == (None, now - 2 * MINUTE)
    assert (limited["maxConcurrentRuns"], limited["slotsInUse"]) == (1, 1)

    (mine,) = await queues(app, "PROJECT")
    assert (mine["project"], mine["flow"], mine["due"], mine["waitingForSlot"]) == ({"name": "default"}, None, 4, 2)
    every = await queues(app, "PROJECT", key=app.keys.all_projects)
    assert [(row["project"]["name"], row["due"]) for row in every] == [("other", 7), ("default", 4)]
    (named,) = await queues(app, key=app.keys.all_projects, projects=[app.other_project])
    assert (named["flow"], named["due"]) == ({"name": "foreign"}, 7)
    assert await queues(app, projects=[app.other_project]) == []

    by_priority = await queues(app, "PRIORITY")
    assert [(row["priority"], row["due"], row["executing"], row["later"]) for row in by_priority] == [
        ("INTERACTIVE", 1, 0, 0),
        ("STARTED", 0, 2, 1),
        ("NEW", 3, 0, 0),
    ]
    assert [row["flow"]["name"] for row in await queues(app, first=1)] == ["busy"]
    assert await app.error_code(QUEUES, {"first": 1_001}) == "INVALID_ARGUMENT"


async def test_workers_show_their_runs_to_those_who_see_them(idle_app: App) -> None:
    app = idle_app
    mine, foreign = await make_flow(app, "mine"), await make_flow(app, "foreign", project=app.other_project)
    running = {"status": RunStatus.RUNNING, "due_at": clock.now() + MINUTE, "lease_token": ids.new_uuid()}
    own, ended = await make_runs(app, mine, running, {"status": RunStatus.SUCCEEDED})
    (other,) = await make_runs(app, foreign, running)
    worker = WorkerIdentity(ids.new_uuid(), "host.test", 7, "9.9", 5, clock.now())
    executing = [ids.decode(IdKind.RUN, run_id) for run_id in (own, ended, other)]
    await app.database.write(workers.report, worker, executing, draining=False)

    (seen,) = (await app.query(WORKERS))["workers"]["nodes"]
    assert (seen["host"], seen["processId"], seen["version"], seen["status"]) == ("host.test", 7, "9.9", "ACTIVE")
    assert (seen["concurrency"], seen["executing"], seen["free"]) == (5, 3, 2)
    assert seen["runs"] == [{"id": own, "status": "RUNNING", "flow": {"name": "mine"}}]
    (less,) = (await app.query(WORKERS, key=app.keys.viewer))["workers"]["nodes"]
    assert (less["host"], less["processId"], less["runs"]) == (None, None, seen["runs"])
    (more,) = (await app.query(WORKERS, key=app.keys.all_projects))["workers"]["nodes"]
    assert [run["id"] for run in more["runs"]] == [own, other]
    assert (await app.query(WORKERS, {"statuses": ["LOST", "DRAINING"]}))["workers"]["totalCount"] == 0

    node = "query($id: ID!) { node(id: $id) { ... on Worker { id status runs(first: 1) { id } } } }"
    found = (await app.query(node, {"id": seen["id"]}))["node"]
    assert found == {"id": seen["id"], "status": "ACTIVE", "runs": [{"id": own}]}
    assert await app.error_code(node.replace("first: 1", "first: 0"), {"id": seen["id"]}) == "INVALID_ARGUMENT"


async def test_a_worker_lists_itself_while_it_lives(app: App) -> None:
    found: list[Any] = []
    while not found:
        found = (await app.query(WORKERS))["workers"]["nodes"]
    (worker,) = found
    assert (worker["status"], worker["concurrency"], worker["executing"]) == ("ACTIVE", 64, 0)
