"""Leases of runs that the dispatcher executes."""

import asyncio
from datetime import timedelta

import pytest

from db.assembly import open_database
from db.core import pubsub
from db.runs.claims import Claimed
from domain.enums import RunStatus
from tests.engine.faults.backends import Backend, Limits
from tests.engine.worker.dispatcher.harness import Work, at_work, end
from tests.support.clock import START, FakeClock
from tests.support.worker import Flow, WorkerHarness


async def test_lease_of_an_executing_run_is_renewed(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, work: Work, database_url: str
) -> None:
    other = open_database(database_url)
    still.watch(other)
    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(lease=15)), held_up):
        await still.settle()
        async with at_work(backend.create(other, Limits(lease=15)), work):
            await still.advance(50)  # more than three leases
            assert work.began == []
            assert (await worker.run(run_id)).due_at > still.now()
            held_up.gate.set()
            await still.settle()
    await other.close()
    run = await worker.run(run_id)
    assert (run.status, run.interruptions, run.due_at) == ("SUCCEEDED", 0, None)


async def test_run_of_a_lost_worker_is_claimed_when_its_lease_ends(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_id = await worker.start(flow)
    await worker.claim(timedelta(seconds=15))
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(14.9)
        assert work.began == []
        await still.advance(1)
        assert work.runs == [run_id]
    run = await worker.run(run_id)
    assert (run.status, run.interruptions) == ("SUCCEEDED", 1)


async def test_run_ended_by_another_transaction_is_aborted(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    ended, other = await worker.start_many(flow, 2)
    async with at_work(backend.create(worker.database, Limits(lease=15)), held_up):
        await still.settle()
        await worker.change(ended, status=RunStatus.STOPPED, due_at=None, lease_token=None)
        await still.advance(5)
        assert held_up.aborted == [ended]
        held_up.gate.set()
        await still.settle()
        assert (await worker.run(other)).status == "SUCCEEDED"


async def test_a_run_that_another_worker_has_is_broken_off(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), held_up):
        await still.settle()
        await worker.change(run_id, due_at=START)
        other = await worker.claim(timedelta(hours=1))
        await still.advance(5)
        assert held_up.aborted == [run_id]
        held_up.gate.set()
        second = await worker.start(flow)
        await still.settle()
        assert held_up.runs == [run_id, second]
    await end(worker.database, other)
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_run_that_ends_during_a_renewal_does_not_count_as_lost(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the run is committed before its task ends, and checks of the leases may happen in between."""
    message, aborted = asyncio.Event(), []

    async def execute(claimed: Claimed) -> None:
        await end(worker.database, claimed)
        try:
            await message.wait()
        except asyncio.CancelledError:
            aborted.append(claimed.lease.run_id)
            raise

    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(lease=15)), execute):
        await still.advance(1.5)
        # A transaction that stops a run makes its worker check at once.
        await worker.database.write(lambda uow: uow.publish_after_commit(pubsub.RUNS_STOPPED))
        await still.settle()
        message.set()
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert aborted == []
    assert "lease" not in caplog.text.lower()
