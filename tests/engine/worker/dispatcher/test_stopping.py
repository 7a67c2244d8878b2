"""The dispatcher stops, fails, and waits for the database."""

import asyncio
from typing import Any

import pytest

from db.assembly import open_database
from db.migrate import upgrade
from db.runs import claims
from tests.engine.faults.backends import Backend, Limits, dispatcher
from tests.engine.worker.dispatcher.harness import Work, at_work
from tests.support.clock import FakeClock
from tests.support.databases.postgres import PostgresServer
from tests.support.worker import Flow, WorkerHarness, transform


async def test_an_idle_dispatcher_stops_at_once(
    backend: Backend, worker: WorkerHarness, still: FakeClock, work: Work
) -> None:
    dispatcher = backend.create(worker.database, Limits())
    async with at_work(dispatcher, work) as task:
        await still.settle()
        assert not task.done()
        dispatcher.stop()
        await still.settle()
        assert task.done()
        await task
    assert still.timers == 0


async def test_a_dispatcher_stopped_before_it_runs_claims_nothing(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits())
    dispatcher.stop()
    async with at_work(dispatcher, work) as task:
        await still.settle()
        assert task.done()
    assert work.began == []


async def test_stopping_dispatcher_lets_runs_end_within_the_grace_period(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits(grace=10))
    async with at_work(dispatcher, held_up) as task:
        await still.settle()
        dispatcher.stop()
        await worker.start(flow)
        await still.advance(9.9)
        assert not task.done()
        held_up.gate.set()
        await still.settle()
        assert task.done()
    assert held_up.runs == [run_id]
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_lease_is_renewed_during_a_longer_grace_period(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits(lease=3, grace=60))
    async with at_work(dispatcher, held_up):
        await still.settle()
        dispatcher.stop()
        await still.advance(50)
        assert (await worker.run(run_id)).due_at > still.now()


async def test_run_that_exceeds_the_grace_period_is_released_and_continues_elsewhere(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 3)
    dispatcher = backend.create(worker.database, Limits(grace=10))
    async with at_work(dispatcher, held_up) as task:
        await still.settle()
        dispatcher.stop()
        await still.advance(10)
        assert task.done()
    assert sorted(held_up.aborted) == run_ids
    for run_id in run_ids:
        run = await worker.run(run_id)
        assert (run.status, run.due_at, run.lease_token, run.interruptions) == ("RUNNING", still.now(), None, 0)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
    assert sorted(work.runs) == run_ids
    assert {(await worker.run(run_id)).interruptions for run_id in run_ids} == {0}


async def test_failing_dispatcher_aborts_its_runs(
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    held_up: Work,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the dispatcher the leases of running tasks would not be renewed."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits()), held_up) as task:
        await still.settle()
        monkeypatch.setattr(claims, "claim", broken)
        await still.advance(2)
        assert task.done()
        assert "a bug" in str(task.exception())
        assert held_up.aborted == [run_id]
        assert still.timers == 0


async def test_dispatcher_waits_for_an_unavailable_database(
    own_postgres: PostgresServer, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(upgrade, own_postgres.url())
    database = open_database(own_postgres.url())
    fake_clock.watch(database)
    worker = await WorkerHarness.on(database)
    work = Work(worker)
    flow = await worker.publish(transform("a", 1))
    before = await worker.start(flow)
    async with at_work(dispatcher(database, Limits(lease=15)), work) as task:
        await fake_clock.settle()
        await asyncio.to_thread(own_postgres.stop)
        await fake_clock.advance(6)
        assert not task.done()
        leases = [vars(record) for record in caplog.records if vars(record).get("service") == "leases"]
        assert (leases[0]["message"], leases[0]["runs"]) == ("database unavailable", 1)
        await asyncio.to_thread(own_postgres.start)
        work.gate.set()
        await fake_clock.settle()
        assert (await worker.run(before)).status == "SUCCEEDED"
        after = await worker.start(flow)
        await fake_clock.advance(1)
        assert (await worker.run(after)).status == "SUCCEEDED"
    await database.close()
    assert work.runs == [before, after]
