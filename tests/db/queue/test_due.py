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
from db.runs import step_journal, transitions
from db.runs.step_journal import Claimed
from domain import ids
from domain.enums import TriggerMethod
from tests.support.clock import START, FakeClock
from tests.support.engine import LEASE, Bench, Flow, transform

SECOND = timedelta(seconds=1)


@pytest.fixture
async def bench(database: Database, fake_clock: FakeClock) -> Bench:
    return await Bench.on(database)


@pytest.fixture
async def flow(bench: Bench) -> Flow:
    return await bench.publish(transform("a", 1))


async def claim(database: Database, limit: int = 10) -> list[UUID]:
    return [claimed.lease.run_id for claimed in await claims(database, limit)]


async def claims(database: Database, limit: int = 10) -> Sequence[Claimed]:
    return await database.write(step_journal.claim, limit, LEASE)


async def priority(bench: Bench, run_id: UUID) -> int:
    found: int = (await bench.run(run_id)).priority
    return found


async def test_new_run_is_due_at_once(bench: Bench, flow: Flow) -> None:
    run_id = await bench.start(flow)
    assert await bench.database.read(due.next_due) == START
    assert await priority(bench, run_id) == due.NEW
    assert await claim(bench.database) == [run_id]


async def test_run_that_was_rolled_back_is_not_due(bench: Bench, flow: Flow) -> None:
    def fail(uow: UnitOfWork) -> None:
        bench._create(uow, flow, {})
        raise RuntimeError("a bug")

    for _ in range(3):  # connections are used again
        with pytest.raises(RuntimeError, match="a bug"):
            await bench.database.write(fail)
    kept = await bench.start(flow)
    assert await claim(bench.database) == [kept]


async def test_runs_of_one_priority_are_claimed_longest_due_first(
    bench: Bench, flow: Flow, fake_clock: FakeClock
) -> None:
    run_ids = []
    for _ in range(5):
        run_ids.append(await bench.start(flow))
        await fake_clock.advance(1)
    assert await claim(bench.database, 3) == run_ids[:3]
    assert await claim(bench.database, 3) == run_ids[3:]


async def test_each_run_is_claimed_once(bench: Bench, flow: Flow) -> None:
    run_ids = await bench.start_many(flow, 40)
    taken = await asyncio.gather(*(claim(bench.database, 10) for _ in range(8)))
    rest = [await claim(bench.database, 10) for _ in range(4)]
    assert sorted(run_id for claimed in [*taken, *rest] for run_id in claimed) == run_ids


async def test_retry_by_hand_goes_before_runs_under_way_and_these_before_new_ones(bench: Bench, flow: Flow) -> None:
    begun = await bench.start(flow)
    (claimed,) = await claims(bench.database)
    new = await bench.start_many(flow, 3)
    await bench.database.write(step_journal.snooze, claimed.lease, None, START)
    retried = await bench.start(flow, trigger_method=TriggerMethod.RETRY)
    in_bulk = await bench.start(flow, trigger_method=TriggerMethod.RETRY, retry_operation_id=ids.new_uuid())
    assert await claim(bench.database, 2) == [retried, begun]
    assert set(await claim(bench.database)) == {*new, in_bulk}


async def test_one_claim_takes_all_priorities_in_their_order(bench: Bench, flow: Flow, fake_clock: FakeClock) -> None:
    begun = await bench.start(flow)
    (claimed,) = await claims(bench.database)
    await bench.database.write(step_journal.snooze, claimed.lease, None, START)
    new = await bench.start(flow)
    await fake_clock.advance(1)
    retried = await bench.start(flow, trigger_method=TriggerMethod.RETRY)
    assert await claim(bench.database) == [retried, begun, new]


async def test_priority_rises_when_a_run_begins_and_stays_with_a_retry_by_hand(bench: Bench, flow: Flow) -> None:
    new = await bench.start(flow)
    retried = await bench.start(flow, trigger_method=TriggerMethod.RETRY)
    await claims(bench.database)
    assert [await priority(bench, run_id) for run_id in (new, retried)] == [due.UNDER_WAY, due.BY_HAND]


async def test_snoozed_run_is_due_later(bench: Bench, flow: Flow, fake_clock: FakeClock) -> None:
    run_id = await bench.start(flow)
    (claimed,) = await claims(bench.database)
    await bench.database.write(step_journal.snooze, claimed.lease, None, START + 7 * SECOND)
    assert await claim(bench.database) == []
    assert await bench.database.read(due.next_due) == START + 7 * SECOND
    await fake_clock.advance(7)
    assert await claim(bench.database) == [run_id]


@pytest.mark.parametrize("due_at", [None, START + 60 * SECOND])
async def test_paused_run_is_due_when_its_pause_ends_or_it_is_resumed(
    bench: Bench, flow: Flow, due_at: datetime | None
) -> None:
    run_id = await bench.start(flow)
    (claimed,) = await claims(bench.database)
    assert await bench.database.write(transitions.pause, claimed.lease, "Waiting", due_at)
    assert await claim(bench.database) == []
    assert await bench.database.read(due.next_due) == due_at
    assert await bench.database.write(transitions.resume, run_id, "Answered")
    assert await claim(bench.database) == [run_id]


async def test_released_run_is_due_at_once(bench: Bench, flow: Flow) -> None:
    run_id = await bench.start(flow)
    (claimed,) = await claims(bench.database)
    await bench.database.write(step_journal.release, [claimed.lease])
    assert await claim(bench.database) == [run_id]


async def test_run_of_a_lost_worker_is_due_when_its_lease_has_ended(
    bench: Bench, flow: Flow, fake_clock: FakeClock
) -> None:
    run_id = await bench.start(flow)
    await claims(bench.database)
    await fake_clock.advance(LEASE.total_seconds() - 0.1)
    assert await claim(bench.database) == []
    await fake_clock.advance(0.1)
    assert await claim(bench.database) == [run_id]
    assert (await bench.run(run_id)).interruptions == 1


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_run_whose_row_is_locked_is_skipped(bench: Bench, flow: Flow, database_url: str) -> None:
    busy, free = await bench.start_many(flow, 2)
    other = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    async with other.transaction():
        await other.execute("SELECT FROM flow_run WHERE id = $1 FOR UPDATE", busy)
        assert await claim(bench.database) == [free]
    await other.close()
    assert await claim(bench.database) == [busy]
