"""Concurrency limits and the wait queue."""

from datetime import timedelta
from uuid import UUID

import pytest

from db.runs import cancellation, step_journal, transitions
from db.runs.claims import Claimed
from tests.engine.faults.backends import Backend, Limits
from tests.engine.worker.dispatcher.harness import Work, at_work, limit
from tests.support.clock import FakeClock
from tests.support.worker import Flow, WorkerHarness, transform


async def start_apart(worker: WorkerHarness, flow: Flow, count: int, still: FakeClock) -> list[UUID]:
    """New runs, each due a moment later than the one before."""
    run_ids = []
    for _ in range(count):
        run_ids.append(await worker.start(flow))
        still.block(0.001)
    return run_ids


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_limit_holds_and_a_released_slot_promotes_the_longest_waiting_run(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, scope: str
) -> None:
    await limit(worker, 2, flow if scope == "flow" else None)
    run_ids = await start_apart(worker, flow, 7, still)
    before = still.now()
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.advance(60)
        assert held_up.runs == run_ids[:2]
        assert {(await worker.run(run_id)).status for run_id in run_ids[2:]} == {"QUEUED"}
        opened = still.now()
        held_up.gate.set()
        await still.settle()
    assert held_up.runs == run_ids
    assert held_up.most_at_once == 2
    assert [at for _, at in held_up.began] == [before] * 2 + [opened] * 5


async def test_runs_without_a_limit_do_not_wait_behind_runs_of_a_full_flow(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    limited = await worker.start_many(flow, 300)
    still.block(1)
    free = await worker.start_many(await worker.publish(transform("a", 1)), 5)
    began_at = still.now()
    async with at_work(backend.create(worker.database, Limits(concurrency=20)), held_up):
        await still.settle()
        assert len(set(held_up.runs) & set(limited)) == 1
        assert set(free) < set(held_up.runs)
        assert {at for _, at in held_up.began} == {began_at}


async def test_no_flow_of_a_limited_project_starves(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await limit(worker, 1)
    await start_apart(worker, flow, 20, still)
    late = await worker.start(await worker.publish(transform("a", 1)))
    for _ in range(3):
        still.block(0.001)
        await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
    assert work.runs.index(late) == 20
    assert len(work.runs) == 24
    assert work.most_at_once == 1


async def test_slot_of_a_lost_worker_is_released(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)
    lost = await worker.claim(timedelta(seconds=15))
    assert lost.lease.run_id == first
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(14)
        assert work.began == []
        await still.advance(2)
        assert work.runs == [first, second]
    assert {(await worker.run(run_id)).status for run_id in (first, second)} == {"SUCCEEDED"}


async def test_slot_of_a_cancelled_run_is_used_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.settle()
        now = still.now()
        assert (await worker.database.write(cancellation.stop, first, "Cancelled")).run
        await still.settle()
        assert held_up.aborted == [first]
        assert held_up.began[1:] == [(second, now)]


async def test_raised_limit_promotes_runs_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    run_ids = await start_apart(worker, flow, 6, still)
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.settle()
        await limit(worker, 3, flow)
        await still.settle()
        assert held_up.runs == run_ids[:3]
        await limit(worker, None, flow)
        await still.settle()
        assert held_up.runs == run_ids


async def test_paused_run_releases_its_slot_and_continues_when_one_is_free(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first and not claimed.steps:
            asks = step_journal.AttemptStart(0, "a", None, "humanInput", 1, "null")
            await worker.database.write(step_journal.pause, claimed.lease, None, asks, "Waiting", None)
        else:
            await held_up(claimed)

    async with at_work(backend.create(worker.database, Limits()), execute):
        await still.settle()
        assert held_up.runs == [second]
        assert await worker.database.write(transitions.resume, first, "Answered")
        await still.advance(30)
        assert held_up.runs == [second]
        assert (await worker.run(first)).status == "PAUSED"
        held_up.gate.set()
        await still.settle()
        assert held_up.runs == [second, first]
        assert held_up.most_at_once == 1
