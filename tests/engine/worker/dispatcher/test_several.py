"""Several dispatchers on one database."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from db.assembly import open_database
from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.runs.claims import Claimed
from domain.enums import RunStatus
from engine.steps import StepContext
from engine.worker.dispatcher import Dispatcher, Execute
from tests.engine.faults.backends import Backend, Limits
from tests.engine.worker.dispatcher.harness import at_work, end, limit
from tests.support.worker import Flow, WorkerHarness, python


@dataclass
class Crowd:
    """Counts executions over several executors."""

    expected: int
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    claims: Counter[int] = field(default_factory=Counter)
    all_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def act(self, ctx: StepContext) -> int:
        self.calls[ctx.run_id, ctx.step] += 1
        await asyncio.sleep(0)
        return ctx.attempt

    def counting(self, number: int, execute: Execute) -> Execute:
        async def counted(claimed: Claimed) -> None:
            await execute(claimed)
            self.claims[number] += 1
            if self.claims.total() >= self.expected:
                self.all_done.set()

        return counted


async def test_two_dispatchers_on_one_database_execute_each_of_300_runs_once(
    backend: Backend, worker: WorkerHarness, database_url: str
) -> None:
    flow = await worker.publish(python("a", "act"), python("b", "act"))
    run_ids = await worker.start_many(flow, 300)
    crowd = Crowd(expected=300)
    second = open_database(database_url)
    dispatchers: list[Dispatcher] = []
    tasks: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        for number, database in enumerate((worker.database, second)):
            host = WorkerHarness(database, worker.project_id, stack)
            execute = crowd.counting(number, (await host.executor(act=crowd.act)).execute)
            dispatchers.append(backend.create(database, Limits(concurrency=10)))
            tasks.append(await stack.enter_async_context(at_work(dispatchers[-1], execute)))
        async with asyncio.timeout(60):
            await crowd.all_done.wait()
            for dispatcher in dispatchers:
                dispatcher.stop()
            await asyncio.gather(*tasks)
    await second.close()
    assert crowd.claims.total() == 300
    assert set(crowd.claims) == {0, 1}
    assert set(crowd.calls.values()) == {1}
    assert len(crowd.calls) == 600
    assert await totals(worker, run_ids) == {"SUCCEEDED": 300, "steps": 600, "attempts": 600, "interruptions": 0}


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_three_dispatchers_never_run_more_than_the_limit(
    backend: Backend, worker: WorkerHarness, flow: Flow, database_url: str, scope: str
) -> None:
    await limit(worker, 4, flow if scope == "flow" else None)
    count = 90 if worker.database.dialect == "postgresql" else 40
    await worker.start_many(flow, count)
    databases = [worker.database, open_database(database_url), open_database(database_url)]
    all_done = asyncio.Event()
    ended: list[UUID] = []
    seen: list[int] = []

    def executing(database: Database) -> Execute:
        async def execute(claimed: Claimed) -> None:
            seen.append(await database.read(running))
            await end(database, claimed)
            ended.append(claimed.lease.run_id)
            if len(ended) == count:
                all_done.set()

        return execute

    async with AsyncExitStack() as stack:
        for database in databases:
            dispatcher = backend.create(database, Limits(concurrency=16))
            await stack.enter_async_context(at_work(dispatcher, executing(database)))
        async with asyncio.timeout(60):
            await all_done.wait()
    for database in databases[1:]:
        await database.close()
    assert len(set(ended)) == count
    assert 1 <= max(seen) <= 4


def running(conn: Connection) -> int:
    runs = table(FlowRun)
    return conn.execute(select(func.count()).where(runs.c.status == RunStatus.RUNNING)).scalar_one()


async def totals(worker: WorkerHarness, run_ids: list[UUID]) -> dict[str, int]:
    found: Counter[str] = Counter(steps=0, attempts=0, interruptions=0)
    for run_id in run_ids:
        run = await worker.run(run_id)
        found[run.status] += 1
        found["interruptions"] += run.interruptions
        found["steps"] += len(await worker.steps(run_id))
        found["attempts"] += len(await worker.attempts(run_id))
    return dict(found)
