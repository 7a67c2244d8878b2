"""The clock is set by an hour while runs are executed: none is stuck, repeated or of negative duration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from db.assembly import open_database
from db.core.database import Database
from db.runs import cancellation
from engine.compiled_flow import FlowCache
from engine.steps import StepContext
from engine.worker.scheduler import Scheduler
from tests.conftest import Dialect
from tests.engine.faults.backends import CASES, Backend, Limits
from tests.engine.worker.dispatcher.harness import at_work
from tests.engine.worker.test_scheduler import add as add_schedule
from tests.engine.worker.test_scheduler import fires
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.worker import WorkerHarness, history, python, transform

HOUR = 3_600.0


@pytest.fixture
def dialect(case: tuple[Backend, Dialect]) -> Dialect:
    return case[1]


@pytest.fixture(params=[HOUR, -HOUR], ids=["forward", "back"])
def jump(request: pytest.FixtureRequest) -> float:
    """Seconds by which the clock is set."""
    seconds: float = request.param
    return seconds


class Gate:
    """Blocks the action `pass_gate`, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.opened = asyncio.Event()

    async def pass_gate(self, ctx: StepContext) -> int:
        self.calls += 1
        await self.opened.wait()
        return ctx.attempt


@asynccontextmanager
async def working(backend: Backend, worker: WorkerHarness, gate: Gate, **limits: Any) -> AsyncIterator[None]:
    """Run a dispatcher with an executor while the block lasts."""
    executor = await worker.executor(pass_gate=gate.pass_gate)
    async with at_work(backend.create(worker.database, Limits(**limits)), executor.execute):
        yield


async def test_running_run_is_executed_once_with_a_positive_duration(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    gate = Gate()
    run_id = await worker.start(await worker.publish(python("a", "pass_gate"), transform("b", 1)))
    async with working(backend, worker, gate):
        await still.advance(2)
        still.jump(jump)
        # A wake-up arrives at once, before any timer ends.
        other = await worker.start(await worker.publish(transform("a", 1)))
        # Long enough for several renewals of the lease.
        await still.advance(40)
        assert (await worker.run(other)).status == "SUCCEEDED"
        assert gate.calls == 1
        gate.opened.set()
        await still.settle()
    run = await worker.run(run_id)
    assert (run.status, run.interruptions) == ("SUCCEEDED", 0)
    assert await worker.tries(run_id) == [("a", 1, "SUCCEEDED"), ("b", 1, "SUCCEEDED")]
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]
    took = [run.duration_ms, *(step.duration_ms for step in await worker.steps(run_id))]
    assert min(took) >= 0


async def test_lease_of_a_running_run_is_kept_from_other_workers(
    backend: Backend, worker: WorkerHarness, still: FakeClock, database_url: str, jump: float
) -> None:
    """After the clock was set forward the lease seems expired; its own worker renews it before it claims."""
    gate, second_gate = Gate(), Gate()
    other = open_database(database_url)
    still.watch(other)
    run_id = await worker.start(await worker.publish(python("a", "pass_gate")))
    async with working(backend, worker, gate, lease=15):
        await still.advance(2)
        still.jump(jump)
        await still.advance(10)
        second = WorkerHarness(other, worker.project_id, worker.resources)
        async with working(backend, second, second_gate, lease=15):
            await still.advance(60)
            assert (gate.calls, second_gate.calls) == (1, 0)
            gate.opened.set()
            await still.settle()
    await other.close()
    assert (await worker.run(run_id)).interruptions == 0


async def test_new_runs_are_claimed_after_the_clock_was_set(
    backend: Backend, worker: WorkerHarness, still: FakeClock, database_url: str, jump: float
) -> None:
    gate = Gate()
    gate.opened.set()
    other = open_database(database_url)
    flow = await worker.publish(python("a", "pass_gate"))
    async with working(backend, worker, gate):
        await still.advance(5)
        still.jump(jump)
        # From another process: there is no wake-up.
        run_id = await WorkerHarness(other, worker.project_id).start(flow)
        await still.advance(2)
        assert (await worker.run(run_id)).status == "SUCCEEDED"
    await other.close()


async def test_few_free_slots_are_filled_after_the_clock_was_set(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    gate = Gate()
    flow, quick = await worker.publish(python("a", "pass_gate")), await worker.publish(transform("a", 1))
    async with working(backend, worker, gate, concurrency=8):
        for _ in range(7):
            await worker.start(flow)
        run_ids = await worker.start_many(quick, 3)
        await still.settle()
        still.jump(jump)
        await still.advance(5)
        assert [(await worker.run(run_id)).status for run_id in run_ids] == ["SUCCEEDED"] * 3


async def test_runs_due_before_the_clock_was_set_are_due_after(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    gate = Gate()
    flow, quick = await worker.publish(python("a", "pass_gate")), await worker.publish(transform("a", 1))
    async with working(backend, worker, gate, concurrency=1):
        await worker.start(flow)
        await still.settle()
        waiting = await worker.start(quick)
        await still.advance(3)
        still.jump(jump)
        await still.advance(3)
        gate.opened.set()
        await still.advance(3)
        assert (await worker.run(waiting)).status == "SUCCEEDED"


async def test_lost_lease_ends_in_time_after_the_clock_was_set(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    """The lease of a worker that is lost after the clock was set expires in time."""
    gate = Gate()
    gate.opened.set()
    flow = await worker.publish(python("a", "pass_gate"))
    async with working(backend, worker, gate):
        await still.advance(5)
        still.jump(jump)
        await still.advance(2)
        run_id = await worker.start(flow, due_at=None)
        await worker.change(run_id, due_at=None)
        await still.settle()
        running = {"status": "RUNNING", "started_at": still.now(), "running_since": still.now()}
        await worker.change(run_id, **running, due_at=still.now() + timedelta(seconds=15))
        await still.advance(20)
        assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_delay_ends_at_its_wall_clock_time(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    run_id = await worker.start(await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 60}}))
    async with working(backend, worker, Gate()):
        await still.advance(10)
        still.jump(jump)
        if jump < 0:
            await still.advance(60)
            assert (await worker.run(run_id)).status == "PAUSED"
            still.jump(-jump)
        await still.advance(2)
        run = await worker.run(run_id)
    assert run.status == "SUCCEEDED"
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]
    assert run.duration_ms >= 0


async def test_run_cancelled_after_the_clock_was_set_has_a_positive_duration(
    backend: Backend, worker: WorkerHarness, still: FakeClock, jump: float
) -> None:
    run_id = await worker.start(await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 60}}))
    async with working(backend, worker, Gate()):
        await still.settle()
        still.jump(jump)
        await worker.database.write(cancellation.stop, run_id, "Stopped")
        await still.settle()
    run = await worker.run(run_id)
    assert run.status == "STOPPED"
    assert run.duration_ms >= 0
    assert [step.duration_ms >= 0 for step in await worker.steps(run_id)] == [True]


@pytest.mark.parametrize("case", CASES[:2])
async def test_schedule_fires_once_for_each_wall_clock_time(database: Database, still: FakeClock, jump: float) -> None:
    published = await database.write(factory.make_project_with_flow)
    await database.write(add_schedule, published, "*/2 * * * *")
    scheduler = Scheduler(database, FlowCache(database))
    task = asyncio.create_task(scheduler.run())
    await still.advance(130)
    still.jump(jump)
    await still.advance(115)
    if jump < 0:
        assert len(await fires(database)) == 1
        still.jump(-jump)
        await still.advance(10)
    scheduler.stop()
    await still.drive(task)
    fired = await fires(database)
    assert len(fired) == len(set(fired))
    minutes = [(at - START).total_seconds() / 60 for at in fired]
    # The policy drops the fire times that the clock skipped, except those that are less than a minute old.
    assert minutes == ([2, 4] if jump < 0 else [2, 62, 64])
