"""The queue of due runs: its order, and what is in it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.queue import due
from db.runs import claims, step_journal, transitions
from db.runs.claims import Claimed
from domain import ids
from domain.enums import TriggerMethod
from tests.support.clock import START, FakeClock
from tests.support.worker import LEASE, Flow, WorkerHarness, transform

SECOND = timedelta(seconds=1)


@pytest.fixture
async def worker(database: Database, fake_clock: FakeClock) -> WorkerHarness:
    return await WorkerHarness.on(database)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1))


async def claim(database: Database, limit: int = 10) -> list[UUID]:
    return [claimed.lease.run_id for claimed in await claim_runs(database, limit)]


async def claim_runs(database: Database, limit: int = 10) -> Sequence[Claimed]:
    return await database.write(claims.claim, limit, LEASE)


async def priority(worker: WorkerHarness, run_id: UUID) -> int:
    found: int = (await worker.run(run_id)).priority
    return found


async def test_new_run_is_due_at_once(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    assert await worker.database.read(due.next_due) == START
    assert await priority(worker, run_id) == due.NEW
    assert await claim(worker.database) == [run_id]


async def test_run_that_was_rolled_back_is_not_due(worker: WorkerHarness, flow: Flow) -> None:
    def fail(uow: UnitOfWork) -> None:
        worker._create(uow, flow, {})
        raise RuntimeError("a bug")

    for _ in range(3):  # connections are used again
        with pytest.raises(RuntimeError, match="a bug"):
            await worker.database.write(fail)
    kept = await worker.start(flow)
    assert await claim(worker.database) == [kept]


async def test_runs_of_one_priority_are_claimed_longest_due_first(
    worker: WorkerHarness, flow: Flow, fake_clock: FakeClock
) -> None:
    run_ids = []
    for _ in range(5):
        run_ids.append(await worker.start(flow))
        await fake_clock.advance(1)
    assert await claim(worker.database, 3) == run_ids[:3]
    assert await claim(worker.database, 3) == run_ids[3:]


async def test_each_run_is_claimed_once(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await worker.start_many(flow, 40)
    taken = await asyncio.gather(*(claim(worker.database, 10) for _ in range(8)))
    rest = [await claim(worker.database, 10) for _ in range(4)]
    assert sorted(run_id for claimed in [*taken, *rest] for run_id in claimed) == run_ids


async def test_manual_retry_precedes_started_runs_which_precede_new_ones(worker: WorkerHarness, flow: Flow) -> None:
    begun = await worker.start(flow)
    (claimed,) = await claim_runs(worker.database)
    new = await worker.start_many(flow, 3)
    await worker.database.write(step_journal.snooze, claimed.lease, None, START)
    retried = await worker.start(flow, trigger_method=TriggerMethod.RETRY)
    in_bulk = await worker.start(flow, trigger_method=TriggerMethod.RETRY, retry_operation_id=ids.new_uuid())
    assert await claim(worker.database, 2) == [retried, begun]
    assert set(await claim(worker.database)) == {*new, in_bulk}


async def test_one_claim_takes_priorities_in_order(worker: WorkerHarness, flow: Flow, fake_clock: FakeClock) -> None:
    begun = await worker.start(flow)
    (claimed,) = await claim_runs(worker.database)
    await worker.database.write(step_journal.snooze, claimed.lease, None, START)
    new = await worker.start(flow)
    await fake_clock.advance(1)
    retried = await worker.start(flow, trigger_method=TriggerMethod.RETRY)
    assert await claim(worker.database) == [retried, begun, new]


async def test_priority_rises_at_start_but_not_of_retry_by_hand(worker: WorkerHarness, flow: Flow) -> None:
    new = await worker.start(flow)
    retried = await worker.start(flow, trigger_method=TriggerMethod.RETRY)
    await claim_runs(worker.database)
    assert [await priority(worker, run_id) for run_id in (new, retried)] == [due.STARTED_RUN, due.INTERACTIVE]


async def test_snoozed_run_is_due_later(worker: WorkerHarness, flow: Flow, fake_clock: FakeClock) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claim_runs(worker.database)
    await worker.database.write(step_journal.snooze, claimed.lease, None, START + 7 * SECOND)
    assert await claim(worker.database) == []
    assert await worker.database.read(due.next_due) == START + 7 * SECOND
    await fake_clock.advance(7)
    assert await claim(worker.database) == [run_id]


@pytest.mark.parametrize("due_at", [None, START + 60 * SECOND])
async def test_paused_run_is_due_when_its_pause_ends_or_it_is_resumed(
    worker: WorkerHarness, flow: Flow, due_at: datetime | None
) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claim_runs(worker.database)
    assert await worker.database.write(transitions.pause, claimed.lease, "Waiting", due_at)
    assert await claim(worker.database) == []
    assert await worker.database.read(due.next_due) == due_at
    assert await worker.database.write(transitions.resume, run_id, "Answered")
    assert await claim(worker.database) == [run_id]


async def test_released_run_is_due_at_once(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claim_runs(worker.database)
    await worker.database.write(claims.release, [claimed.lease])
    assert await claim(worker.database) == [run_id]


async def test_run_of_a_lost_worker_is_due_when_its_lease_has_ended(
    worker: WorkerHarness, flow: Flow, fake_clock: FakeClock
) -> None:
    run_id = await worker.start(flow)
    await claim_runs(worker.database)
    await fake_clock.advance(LEASE.total_seconds() - 0.1)
    assert await claim(worker.database) == []
    await fake_clock.advance(0.1)
    assert await claim(worker.database) == [run_id]
    assert (await worker.run(run_id)).interruptions == 1


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_run_whose_row_is_locked_is_skipped(worker: WorkerHarness, flow: Flow, database_url: str) -> None:
    busy, free = await worker.start_many(flow, 2)
    other = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    async with other.transaction():
        await other.execute("SELECT FROM flow_run WHERE id = $1 FOR UPDATE", busy)
        assert await claim(worker.database) == [free]
    await other.close()
    assert await claim(worker.database) == [busy]
