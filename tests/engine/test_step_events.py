"""What the event log tells of steps and lines: every change, in the transaction of the change."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy import Engine as SqlEngine

from db.events import log as event_log
from db.models import RunEvent, StepResult
from db.models.types import table
from db.runs import input_requests, step_journal, transitions
from db.runs.transitions import Lease
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


async def told(worker: WorkerHarness, run_id: UUID) -> list[str]:
    """The events of a run in short."""
    return [_short(row) for row in await worker.events(run_id)]


def _short(row: Any) -> str:
    data = orjson.loads(row.data) if row.data else {}
    if row.kind == event_log.LOG_LINES:
        return f"lines {data['first']}-{data['last']}"
    if row.kind == event_log.STEP_STATUS:
        return f"{row.step_name}#{data['attempt']} {row.from_status}>{row.to_status}"
    return f"{row.from_status}>{row.to_status}"


async def work_off(worker: WorkerHarness, **actions: Any) -> None:
    executor = await worker.executor(**actions)
    while claimed := await worker.database.write(step_journal.claim, 10, LEASE):
        for each in claimed:
            await executor.execute(each)


async def agree(worker: WorkerHarness, run_id: UUID) -> None:
    """Check that each step's events follow on one another, and end in the status that its row has.

    Of steps that a retry keeps nothing is told.
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


async def test_a_try_that_fails_is_told_with_the_next_one_and_lines_before_both(
    worker: WorkerHarness, still: FakeClock
) -> None:
    run_id = await worker.start(await worker.publish(python("a", "fail", retry=AGAIN)))
    await work_off(worker, fail=fail)
    await still.advance(1)
    await work_off(worker, fail=fail)
    assert await told(worker, run_id) == [
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
    await agree(worker, run_id)


async def test_a_step_that_waits_and_one_that_is_skipped(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(ASK, transform("no", 1, when="{{ false }}")))
    await work_off(worker)
    request = await worker.database.read(input_requests.of_step, run_id, 0)
    await worker.database.write(input_requests.answer, request.id, "true")
    await worker.database.write(transitions.resume, run_id, "Answered")
    await work_off(worker)
    assert [each for each in await told(worker, run_id) if not each.startswith("lines")] == [
        "None>QUEUED",
        "QUEUED>RUNNING",
        "ask#1 PENDING>PAUSED",
        "RUNNING>PAUSED",
        "PAUSED>RUNNING",
        "ask#1 PAUSED>SUCCEEDED",
        "no#0 PENDING>SKIPPED",
        "RUNNING>SUCCEEDED",
    ]
    await agree(worker, run_id)


async def test_what_a_cancelled_run_was_doing_is_told_before_its_end(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(ASK))
    await work_off(worker)
    await worker.database.write(step_journal.stop, run_id, "Cancelled")
    assert (await told(worker, run_id))[-2:] == ["ask#1 PAUSED>STOPPED", "PAUSED>STOPPED"]
    await agree(worker, run_id)


async def test_children_that_nobody_waits_for_are_a_step_that_begins_and_ends(worker: WorkerHarness) -> None:
    child = await worker.publish(transform("only", 1))
    launch = {"name": "go", "kind": "flow", "input": {"flow": f"flow_{child.id.hex}", "wait": False}}
    run_id = await worker.start(await worker.publish(launch))
    await work_off(worker)
    assert (await told(worker, run_id))[2:] == ["go#1 PENDING>RUNNING", "go#1 RUNNING>SUCCEEDED", "RUNNING>SUCCEEDED"]
    await agree(worker, run_id)


async def test_nothing_is_told_of_the_steps_that_a_retry_keeps(worker: WorkerHarness) -> None:
    first = await worker.execute(
        await worker.publish(transform("one", 1), transform("two", 2, when="{{ false }}"), python("a", "fail")),
        fail=fail,
    )
    again = await worker.retry(first)
    assert await worker.statuses(again) == {"one": "SUCCEEDED", "two": "SKIPPED"}
    assert await told(worker, again) == ["None>QUEUED"]
    await work_off(worker, fail=fail)
    await agree(worker, again)


async def test_a_try_cut_short_is_told_once(worker: WorkerHarness, still: FakeClock) -> None:
    """Its worker is lost, and so is the next one right after it said so."""
    flow = await worker.publish(transform("a", 1))
    run_id = await worker.start(flow)
    begun = step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    for _ in range(3):
        claimed = await worker.claim(timedelta(seconds=1))
        if not await worker.steps(run_id):
            await worker.database.write(step_journal.advance, claimed.lease, None, begun)
        else:
            await worker.database.write(step_journal.interrupt, claimed.lease, 0)
        await still.advance(2)
    await work_off(worker)
    assert await told(worker, run_id) == [
        "None>QUEUED",
        "QUEUED>RUNNING",
        "a#1 PENDING>RUNNING",
        "a#1 RUNNING>PENDING",
        "a#2 PENDING>RUNNING",
        "a#2 RUNNING>SUCCEEDED",
        "RUNNING>SUCCEEDED",
    ]
    assert await worker.tries(run_id) == [("a", 1, "INTERRUPTED"), ("a", 2, "SUCCEEDED")]
    await agree(worker, run_id)


async def test_a_run_that_took_down_too_many_workers_fails_the_step_that_it_was_at(
    worker: WorkerHarness, still: FakeClock
) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    claimed = await worker.claim(timedelta(seconds=1))
    await worker.database.write(
        step_journal.advance, claimed.lease, None, step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    )
    await worker.change(run_id, interruptions=100)
    await still.advance(2)
    await work_off(worker)
    assert (await told(worker, run_id))[-3:] == ["a#1 RUNNING>PENDING", "a#1 PENDING>FAILED", "RUNNING>INTERNAL_ERROR"]
    await agree(worker, run_id)


def _advance_and_fail(conn: Connection, lease: Lease, begun: step_journal.AttemptStart) -> None:
    step_journal.advance(conn, lease, None, begun)
    raise ZeroDivisionError


async def test_a_unit_of_work_that_fails_tells_nothing(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    claimed = await worker.claim()
    begun = step_journal.AttemptStart(0, "a", None, "transform", 1, "1")
    with pytest.raises(ZeroDivisionError):
        await worker.database.write(_advance_and_fail, claimed.lease, begun)
    assert await told(worker, run_id) == ["None>QUEUED", "QUEUED>RUNNING"]
    await worker.database.write(step_journal.advance, claimed.lease, None, begun)
    assert (await told(worker, run_id))[2:] == ["a#1 PENDING>RUNNING"]


@contextmanager
def inserts() -> Iterator[list[int]]:
    """How many rows each insert into the event log has that is made meanwhile."""
    found: list[int] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.startswith("INSERT INTO run_event"):
            found.append(len(parameters) if many else 1)

    event.listen(SqlEngine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(SqlEngine, "before_cursor_execute", note)


async def test_a_transaction_writes_its_events_by_one_statement(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(python("a", "fail"), transform("b", 1)))
    claimed = await worker.claim()
    executor = await worker.executor(fail=fail)
    with inserts() as found:
        await executor.execute(claimed)
    # The first step begins; a line, the step's end and the run's.
    assert found == [1, 3]
    assert (await worker.run(run_id)).status == "FAILED"


async def test_a_change_without_an_event_is_not_to_be_had(worker: WorkerHarness) -> None:
    """Every step of every run has as many events as its row tells, whatever happened to the run."""
    flow = await worker.publish(python("a", "fail", retry=AGAIN, continueOnFailure=True), ASK)
    for _ in range(3):
        await worker.start(flow)
    await work_off(worker, fail=fail)
    step, told_of = table(StepResult).c, table(RunEvent).c
    latest = (
        select(told_of.to_status)
        .where(told_of.run_id == step.run_id, told_of.step_name == step.name)
        .order_by(told_of.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(func.count()).select_from(table(StepResult)).where(func.coalesce(latest, "none") != step.status)
    assert await worker.database.read(lambda conn: conn.execute(query).scalar_one()) == 0
