"""The dispatcher claims due runs in order, and no more than it may execute."""

from datetime import timedelta
from typing import Any

import pytest

from db.assembly import open_database
from db.core import pubsub
from db.runs import claims
from db.runs.claims import Claimed
from domain.errors import DatabaseUnavailableError, QueryTimeoutError
from domain.time import clock
from tests.engine.faults.backends import Backend, Limits
from tests.engine.worker.dispatcher.harness import Work, at_work, end
from tests.support.clock import START, FakeClock
from tests.support.worker import Flow, WorkerHarness


async def test_runs_that_wait_are_executed_at_the_start(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 5)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        assert sorted(work.runs) == run_ids
        assert {(await worker.run(run_id)).status for run_id in run_ids} == {"SUCCEEDED"}


async def test_new_run_is_executed_without_waiting_for_the_next_poll(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        run_id = await worker.start(flow)
        await still.settle()
        assert work.began == [(run_id, START)]


async def test_a_run_that_another_process_wrote_is_noticed(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work, database_url: str
) -> None:
    other = open_database(database_url)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        run_id = await WorkerHarness(other, worker.project_id).start(flow)
        await still.advance(backend.latency)
        assert work.runs == [run_id]
    await other.close()


async def test_longest_due_run_is_executed_first(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 4)
    ages = [3, 9, 1, 5]
    for run_id, age in zip(run_ids, ages, strict=True):
        await worker.change(run_id, due_at=START - timedelta(seconds=age))
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), work):
        await still.settle()
        assert work.runs == [run_ids[1], run_ids[3], run_ids[0], run_ids[2]]


async def test_a_run_is_executed_when_it_is_due_and_not_before(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    soon, later = await worker.start_many(flow, 2)
    await worker.change(soon, due_at=START + timedelta(seconds=0.4))
    await worker.change(later, due_at=START + timedelta(seconds=7.25))
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(20)
        assert work.runs == [soon, later]
        assert work.times == [0.4, 7.25]


async def test_dispatcher_executes_no_more_runs_than_allowed(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_ids = await worker.start_many(flow, 10)
    async with at_work(backend.create(worker.database, Limits(concurrency=3)), held_up):
        await still.advance(30)
        assert len(held_up.began) == 3
        held_up.gate.set()
        await still.settle()
        assert sorted(held_up.runs) == run_ids
        assert held_up.most_at_once == 3


async def test_free_capacity_is_used_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await worker.start_many(flow, 2)
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), held_up):
        await still.settle()
        held_up.gate.set()
        await still.settle()
        assert held_up.times == [0, 0]


async def test_fault_of_one_run_delays_no_other(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    first = await worker.start(flow)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first and not work.began:
            work.began.append((first, clock.now()))
            raise RuntimeError("a bug")
        await work(claimed)

    async with at_work(backend.create(worker.database, Limits(lease=15)), execute):
        await still.settle()
        second = await worker.start(flow)
        await still.advance(14)
        assert work.runs == [first, second]
        await still.advance(2)
        assert work.runs == [first, second, first]
    assert "a bug" in caplog.text


async def test_claims_that_fail_are_repeated_each_second(
    backend: Backend,
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As on a full disk, where due runs can be read and not claimed. Messages and due runs shorten no pause."""
    (run_id,) = await worker.start_many(flow, 1)
    write, refused = worker.database.write, []

    async def refuse(function: Any, *args: Any) -> Any:
        if function is not claims.claim:
            return await write(function, *args)
        refused.append(clock.now())
        raise DatabaseUnavailableError("The database has no space left.")

    monkeypatch.setattr(worker.database, "write", refuse)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        worker.database.pubsub.publish([pubsub.RUNS_DUE])
        await still.advance(5)
        assert len(refused) == 6
        logged = [vars(record) for record in caplog.records if record.getMessage() == "database unavailable"]
        assert [entry["reason"] for entry in logged] == ["The database has no space left."] * 6
        monkeypatch.setattr(worker.database, "write", write)
        await still.advance(1)
        assert work.runs == [run_id]


async def test_reads_that_take_too_long_end_no_dispatcher(
    backend: Backend,
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    held_up: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As while a migration has locked the table of runs, in a process whose reads have a time limit."""

    async def too_slow(*_: Any) -> None:
        raise QueryTimeoutError

    (run_id,) = await worker.start_many(flow, 1)
    async with at_work(backend.create(worker.database, Limits(lease=3)), held_up) as task:
        await still.settle()
        with monkeypatch.context() as patch:
            patch.setattr(worker.database, "read", too_slow)
            await still.advance(2)
        # Leases are renewed, and runs claimed, as before.
        await worker.start_many(flow, 1)
        await still.advance(10)
        assert (task.done(), len(held_up.runs), held_up.aborted) == (False, 2, [])
        assert held_up.runs[0] == run_id


async def test_runs_whose_workers_were_lost_begin_one_after_the_other(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    """A step that ends its worker each time must not take with it the runs that happened to be beside it."""
    run_ids = await worker.start_many(flow, 5)
    for run_id in run_ids[:3]:
        await worker.change(run_id, interruptions=2, due_at=START - timedelta(seconds=1))
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.settle()
        (suspect,) = set(held_up.runs) - set(run_ids[3:])
        assert len(held_up.runs) == 3
        assert suspect in run_ids[:3]
        # The others are not claimed, so they are not counted as lost if this worker ends now.
        waiting = {run_id for run_id in run_ids if run_id not in held_up.runs}
        for run_id in waiting:
            run = await worker.run(run_id)
            assert (run.lease_token, run.interruptions) == (None, 2)
        await still.advance(9)
        assert len(held_up.runs) == 3
        await still.advance(2)
        assert len(held_up.runs) == 4
        held_up.gate.set()
        await still.advance(2)
        assert sorted(held_up.runs) == sorted(run_ids)
        assert {(await worker.run(run_id)).status for run_id in run_ids} == {"SUCCEEDED"}


async def test_little_free_capacity_is_used_even_if_the_rest_is_occupied_for_long(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    """A dispatcher may wait a moment, and then claim several runs at once."""
    first, *_ = run_ids = await worker.start_many(flow, 17)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first:
            await end(worker.database, claimed)
        else:
            await held_up(claimed)

    async with at_work(backend.create(worker.database, Limits(concurrency=16)), execute):
        await still.advance(0.5)
        await worker.start(flow)
        await still.advance(0.6)
        assert set(held_up.runs) == set(run_ids[1:])
