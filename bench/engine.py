"""How fast runs are executed: `python -m bench.engine [DATABASE_URL] [RUNS]`.

Takes an empty database, by default an SQLite file of its own, enqueues runs of a flow of three steps that do nothing,
and executes them in one process. Prints runs per second, and how long single runs take from start to end.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows, projects, runs, signals, transitions
from db.migrate import upgrade
from db.session import Database
from domain.run_filter import RunFilter
from domain.states import Environment, RunStatus, TriggerMethod
from engine import creation, steps
from engine.executor import Executor
from engine.flows import FlowCache, check
from engine.polling import PollingDispatcher

DEFINITION = {"steps": [{"name": name, "kind": "transform", "input": "{{ run.id }}"} for name in "abc"]}
SINGLE_RUNS = 200
CHUNK = 500


@dataclass(frozen=True)
class Flow:
    """What new runs point at."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


def make_flow(conn: Any) -> Flow:
    """A project with the flow."""
    checked = check(DEFINITION)
    project_id = projects.create(conn, "bench")
    flow_id = flows.create(conn, project_id, "no-op")
    return Flow(project_id, flow_id, flows.publish(conn, flow_id, project_id, checked.text, checked.step_count))


def enqueue(conn: Any, flow: Flow, count: int) -> list[UUID]:
    """Write QUEUED runs."""
    made = []
    for _ in range(count):
        values = creation.stamped(
            {
                "project_id": flow.project_id,
                "flow_id": flow.flow_id,
                "flow_version_id": flow.version_id,
                "environment": Environment.PRODUCTION,
                "trigger_method": TriggerMethod.API,
                "fail_parent_on_failure": False,
                "tags": [],
                "metadata": "{}",
                "input": "{}",
            }
        )
        transitions.create(conn, values, "Flow started via api")
        made.append(values["id"])
    return made


async def throughput(database: Database, flow: Flow, count: int) -> tuple[float, float]:
    """Runs enqueued and executed a second."""
    began = time.perf_counter()
    for _ in range(0, count, CHUNK):
        await database.write(enqueue, flow, CHUNK)
    enqueued = time.perf_counter()
    wanted = RunFilter(statuses=[RunStatus.SUCCEEDED])
    async with working(database):
        while await database.read(runs.count, wanted, None) < count:
            await asyncio.sleep(0.05)
    ended = time.perf_counter()
    return count / (enqueued - began), count / (ended - enqueued)


async def latencies(database: Database, flow: Flow) -> list[float]:
    """Milliseconds from start to end of runs that come one at a time."""
    taken = []
    async with working(database):
        for _ in range(SINGLE_RUNS):
            began = time.perf_counter()
            (run_id,) = await database.write(enqueue, flow, 1)
            with database.signals.listen(signals.run_changed(run_id)) as changed:
                row = (await database.read(runs.by_ids, [run_id], frozenset({"status"})))[run_id]
                if row.status != RunStatus.SUCCEEDED:
                    await changed.wait()
            taken.append((time.perf_counter() - began) * 1000)
    return taken


class working:  # noqa: N801 - reads as a word
    """A worker, for as long as the block lasts."""

    def __init__(self, database: Database) -> None:
        self._dispatcher = PollingDispatcher(database)
        self._executor = Executor(database, FlowCache(database), steps.runners(steps.RunnerSettings()))

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._dispatcher.run(self._executor.execute))

    async def __aexit__(self, *_: object) -> None:
        self._dispatcher.stop()
        await self._task


async def measure(url: str, count: int) -> None:
    """Print the figures."""
    database = Database(url)
    flow = await database.write(make_flow)
    enqueued, executed = await throughput(database, flow, count)
    single = sorted(await latencies(database, flow))
    print(f"{database.dialect}: {count} runs of 3 steps")
    print(f"  enqueued  {enqueued:8.0f} runs/s")
    print(f"  executed  {executed:8.0f} runs/s")
    print(f"  one run   {statistics.median(single):8.1f} ms p50, {single[int(len(single) * 0.99)]:.1f} ms p99")
    await database.close()


def main() -> None:
    """Measure one database."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 4_000
    with tempfile.TemporaryDirectory() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite+aiosqlite:///{folder}/bench.db"
        upgrade(url)
        asyncio.run(measure(url, count))


if __name__ == "__main__":
    main()
