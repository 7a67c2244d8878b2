"""Measures the speed of executing runs: `python -m bench.engine [DATABASE_URL] [RUNS] [BACKLOG]`.

Takes an empty database, by default a new SQLite file, enqueues runs of a flow of three steps that do nothing, and
executes them: on SQLite in this process, on PostgreSQL in one and in two worker processes, which are as far from this
one as on other machines. Prints, beside the targets, runs per second, with and without a backlog of BACKLOG runs
(100,000), the time of single runs from start to end and from resume to end, and the time until the runs of a killed
worker continue.
"""

import asyncio
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from db import flows, projects
from db.assembly import open_database
from db.core import pg_notify, pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.migrate import upgrade
from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from db.runs import transitions
from db.runs.waits import input_requests
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine import run_creation
from engine.compiled_flow import FlowCache, check
from engine.executor import Executor
from engine.steps import KINDS, StepSettings
from engine.worker.dispatcher import Dispatcher, DispatcherSettings

NO_OP = {"steps": [{"name": name, "kind": "transform", "input": "{{ run.id }}"} for name in "abc"]}
ASKING = {"steps": [{"name": "ask", "kind": "humanInput", "input": {"title": "Go on?", "schema": {}}}]}
SINGLE_RUNS = 200
RESUMED_RUNS = 100
KILLED_RUNS = 16
CHUNK = 500
LEASE = 10.0
"""Length of a lease in seconds; a worker renews it three times within that."""

TARGETS = {
    ("executed", "sqlite"): "800 (1,200) runs/s",
    ("executed", "postgresql"): "400 (600) runs/s",
    ("start to end", "sqlite"): "25 (15) ms p50",
    ("start to end", "postgresql"): "25 (15) ms p50",
    ("kill -9 to end", "sqlite"): "two leases",
    ("kill -9 to end", "postgresql"): "two leases",
    ("with a backlog", "sqlite"): "as without",
    ("with a backlog", "postgresql"): "as without",
}
"""The targets for one worker, with the stretch targets in brackets."""

Workers = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Flow:
    """The flow and version of new runs."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


def make_flow(uow: UnitOfWork, project_id: UUID, name: str, definition: Any) -> Flow:
    """Creates and publishes a flow."""
    checked = check(definition)
    flow_id = flows.create(uow, project_id, name)
    return Flow(project_id, flow_id, flows.publish(uow, flow_id, project_id, checked.text, checked.step_count))


def enqueue(uow: UnitOfWork, flow: Flow, count: int) -> list[UUID]:
    """Writes QUEUED runs."""
    made = []
    for _ in range(count):
        values = run_creation.with_defaults(
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
        transitions.create(uow, values, "Flow started via api")
        made.append(values["id"])
    return made


def answer(uow: UnitOfWork, run_id: UUID, request_id: UUID) -> None:
    """Answers the question of a paused run."""
    input_requests.answer(uow, request_id, input_requests.Response("true"))
    transitions.resume(uow, run_id, "Answered")


# Workers


def dispatcher(database: Database) -> Dispatcher:
    """Returns a dispatcher for the database."""
    return Dispatcher(database, DispatcherSettings(lease=LEASE))


@asynccontextmanager
async def working_here(database: Database) -> AsyncIterator[None]:
    """Runs a worker in this process while the block lasts."""
    async with KINDS.open(StepSettings()) as kinds:
        executor = Executor(database, FlowCache(database), kinds)
        working = dispatcher(database)
        task = asyncio.create_task(working.run(executor.execute))
        yield
        working.stop()
        await task


async def work(url: str, ready: Any, *, hang: bool) -> None:
    """Runs a worker until SIGTERM. With `hang`, it claims runs and does nothing with them."""
    database = open_database(url)
    working = dispatcher(database)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.stop)
    async with KINDS.open(StepSettings()) as kinds, pg_notify.listen_for_other_processes(database, url):
        executor = Executor(database, FlowCache(database), kinds)
        ready.set()
        await working.run(hanging if hang else executor.execute)
    await database.close()


async def hanging(_: object) -> None:
    """Executes a run without end."""
    await asyncio.Event().wait()


def be_worker(url: str, ready: Any, hang: bool) -> None:
    """The function of a worker process."""
    asyncio.run(work(url, ready, hang=hang))


async def started(url: str, *, hang: bool = False) -> Any:
    """Returns a worker process that is looking for runs."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=be_worker, args=(url, ready, hang), daemon=True)
    process.start()
    await asyncio.to_thread(ready.wait)
    return process


@asynccontextmanager
async def working(url: str, count: int) -> AsyncIterator[None]:
    """Runs worker processes while the block lasts."""
    processes = [await started(url) for _ in range(count)]
    yield
    for process in processes:
        process.terminate()
        await asyncio.to_thread(process.join)


# The measurements


async def until(database: Database, run_id: UUID, statuses: Collection[RunStatus]) -> None:
    """Returns when the run has one of the statuses: after a notification, or after a read a second later."""
    with database.pubsub.subscribe(pubsub.run_changed(run_id)) as changed:
        while True:
            changed.clear()
            row = (await database.read(run_reads.by_ids, [run_id], frozenset({"status"})))[run_id]
            if row.status in statuses:
                return
            await clock.wait_for(changed, 1.0)


async def throughput(
    database: Database, flow: Flow, count: int, workers: Workers, *, backlog: int = 0
) -> tuple[float, float]:
    """Returns the number of runs enqueued per second, and of the first `count` runs executed per second; `backlog` more
    runs keep waiting."""
    began = time.perf_counter()
    for _ in range(0, count + backlog, CHUNK):
        await database.write(enqueue, flow, CHUNK)
    enqueued = time.perf_counter()
    async with workers():
        await until_done(database, flow, count)
        ends = await database.read(first_ends, flow, count)
    # Processes take a second to start, so the first chunk is not counted.
    seconds = (ends[-1] - ends[CHUNK - 1]).total_seconds()
    return (count + backlog) / (enqueued - began), (count - CHUNK) / seconds


async def until_done(database: Database, flow: Flow, count: int) -> None:
    """Returns when `count` runs of the flow have succeeded."""
    expected = RunFilter(project_ids=[flow.project_id], statuses=[RunStatus.SUCCEEDED])
    # Seldom, because counting takes processor time from the measured work.
    while await database.read(run_reads.count, expected, None) < count:
        await asyncio.sleep(0.5)


def first_ends(conn: Connection, flow: Flow, count: int) -> Sequence[datetime]:
    """Returns the times at which the first `count` runs of the flow ended."""
    run = table(FlowRun).c
    ended = (run.project_id == flow.project_id, run.status == RunStatus.SUCCEEDED)
    return conn.execute(select(run.finished_at).where(*ended).order_by(run.finished_at).limit(count)).scalars().all()


async def latencies(database: Database, flow: Flow) -> list[float]:
    """Returns the milliseconds from start to end of single runs, one after the other."""
    return [await taken(one_run(database, flow)) for _ in range(SINGLE_RUNS)]


async def one_run(database: Database, flow: Flow) -> None:
    """Starts a run and waits for its end."""
    (run_id,) = await database.write(enqueue, flow, 1)
    await until(database, run_id, {RunStatus.SUCCEEDED})


async def resumes(database: Database, flow: Flow) -> list[float]:
    """Returns the milliseconds from the answer to the end of runs that asked a question."""
    milliseconds = []
    for _ in range(RESUMED_RUNS):
        (run_id,) = await database.write(enqueue, flow, 1)
        await until(database, run_id, {RunStatus.PAUSED})
        request = await database.read(input_requests.of_step, run_id, 0)
        milliseconds.append(await taken(resumed(database, run_id, request.id)))
    return milliseconds


async def resumed(database: Database, run_id: UUID, request_id: UUID) -> None:
    """Answers the question of a run, and waits for its end."""
    await database.write(answer, run_id, request_id)
    await until(database, run_id, {RunStatus.SUCCEEDED})


async def taken(doing: Awaitable[None]) -> float:
    """Returns the milliseconds that `doing` takes."""
    began = time.perf_counter()
    await doing
    return (time.perf_counter() - began) * 1000


async def take_over(database: Database, url: str, flow: Flow) -> float:
    """Returns the seconds from the kill -9 of a worker to the end of its last run, while another worker runs."""
    lost = await started(url, hang=True)
    run_ids = await database.write(enqueue, flow, KILLED_RUNS)
    for run_id in run_ids:
        await until(database, run_id, {RunStatus.RUNNING})
    async with working(url, 1):
        os.kill(lost.pid, signal.SIGKILL)
        began = time.perf_counter()
        for run_id in run_ids:
            await until(database, run_id, {RunStatus.SUCCEEDED})
        return time.perf_counter() - began


# The table


def row(what: str, fields: str, target: str = "") -> None:
    """Prints a line of the table."""
    print(f"| {what:36} | {fields:>34} | {target:>18} |", flush=True)


async def new_flow(database: Database, name: str, definition: Any) -> Flow:
    """Creates a flow in a project of its own."""
    project_id = await database.write(projects.create, name)
    return await database.write(make_flow, project_id, name, definition)


def spread(milliseconds: list[float]) -> str:
    """Returns the median and the 99th percentile as text."""
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.1f} ms p50, {ordered[int(len(ordered) * 0.99)]:.1f} ms p99"


async def measure(url: str, count: int, backlog: int) -> None:
    """Prints the figures."""
    database = open_database(url)
    row("what", f"{database.dialect}, {count} runs", "target (stretch)")

    def target(what: str) -> str:
        return TARGETS[what, database.dialect]

    async with pg_notify.listen_for_other_processes(database, url):
        for number in (1,) if database.dialect == "sqlite" else (1, 2):
            workers: Workers = (
                partial(working_here, database) if database.dialect == "sqlite" else partial(working, url, number)
            )
            no_op = await new_flow(database, f"no-op {number}", NO_OP)
            asking = await new_flow(database, f"asking {number}", ASKING)
            enqueued, executed = await throughput(database, no_op, count, workers)
            row("enqueued", f"{enqueued:.0f} runs/s")
            row(f"executed, {number} worker(s)", f"{executed:.0f} runs/s", target("executed"))
            async with workers():
                await one_run(database, no_op)
                row(
                    f"start to end, {number} worker(s)",
                    spread(await latencies(database, no_op)),
                    target("start to end"),
                )
                row(f"resume to end, {number} worker(s)", spread(await resumes(database, asking)))
        seconds = await take_over(database, url, no_op)
        row(f"kill -9 to end, lease of {LEASE:g} s", f"{seconds:.1f} s", target("kill -9 to end"))
        waiting = await new_flow(database, "waiting", NO_OP)
        enqueued, with_backlog = await throughput(database, waiting, count, workers, backlog=backlog)
        row(f"enqueued, {count + backlog:,}", f"{enqueued:.0f} runs/s")
        row(
            f"executed before a backlog of {backlog:,}",
            f"{with_backlog:.0f} runs/s, {with_backlog / executed:.2f} of without",
            target("with a backlog"),
        )
    await database.close()


def main() -> None:
    """Measures one database."""
    words = sys.argv[1:]
    count = int(words[1]) if len(words) > 1 else 4_000
    backlog = int(words[2]) if len(words) > 2 else 100_000
    with tempfile.TemporaryDirectory() if not words else nullcontext() as folder:
        url = words[0] if words else f"sqlite+aiosqlite:///{folder}/bench.db"
        upgrade(url)
        asyncio.run(measure(url, count, backlog))


if __name__ == "__main__":
    main()
