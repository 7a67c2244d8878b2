"""Several worker processes share one queue."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from db.core import pg_notify, pubsub
from db.core.database import Database
from db.models import FlowRun, StepAttempt
from db.models.types import table
from domain.enums import RunStatus
from domain.time import clock
from tests.engine.worker.worker_pool import WorkerPool
from tests.engine.worker.worker_process import WorkerSpec
from tests.support.worker import WorkerHarness, python, transform

PATIENCE = 60.0
_RUN = table(FlowRun).c
_ATTEMPT = table(StepAttempt).c


@asynccontextmanager
async def run_changes_of_all_processes(database: Database, url: str) -> Any:
    """Yields an event that is set at each change of a run in any process."""
    async with pg_notify.listen_for_other_processes(database, url):
        with database.pubsub.subscribe(pubsub.EVENTS) as changed:
            yield changed


async def count(database: Database, *conditions: Any) -> int:
    query = select(func.count()).select_from(table(FlowRun)).where(*conditions)
    return int(await database.read(lambda conn: conn.execute(query).scalar_one()))


async def test_two_worker_processes_execute_each_of_300_runs_once(
    worker_pool: WorkerPool, worker: WorkerHarness, database_url: str, tmp_path: Path
) -> None:
    flow = await worker.publish(python("a", "stamp"), transform("b", "{{ steps.a.output }}"))
    await worker.start_many(flow, 300)
    orders = [WorkerSpec(database_url, str(tmp_path / f"log{number}"), concurrency=8) for number in (1, 2)]
    async with run_changes_of_all_processes(worker.database, database_url) as changed:
        pids = [await worker_pool.start(spec) for spec in orders]
        async with asyncio.timeout(PATIENCE):
            while await count(worker.database, _RUN.status == RunStatus.SUCCEEDED) < 300:
                changed.clear()
                await clock.wait_for(changed, 1.0)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    assert [await worker_pool.ended(pid) for pid in pids] == [0, 0]
    assert await count(worker.database, _RUN.interruptions > 0) == 0
    tries = select(func.count()).select_from(table(StepAttempt)).group_by(_ATTEMPT.run_id, _ATTEMPT.position)
    assert set(await worker.database.read(lambda conn: conn.execute(tries).scalars().all())) == {1}
