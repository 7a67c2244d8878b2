"""Runs whose execution a test controls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from db import flows, projects
from db.core.database import Database
from db.runs import step_journal
from db.runs.claims import Claimed
from domain.enums import RunStatus
from domain.time import clock
from engine.worker.dispatcher import Dispatcher, Execute
from tests.support.clock import START
from tests.support.worker import Flow, WorkerHarness


@dataclass
class Work:
    """Executes runs: records when each began, blocks them while the gate is shut, then ends them."""

    worker: WorkerHarness
    began: list[tuple[UUID, datetime]] = field(default_factory=list)
    aborted: list[UUID] = field(default_factory=list)
    most_at_once: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0

    async def __call__(self, claimed: Claimed) -> None:
        self.began.append((claimed.lease.run_id, clock.now()))
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.aborted.append(claimed.lease.run_id)
            raise
        finally:
            self._under_way -= 1
        await end(self.worker.database, claimed)

    @property
    def runs(self) -> list[UUID]:
        """Those that began, in their order."""
        return [run_id for run_id, _ in self.began]

    @property
    def times(self) -> list[float]:
        """Seconds into the test at which they began."""
        return [(at - START).total_seconds() for _, at in self.began]


async def end(database: Database, claimed: Claimed) -> None:
    values = {"output": "null", "duration_ms": 0}
    await database.write(
        step_journal.finish, claimed.lease, None, RunStatus.SUCCEEDED, "Run succeeded", values, is_retry=False
    )


@asynccontextmanager
async def at_work(dispatcher: Dispatcher, execute: Execute) -> AsyncIterator[asyncio.Task[None]]:
    """A dispatcher that runs as long as the block, unless it ends before."""
    task = asyncio.create_task(dispatcher.run(execute))
    try:
        yield task
    finally:
        dispatcher.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def limit(worker: WorkerHarness, most: int | None, flow: Flow | None = None) -> None:
    """Limits a flow, or the project without a flow."""
    values = {"max_concurrent_runs": most}
    if flow is not None:
        await worker.database.write(flows.change, flow.id, values)
    else:
        await worker.database.write(projects.change, worker.project_id, values)
