import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from db.assembly import COMMIT_STEPS
from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, RunEvent, StepAttempt, StepResult
from db.models.types import table
from db.queue import due
from db.runs import claims, step_journal
from db.runs import reads as run_reads
from db.runs.claims import LeaseLostError
from db.runs.step_journal import AttemptResult, AttemptStart
from db.runs.transitions import Lease
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import RunStatus, StepStatus
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import MINUTE, PublishedFlow

FIRST_TRY = AttemptStart(position=0, name="a", display_name="A", kind="transform", number=1, input='{"n":1}')
SECOND_TRY = AttemptStart(position=0, name="a", display_name="A", kind="transform", number=2, input='{"n":2}')
NEXT_STEP = AttemptStart(position=1, name="b", display_name=None, kind="http", number=1, input=None)


def outcome(status: StepStatus = StepStatus.SUCCEEDED, number: int = 1, **more: Any) -> AttemptResult:
    return AttemptResult(0, "a", status, number, started_at=START, **more)


SUCCESS = outcome(output="42")
TO_BE_RETRIED = outcome(StepStatus.PENDING, error='{"code":"E"}')


async def claim(database: Database, limit: int, lease: timedelta = MINUTE) -> list[Lease]:
    return [each.lease for each in await database.write(claims.claim, limit, lease)]


async def claimed(database: Database, published: PublishedFlow, count: int = 1) -> Sequence[Lease]:
    await database.write(factory.make_runs, published, [{} for _ in range(count)])
    return await claim(database, count)


@pytest.fixture
async def lease(database: Database, published: PublishedFlow) -> Lease:
    """A run that is claimed for a minute."""
    return (await claimed(database, published))[0]


def add_due_runs(uow: UnitOfWork, published: PublishedFlow, seconds: Sequence[float]) -> list[UUID]:
    return factory.make_runs(uow, published, [{"due_at": START + timedelta(seconds=each)} for each in seconds])


def run_row(conn: Connection, run_id: UUID) -> Any:
    columns = ("status", "due_at", "lease_token", "interruptions", "started_at", "recovered_by_id", "output")
    return run_reads.by_ids(conn, [run_id], columns)[run_id]


def contents(conn: Connection) -> list[list[tuple[Any, ...]]]:
    """All that the journal's functions could change."""
    tables = [table(model) for model in (FlowRun, StepResult, StepAttempt, RunEvent)]
    return [[tuple(row) for row in conn.execute(select(each).order_by(*each.primary_key))] for each in tables]


def step_rows(conn: Connection, run_id: UUID) -> Sequence[AnyRow]:
    results = table(StepResult)
    return conn.execute(select(results).where(results.c.run_id == run_id).order_by(results.c.position)).all()


def attempt_rows(conn: Connection, run_id: UUID) -> list[tuple[Any, ...]]:
    c = table(StepAttempt).c
    query = select(c.position, c.number, c.status, c.error).where(c.run_id == run_id).order_by(c.position, c.number)
    return [tuple(row) for row in conn.execute(query)]


class TestClaims:
    async def test_due_runs_are_claimed_longest_due_first(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        await fake_clock.advance(10)
        keys = await database.write(add_due_runs, published, [5, 11, 3, 10, 4])
        assert {each.run_id for each in await claim(database, 3)} == {keys[2], keys[4], keys[0]}
        assert [each.run_id for each in await claim(database, 3)] == [keys[3]]
        assert await claim(database, 3) == []
        await fake_clock.advance(1)
        assert [each.run_id for each in await claim(database, 3)] == [keys[1]]

    async def test_claim_starts_the_run(self, database: Database, lease: Lease) -> None:
        row = await database.read(run_row, lease.run_id)
        assert (row.status, row.lease_token, row.due_at) == ("RUNNING", lease.token, START + MINUTE)
        assert (row.started_at, row.interruptions) == (START, 0)

    async def test_second_claim_starts_nothing_again(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await fake_clock.advance(60)
        (again,) = await claim(database, 1)
        assert again.token != lease.token
        assert (await database.read(run_row, lease.run_id)).started_at == START
        assert len((await database.read(contents))[3]) == 1

    async def test_a_claim_brings_the_runs_as_they_are_then_with_their_journals(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        (begun,) = await claimed(database, published)
        await database.write(step_journal.advance, begun, None, FIRST_TRY)
        await database.write(step_journal.advance, begun, SUCCESS, NEXT_STEP)
        await fake_clock.advance(60)
        new = await database.write(factory.make_run, published, metadata='{"a": 1}')
        brought = {each.run.id: each for each in await database.write(claims.claim, 2, MINUTE)}
        assert brought.keys() == {begun.run_id, new}
        assert [step.name for step in brought[begun.run_id].steps] == ["a", "b"]
        assert list(brought[new].steps) == []
        assert (brought[new].run.status, brought[new].run.started_at) == ("RUNNING", fake_clock.now())
        assert brought[new].run.metadata == '{"a": 1}'
        token = brought[new].run.lease_token
        assert {(each.lease.run_id, each.lease.token) for each in brought.values()} == {(key, token) for key in brought}

    async def test_nothing_that_is_final_is_claimed(self, database: Database, published: PublishedFlow) -> None:
        finals = [{"status": status} for status in RunStatus if status not in ("QUEUED", "RUNNING", "PAUSED")]
        await database.write(factory.make_runs, published, finals)
        assert await claim(database, 10) == []

    async def test_each_due_run_goes_to_one_of_many_claimers(
        self, database: Database, published: PublishedFlow
    ) -> None:
        keys = await database.write(factory.make_runs, published, [{} for _ in range(100)])
        batches = await asyncio.gather(*(claim(database, 7) for _ in range(20)))
        # A claimer that finds locked runs claims fewer than it could; no run is claimed twice.
        taken = [each for batch in batches for each in batch]
        while rest := await claim(database, 7):
            taken += rest
        assert sorted(each.run_id for each in taken) == sorted(keys)
        for each in taken:
            row = await database.read(run_row, each.run_id)
            assert (row.lease_token, row.interruptions) == (each.token, 0)

    async def test_the_next_run_is_due_when_the_earliest_is(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        assert await database.read(due.next_due) is None
        await database.write(add_due_runs, published, [50, 30, 90])
        assert await database.read(due.next_due) == START + timedelta(seconds=30)
        await fake_clock.advance(30)
        await claim(database, 1, timedelta(seconds=10))
        assert await database.read(due.next_due) == START + timedelta(seconds=40)

    async def test_a_lease_that_is_renewed_is_claimed_later(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await fake_clock.advance(50)
        assert await database.write(claims.renew, [lease], MINUTE) == {lease.run_id}
        await fake_clock.advance(59)
        assert await claim(database, 1) == []
        await fake_clock.advance(1)
        assert [each.run_id for each in await claim(database, 1)] == [lease.run_id]

    async def test_renewal_returns_runs_under_lease(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        first, second, third = await claimed(database, published, 3)
        await database.write(finish, second)
        await database.write(claims.release, [third])
        assert await database.write(claims.renew, [first, second, third], MINUTE) == {first.run_id}

    async def test_released_runs_are_due_at_once_and_count_no_interruption(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        first, second, third = await claimed(database, published, 3)
        await fake_clock.advance(5)
        await database.write(claims.release, [first, third])
        again = await claim(database, 3)
        assert {each.run_id for each in again} == {first.run_id, third.run_id}
        for each in again:
            assert (await database.read(run_row, each.run_id)).interruptions == 0
        assert (await database.read(run_row, second.run_id)).lease_token == second.token

    async def test_nothing_to_renew_or_release_changes_nothing(self, database: Database, lease: Lease) -> None:
        before = await database.read(contents)
        assert await database.write(claims.renew, [], MINUTE) == set()
        await database.write(claims.release, [])
        assert await database.read(contents) == before

    async def test_after_a_crash_all_that_was_claimed_is_due_at_once(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        held = await claimed(database, published, 2)
        await database.write(factory.make_runs, published, [{"status": "FAILED"}, {"due_at": START + 2 * MINUTE}])
        await fake_clock.advance(1)
        assert await database.write(claims.release_all) == 2
        again = await claim(database, 10)
        assert {each.run_id for each in again} == {each.run_id for each in held}
        for each in again:
            assert (await database.read(run_row, each.run_id)).interruptions == 1

    async def test_each_lost_worker_is_counted(self, database: Database, lease: Lease, fake_clock: FakeClock) -> None:
        for lost in (1, 2, 3):
            await fake_clock.advance(60)
            await claim(database, 1)
            assert (await database.read(run_row, lease.run_id)).interruptions == lost

    async def test_progress_forgets_the_lost_workers(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await fake_clock.advance(60)
        (again,) = await claim(database, 1)
        await database.write(step_journal.advance, again, SUCCESS, NEXT_STEP)
        assert (await database.read(run_row, lease.run_id)).interruptions == 0


class TestHandingBack:
    async def test_the_run_is_due_when_asked(self, database: Database, lease: Lease, fake_clock: FakeClock) -> None:
        with database.pubsub.subscribe(pubsub.RUNS_DUE) as woken:
            await database.write(step_journal.snooze, lease, None, START + timedelta(seconds=30))
        assert woken.is_set()
        row = await database.read(run_row, lease.run_id)
        assert (row.due_at, row.lease_token) == (START + timedelta(seconds=30), None)
        await fake_clock.advance(29)
        assert await claim(database, 1) == []
        await fake_clock.advance(1)
        (again,) = await claim(database, 1)
        assert (await database.read(run_row, again.run_id)).interruptions == 0

    async def test_the_last_attempt_is_journalled_with_it(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.snooze, lease, TO_BE_RETRIED, START + MINUTE)
        (step,) = await database.read(step_rows, lease.run_id)
        assert (step.status, step.error, step.finished_at) == ("PENDING", '{"code":"E"}', None)
        assert await database.read(attempt_rows, lease.run_id) == [(0, 1, "FAILED", '{"code":"E"}')]

    async def test_the_lost_workers_are_forgotten(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await fake_clock.advance(60)
        (again,) = await claim(database, 1)
        await database.write(step_journal.snooze, again, None, fake_clock.now())
        assert (await database.read(run_row, lease.run_id)).interruptions == 0


def finish(
    uow: UnitOfWork,
    lease: Lease,
    last: AttemptResult | None = None,
    status: RunStatus = RunStatus.SUCCEEDED,
    *,
    is_retry: bool = False,
) -> None:
    step_journal.finish(uow, lease, last, status, f"Run {status.lower()}", {"output": "42"}, is_retry=is_retry)


class TestSteps:
    async def test_first_attempt_starts_its_step(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        (step,) = await database.read(step_rows, lease.run_id)
        assert (step.position, step.name, step.display_name, step.kind) == (0, "a", "A", "transform")
        assert (step.status, step.attempts_count, step.started_at, step.input) == ("RUNNING", 1, START, '{"n":1}')
        assert (step.finished_at, step.duration_ms, step.output, step.error, step.reused_from_id) == (None,) * 5
        assert await database.read(attempt_rows, lease.run_id) == [(0, 1, "RUNNING", None)]

    async def test_result_and_next_start_are_one_transaction(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await fake_clock.advance(1.5)
        await database.write(step_journal.advance, lease, SUCCESS, NEXT_STEP)
        first, second = await database.read(step_rows, lease.run_id)
        assert (first.status, first.output, first.duration_ms) == ("SUCCEEDED", "42", 1_500)
        assert first.finished_at == second.started_at == fake_clock.now()
        assert await database.read(attempt_rows, lease.run_id) == [
            (0, 1, "SUCCEEDED", None),
            (1, 1, "RUNNING", None),
        ]

    async def test_a_second_attempt_keeps_the_first(
        self, database: Database, lease: Lease, fake_clock: FakeClock
    ) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.advance, lease, TO_BE_RETRIED, None)
        await fake_clock.advance(2)
        await database.write(step_journal.advance, lease, None, SECOND_TRY)
        await database.write(step_journal.advance, lease, outcome(number=2, output="7"), None)
        (step,) = await database.read(step_rows, lease.run_id)
        assert (step.status, step.attempts_count, step.input, step.output) == ("SUCCEEDED", 2, '{"n":2}', "7")
        assert (step.started_at, step.duration_ms, step.error) == (START, 2_000, None)
        assert await database.read(attempt_rows, lease.run_id) == [
            (0, 1, "FAILED", '{"code":"E"}'),
            (0, 2, "SUCCEEDED", None),
        ]

    async def test_a_failed_step_keeps_its_error(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.advance, lease, outcome(StepStatus.FAILED, error='{"code":"E"}'), None)
        (step,) = await database.read(step_rows, lease.run_id)
        assert (step.status, step.error, step.output, step.finished_at) == ("FAILED", '{"code":"E"}', None, START)
        assert await database.read(attempt_rows, lease.run_id) == [(0, 1, "FAILED", '{"code":"E"}')]

    async def test_a_skipped_step_has_no_attempt(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.skip, lease, SUCCESS, NEXT_STEP)
        first, second = await database.read(step_rows, lease.run_id)
        assert first.status == "SUCCEEDED"
        assert (second.status, second.attempts_count, second.duration_ms) == ("SKIPPED", 0, 0)
        assert second.started_at == second.finished_at == START
        assert await database.read(attempt_rows, lease.run_id) == [(0, 1, "SUCCEEDED", None)]

    async def test_interrupted_attempt_differs_from_failed_one(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.advance, lease, TO_BE_RETRIED, SECOND_TRY)
        await database.write(step_journal.interrupt, lease, 0)
        await database.write(step_journal.advance, lease, None, AttemptStart(0, "a", "A", "transform", 3, None))
        assert await database.read(attempt_rows, lease.run_id) == [
            (0, 1, "FAILED", '{"code":"E"}'),
            (0, 2, "INTERRUPTED", None),
            (0, 3, "RUNNING", None),
        ]

    async def test_the_journal_is_loaded_in_order_with_its_failures(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, NEXT_STEP)
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        await database.write(step_journal.advance, lease, TO_BE_RETRIED, SECOND_TRY)
        await database.write(step_journal.interrupt, lease, 0)
        loaded = await database.read(claims.load, lease)
        run = loaded.run
        assert (loaded.lease, run.id, run.status, run.input, run.metadata) == (
            lease,
            lease.run_id,
            "RUNNING",
            "{}",
            "{}",
        )
        steps = [(step.name, step.attempts_count, step.failures) for step in loaded.steps]
        assert steps == [("a", 2, 1), ("b", 1, 0)]


class TestFinishing:
    async def test_last_result_and_end_are_one_transaction(self, database: Database, lease: Lease) -> None:
        await database.write(step_journal.advance, lease, None, FIRST_TRY)
        with database.pubsub.subscribe(pubsub.run_changed(lease.run_id)) as woken:
            await database.write(finish, lease, SUCCESS)
        assert woken.is_set()
        row = await database.read(run_row, lease.run_id)
        assert (row.status, row.output, row.lease_token, row.due_at) == ("SUCCEEDED", "42", None, None)
        (step,) = await database.read(step_rows, lease.run_id)
        assert step.status == "SUCCEEDED"

    @pytest.mark.parametrize(
        ("status", "is_retry", "recovers"),
        [
            (RunStatus.SUCCEEDED, True, True),
            (RunStatus.SUCCEEDED, False, False),
            (RunStatus.FAILED, True, False),
            (RunStatus.TIMEOUT, True, False),
        ],
    )
    async def test_successful_retry_recovers_the_retried_runs(
        self, database: Database, published: PublishedFlow, status: RunStatus, is_retry: bool, recovers: bool
    ) -> None:
        old = await database.write(factory.make_run, published, status="FAILED")
        new = await database.write(factory.make_run, published, retry_of_id=old)
        (lease,) = await claim(database, 1)
        await database.write(finish, lease, None, status, is_retry=is_retry)
        assert (await database.read(run_row, old)).recovered_by_id == (new if recovers else None)
        log = table(RunEvent)
        events = await database.read(lambda conn: conn.execute(select(log).where(log.c.run_id == old)).all())
        assert [(row.kind, row.project_id) for row in events] == (
            [(event_log.RUN_RECOVERED, published.project_id)] if recovers else []
        )

    async def test_one_of_two_concurrent_ends_is_written(self, database: Database, published: PublishedFlow) -> None:
        for lease in await claimed(database, published, 10):
            results = await asyncio.gather(
                *(database.write(finish, lease, None, status) for status in (RunStatus.SUCCEEDED, RunStatus.FAILED)),
                return_exceptions=True,
            )
            assert [type(result) for result in results if result is not None] == [LeaseLostError]


def lock_lease(conn: Connection, lease: Lease) -> None:
    claims.lock_lease(UnitOfWork(conn, COMMIT_STEPS), lease)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_run_locked_by_a_transaction_is_not_locked_by_another(database: Database, lease: Lease) -> None:
    # If both could lock it, each would wait for the other as soon as it wrote.
    async with database._engine.connect() as one, database._engine.connect() as other:
        await one.run_sync(lock_lease, lease)
        await other.execute(text("SET lock_timeout = '20ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await other.run_sync(lock_lease, lease)


WRITES: dict[str, Callable[[UnitOfWork, Lease], object]] = {
    "advance": lambda uow, lease: step_journal.advance(uow, lease, SUCCESS, NEXT_STEP),
    "advance with nothing": lambda uow, lease: step_journal.advance(uow, lease, None, None),
    "skip": lambda uow, lease: step_journal.skip(uow, lease, SUCCESS, NEXT_STEP),
    "interrupt": lambda uow, lease: step_journal.interrupt(uow, lease, 0),
    "hand_back": lambda uow, lease: step_journal.snooze(uow, lease, SUCCESS, START),
    "finish": lambda uow, lease: finish(uow, lease, SUCCESS, is_retry=True),
    "load": lambda uow, lease: claims.load(uow.conn, lease),
    "hold": claims.lock_lease,
}


async def taken_over(database: Database, published: PublishedFlow, fake_clock: FakeClock) -> tuple[Lease, Lease]:
    """A lease that ran out in the middle of a step, and the one of another worker that has the run now."""
    old = await database.write(factory.make_run, published, status="FAILED")
    new = await database.write(factory.make_run, published, retry_of_id=old)
    stale = next(each for each in await claim(database, 10) if each.run_id == new)
    await database.write(step_journal.advance, stale, None, FIRST_TRY)
    await fake_clock.advance(60)
    fresh = next(each for each in await claim(database, 10) if each.run_id == new)
    return stale, fresh


async def assert_refused(database: Database, lease: Lease) -> None:
    before = await database.read(contents)
    for write in WRITES.values():
        with pytest.raises(LeaseLostError):
            await database.write(write, lease)
        assert await database.read(contents) == before


class TestFencing:
    async def test_a_stale_lease_changes_nothing(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        stale, fresh = await taken_over(database, published, fake_clock)
        await assert_refused(database, stale)
        await database.write(finish, fresh, SUCCESS, is_retry=True)

    async def test_a_lease_of_an_ended_run_changes_nothing(self, database: Database, lease: Lease) -> None:
        await database.write(finish, lease)
        await assert_refused(database, lease)

    async def test_valid_lease_can_write_what_a_stale_one_cannot(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        # Otherwise the refusals would prove nothing.
        for write in WRITES.values():
            _, fresh = await taken_over(database, published, fake_clock)
            await database.write(write, fresh)

    async def test_a_stale_lease_is_neither_renewed_nor_released(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        stale, _ = await taken_over(database, published, fake_clock)
        before = await database.read(contents)
        await fake_clock.advance(1)
        assert await database.write(claims.renew, [stale], MINUTE) == set()
        await database.write(claims.release, [stale])
        assert await database.read(contents) == before

    async def test_stale_lease_in_a_batch_with_a_valid_one_writes_nothing(
        self, database: Database, published: PublishedFlow, fake_clock: FakeClock
    ) -> None:
        lost, other = await claimed(database, published, 2)
        await fake_clock.advance(60)
        # One claim has one token for all its runs, the lost one among them.
        fresh = {each.run_id: each for each in await claim(database, 2)}
        await fake_clock.advance(1)
        assert await database.write(claims.renew, [lost, fresh[other.run_id]], MINUTE) == {other.run_id}
        await database.write(claims.release, [lost, fresh[other.run_id]])
        assert (await database.read(run_row, lost.run_id)).lease_token == fresh[lost.run_id].token
        assert (await database.read(run_row, other.run_id)).lease_token is None

    async def test_a_made_up_token_holds_nothing(self, database: Database, lease: Lease) -> None:
        with pytest.raises(LeaseLostError):
            await database.write(claims.lock_lease, Lease(lease.run_id, ids.new_uuid()))
