"""More runs than a worker can execute at once: none is lost, repeated or starved, and waiting runs cost nothing."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.runs import claims
from db.runs.claims import Claimed
from domain import json_codec
from domain.enums import TriggerMethod
from engine.worker.dispatcher import Dispatcher, Execute
from tests.conftest import Dialect
from tests.engine.faults.backends import Backend, Limits
from tests.engine.faults.load import PATIENCE, all_succeeded, delayed, ended, enqueue, tally
from tests.engine.worker.dispatcher.harness import at_work
from tests.engine.worker.worker_pool import WorkerPool
from tests.engine.worker.worker_process import WorkerSpec
from tests.support.clock import START, FakeClock
from tests.support.worker import WorkerHarness, python

DELAYED = 4_000
PAUSED = 1_000


async def test_two_worker_processes_execute_each_of_2000_runs_once(
    worker_pool: WorkerPool, database: Database, database_url: str, tmp_path: Path
) -> None:
    worker = await WorkerHarness.on(database)
    run_ids = await enqueue(worker, await worker.publish(python("only", "stamp")), 2_000)
    pids = [await worker_pool.start(WorkerSpec(database_url, str(tmp_path / f"{n}.log"))) for n in range(2)]
    await ended(database, run_ids)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        assert await worker_pool.ended(pid) == 0
    assert await tally(database) == all_succeeded(2_000)
    outputs = [json_codec.decode(text) for text in await database.read(outputs_of_runs)]
    assert {output["process"] for output in outputs} == set(pids)
    assert len({output["token"] for output in outputs}) == 2_000


def outputs_of_runs(conn: Any) -> list[str]:
    return list(conn.execute(select(table(FlowRun).c.output)).scalars())


class Meter:
    """Counts the claims and executions of a dispatcher."""

    def __init__(self, execute: Execute) -> None:
        self.execute = execute
        self.order: list[UUID] = []
        self.claims = 0
        self.executing = 0
        self.max_executing = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def __call__(self, claimed: Claimed) -> None:
        self.executing += 1
        self.max_executing = max(self.max_executing, self.executing)
        await self.execute(claimed)
        self.executing -= 1
        self.order.append(claimed.lease.run_id)
        for count, reached in self._waiting:
            if len(self.order) >= count:
                reached.set()

    async def executed(self, count: int) -> None:
        """Return when `number` claims were executed."""
        reached = asyncio.Event()
        self._waiting.append((count, reached))
        async with asyncio.timeout(PATIENCE):
            await reached.wait()

    def counting(self, claim: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.claims += 1
            return claim(*args)

        return counted


@pytest.fixture
async def meter(worker: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> Meter:
    """An executor with a meter."""
    meter = Meter((await worker.executor()).execute)
    monkeypatch.setattr(claims, "claim", meter.counting(claims.claim))
    return meter


class TestWaiting:
    """Suspended runs, in virtual time."""

    @pytest.fixture
    def dialect(self, case: tuple[Backend, Dialect]) -> Dialect:
        return case[1]

    @pytest.fixture
    def still(self, fake_clock: FakeClock, worker: WorkerHarness) -> FakeClock:
        fake_clock.watch(worker.database)
        return fake_clock

    async def test_thousand_paused_runs_hold_no_resources(
        self, backend: Backend, worker: WorkerHarness, still: FakeClock, meter: Meter
    ) -> None:
        asking = {"name": "ask", "kind": "humanInput", "input": {"title": "Go on?", "schema": {}}}
        flow = await worker.publish(asking)
        dispatcher = backend.create(worker.database, Limits())
        assert isinstance(dispatcher, Dispatcher)
        async with at_work(dispatcher, meter):
            await still.settle()
            idle = len(asyncio.all_tasks())
            await enqueue(worker, flow, PAUSED)
            await still.drive(meter.executed(PAUSED))
            await still.settle()
            assert len(asyncio.all_tasks()) == idle
            assert worker.database.read_pool.checkedout() == 0  # type: ignore[attr-defined]
            assert dispatcher._tasks == {}
            assert still.timers <= 2
            meter.claims = 0
            await still.advance(30)
            assert meter.claims <= 31
        assert await worker.database.read(held) == {"due": 0, "leases": 0}
        assert (await tally(worker.database))["runs PAUSED"] == PAUSED

    async def test_thousands_of_delays_due_at_once_are_claimed_in_batches(
        self, backend: Backend, worker: WorkerHarness, still: FakeClock, meter: Meter
    ) -> None:
        flow = await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 60}})
        due_at = START + timedelta(seconds=60)
        run_ids = await delayed(worker, flow, DELAYED, due_at)
        async with at_work(backend.create(worker.database, Limits()), meter):
            await still.advance(59)
            assert meter.order == []
            moving = asyncio.ensure_future(still.advance(1))
            await meter.executed(1)
            fresh = await worker.start(flow, trigger_method=TriggerMethod.RETRY)
            before = len(meter.order)
            await meter.executed(DELAYED + 1)
            await moving
        assert sorted(meter.order) == sorted([*run_ids, fresh])
        assert meter.max_executing <= Limits().concurrency
        # A claim for each run would be 4,000.
        assert meter.claims < DELAYED / 8
        # Manual retries precede runs that have been started.
        assert meter.order.index(fresh) - before <= 2 * Limits().concurrency
        counts = await tally(worker.database)
        assert (counts["runs SUCCEEDED"], counts["runs PAUSED"]) == (DELAYED, 1)


def held(conn: Any) -> dict[str, int]:
    run = table(FlowRun).c
    columns = conn.execute(select(func.count(run.due_at), func.count(run.lease_token))).one()
    return {"due": columns[0], "leases": columns[1]}
