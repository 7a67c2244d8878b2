"""Events of steps and log lines: each change appends its event in its own transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import event, func, select

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import RunEvent, StepResult
from db.models.types import table
from db.runs import cancellation, claims, step_journal, transitions
from db.runs.transitions import Lease
from db.runs.waits import input_requests
from domain.enums import StepStatus
from engine.errors import StepError
from tests.support.clock import FakeClock
from tests.support.worker import LEASE, Document, WorkerHarness, python, transform

ASK: Document = {"name": "ask", "kind": "humanInput", "input": {"title": "Go on?"}}
AGAIN: Document = {"attempts": 2, "delay": 1, "jitter": 0}


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock) -> FakeClock:
    return fake_clock


async def fail() -> None:
    raise StepError("DOWN", "It is down.")


async def events_of(worker: WorkerHarness, run_id: UUID) -> list[str]:
    """Returns the events of a run in short form."""
    return [_short(row) for row in await worker.events(run_id)]


def _short(row: Any) -> str:
    data = orjson.loads(row.data) if row.data else {}
    if row.kind == event_log.LOG_LINES:
        return f"lines {data['first']}-{data['last']}"
    if row.kind == event_log.STEP_STATUS:
        return f"{row.step_name}#{data['attempt']} {row.from_status}>{row.to_status}"
    return f"{row.from_status}>{row.to_status}"


async def execute_due(worker: WorkerHarness, **actions: Any) -> None:
    executor = await worker.executor(**actions)
    while claimed := await worker.database.write(claims.claim, 10, LEASE):
        for run in claimed:
            await executor.execute(run)


async def check_events(worker: WorkerHarness, run_id: UUID) -> None:
    """Check that each step's events follow on one another, and end in the status that its row has.

    Steps that a retry keeps have no events.
    """
    by_step: dict[str, list[tuple[str, str]]] = {}
    for row in await worker.events(run_id):
        if row.kind == event_log.STEP_STATUS:
            by_step.setdefault(row.step_name, []).append((row.from_status, row.to_status))
    for changes in by_step.values():
        assert changes[0][0] == StepStatus.PENDING
        assert all(before[1] == after[0] for before, after in pairwise(changes))
    own = {step.name: step.status for step in await worker.steps(run_id) if step.reused_from_id is None}
    assert {name: changes[-1][1] for name, changes in by_step.items()} == own


async def test_failed_attempt_is_an_event_after_its_log_lines(worker: WorkerHarness, still: FakeClock) -> None:
    run_id = await worker.start(await worker.publish(python("a", "fail", retry=AGAIN)))
    await execute_due(worker, fail=fail)
    await still.advance(1)
    await execute_due(worker, fail=fail)
    assert await events_of(worker, run_id) == [
        "None>QUEUED",
        "QUEUED>RUNNING",
        "a#1 PENDING>RUNNING",
        "lines 1-1",
        "a#1 RUNNING>PENDING",
        "a#2 PENDING>RUNNING",
        "lines 2-2",
        "a#2 RUNNING>FAILED",
        "RUNNING>FAILED",
    ]
    await check_events(worker, run_id)


async def test_events_of_waiting_and_skipped_steps(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(ASK, transform("no", 1, when="{{ false }}")))
    await execute_due(worker)
    request = await worker.database.read(input_requests.of_step, run_id, 0)
    await worker.database.write(input_requests.answer, request.id, input_requests.Response("true"))
    await worker.database.write(transitions.resume, run_id, "Answered")
    await execute_due(worker)
    assert [event for event in await events_of(worker, run_id) if not event.startswith("lines")] == [
        "None>QUEUED",
        "QUEUED>RUNNING",
        "ask#1 PENDING>PAUSED",
        "None>PENDING",  # the input request
        "RUNNING>PAUSED",
        "PENDING>ANSWERED",
        "PAUSED>RUNNING",
        "ask#1 PAUSED>SUCCEEDED",
        "no#0 PENDING>SKIPPED",
        "RUNNING>SUCCEEDED",
    ]
    await check_events(worker, run_id)


async def test_unfinished_steps_of_a_cancelled_run_stop_before_the_run(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(ASK))
    await execute_due(worker)
    await worker.database.write(cancellation.stop, run_id, "Cancelled")
    assert (await events_of(worker, run_id))[-2:] == ["ask#1 PAUSED>STOPPED", "PAUSED>STOPPED"]
    await check_events(worker, run_id)


async def test_launch_of_child_runs_starts_and_ends_the_step(worker: WorkerHarness) -> None:
    child = await worker.publish(transform("only", 1))
    launch = {"name": "go", "kind": "flow", "input": {"flow": f"flow_{child.id.hex}", "wait": False}}
    run_id = await worker.start(await worker.publish(launch))
    await execute_due(worker)
    assert (await events_of(worker, run_id))[2:] == [
        "go#1 PENDING>RUNNING",
        "go#1 RUNNING>SUCCEEDED",
        "RUNNING>SUCCEEDED",
    ]
    await check_events(worker, run_id)


async def test_steps_kept_by_a_retry_have_no_events(worker: WorkerHarness) -> None:
    first = await worker.execute(
        await worker.publish(transform("one", 1), transform("two", 2, when="{{ false }}"), python("a", "fail")),
        fail=fail,
    )
    again = await worker.retry(first)
    assert await worker.statuses(again) == {"one": "SUCCEEDED", "two": "SKIPPED"}
    assert await events_of(worker, again) == ["None>QUEUED"]
    await execute_due(worker, fail=fail)
    await check_events(worker, again)


async def test_interrupted_attempt_is_one_event(worker: WorkerHarness, still: FakeClock) -> None:
    """Its worker is lost, and so is the next one right after it has recorded that."""
    flow = await worker.publish(transform("a", 1))
    run_id = await worker.start(flow)
    start = step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    for _ in range(3):
        claimed = await worker.claim(timedelta(seconds=1))
        if not await worker.steps(run_id):
            await worker.database.write(step_journal.advance, claimed.lease, None, start)
        else:
            await worker.database.write(step_journal.interrupt, claimed.lease, 0)
        await still.advance(2)
    await execute_due(worker)
    assert await events_of(worker, run_id) == [
        "None>QUEUED",
        "QUEUED>RUNNING",
        "a#1 PENDING>RUNNING",
        "a#1 RUNNING>PENDING",
        "a#2 PENDING>RUNNING",
        "a#2 RUNNING>SUCCEEDED",
        "RUNNING>SUCCEEDED",
    ]
    assert await worker.tries(run_id) == [("a", 1, "INTERRUPTED"), ("a", 2, "SUCCEEDED")]
    await check_events(worker, run_id)


async def test_run_that_crashed_too_many_workers_fails_its_unfinished_step(
    worker: WorkerHarness, still: FakeClock
) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    claimed = await worker.claim(timedelta(seconds=1))
    await worker.database.write(
        step_journal.advance, claimed.lease, None, step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    )
    await worker.change(run_id, interruptions=100)
    await still.advance(2)
    await execute_due(worker)
    assert (await events_of(worker, run_id))[-3:] == [
        "a#1 RUNNING>PENDING",
        "a#1 PENDING>FAILED",
        "RUNNING>INTERNAL_ERROR",
    ]
    await check_events(worker, run_id)


def _advance_and_fail(uow: UnitOfWork, lease: Lease, start: step_journal.AttemptStart) -> None:
    step_journal.advance(uow, lease, None, start)
    raise ZeroDivisionError


async def test_failed_unit_of_work_appends_no_events(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    claimed = await worker.claim()
    start = step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    with pytest.raises(ZeroDivisionError):
        await worker.database.write(_advance_and_fail, claimed.lease, start)
    assert await events_of(worker, run_id) == ["None>QUEUED", "QUEUED>RUNNING"]
    await worker.database.write(step_journal.advance, claimed.lease, None, start)
    assert (await events_of(worker, run_id))[2:] == ["a#1 PENDING>RUNNING"]


@contextmanager
def inserts() -> Iterator[list[int]]:
    """Yields the numbers of rows of the INSERTs into the event log, as they happen."""
    row_counts: list[int] = []

    def count_rows(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.startswith("INSERT INTO run_event"):
            # On PostgreSQL the rows are an array for each column.
            column = None if many else next(iter(parameters))
            row_counts.append(len(parameters) if many else len(column) if isinstance(column, list) else 1)

    event.listen(SqlEngine, "before_cursor_execute", count_rows)
    try:
        yield row_counts
    finally:
        event.remove(SqlEngine, "before_cursor_execute", count_rows)


async def test_transaction_appends_its_events_in_one_statement(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(python("a", "fail"), transform("b", 1)))
    claimed = await worker.claim()
    executor = await worker.executor(fail=fail)
    with inserts() as row_counts:
        await executor.execute(claimed)
    # The start of the first step; then a line, the end of the step and the end of the run.
    assert row_counts == [1, 3]
    assert (await worker.run(run_id)).status == "FAILED"


async def test_every_change_of_a_step_has_an_event(worker: WorkerHarness) -> None:
    """Every step of every run has the events that its row implies, whatever happened to the run."""
    flow = await worker.publish(python("a", "fail", retry=AGAIN, continueOnFailure=True), ASK)
    for _ in range(3):
        await worker.start(flow)
    await execute_due(worker, fail=fail)
    step, events = table(StepResult).c, table(RunEvent).c
    latest = (
        select(events.to_status)
        .where(events.run_id == step.run_id, events.step_name == step.name)
        .order_by(events.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(func.count()).select_from(table(StepResult)).where(func.coalesce(latest, "none") != step.status)
    assert await worker.database.read(lambda conn: conn.execute(query).scalar_one()) == 0
