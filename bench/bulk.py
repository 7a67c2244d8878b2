"""Measures the speed of bulk operations: `python -m bench.bulk [DATABASE_URL] [RUNS]`.

Takes an empty database, by default a new SQLite file, and cancels, retries and archives runs in it: as many of each
kind, among as many other runs. Prints how long it takes to pin the runs and to process them, and how long a client
waits for a list of 100 runs with 15 fields, which it requests from an API process again and again, alone and during the
operation. The CPU time is that of the process that does the work: on SQLite of all the work, on PostgreSQL of all
except the server's.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from bench.engine import NO_OP, Flow, make_flow, row
from bench.read.load import Client, connect
from bench.read.servers import START_SECONDS, service
from bench.read.works import LIST, SINGLE_RUNS, graphql
from db import projects
from db.assembly import open_database
from db.bulk import reads as bulk_reads
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.migrate import upgrade
from db.models import FlowRun, StepResult
from db.models.types import table
from domain import ids
from domain.bulk import BulkKind
from domain.enums import Environment, RetryStrategy, Role, RunStatus, StepStatus, TriggerMethod
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine.compiled_flow import FlowCache
from engine.worker.bulk_worker import BulkWorker
from resolvers import bulk
from resolvers.context import Context, Viewer
from service.server import freeze_gc

CHUNK = 2_000
ALONE_SECONDS = 3.0


# The data


def run_row(flow: Flow, status: RunStatus) -> dict[str, Any]:
    """Returns the columns of a run with nothing optional."""
    run_id = ids.new_uuid()
    now = ids.created_at(run_id)
    is_new = status is RunStatus.QUEUED
    return {
        **dict.fromkeys(column.name for column in table(FlowRun).c if column.server_default is None),
        "id": run_id,
        "root_run_id": run_id,
        "project_id": flow.project_id,
        "flow_id": flow.flow_id,
        "flow_version_id": flow.version_id,
        "status": status,
        "environment": Environment.PRODUCTION,
        "trigger_method": TriggerMethod.API,
        "created_at": now,
        "updated_at": now,
        "started_at": None if is_new else now,
        "finished_at": None if is_new else now,
        "duration_ms": None if is_new else 1_000,
        "due_at": now if is_new else None,
        "failed_step_name": "c" if status is RunStatus.FAILED else None,
        "error_code": "HTTP_STATUS" if status is RunStatus.FAILED else None,
        "error_message": "It answered 503" if status is RunStatus.FAILED else None,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "tags": ["bench", "bulk"],
        "metadata": '{"order": 7}',
        "input": '{"order": 7}',
    }


def step_rows(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields two steps that succeeded, and one that failed."""
    for position, name in enumerate("abc"):
        yield {
            **dict.fromkeys(column.name for column in table(StepResult).c),
            "run_id": run["id"],
            "position": position,
            "name": name,
            "kind": "transform",
            "status": StepStatus.FAILED if name == "c" else StepStatus.SUCCEEDED,
            "attempts_count": 1,
            "started_at": run["created_at"],
            "finished_at": run["created_at"],
            "duration_ms": 1,
            "output": '"done"',
        }


def fill(uow: UnitOfWork, flow: Flow, status: RunStatus, count: int) -> None:
    """Writes runs, with steps if they failed."""
    rows = [run_row(flow, status) for _ in range(count)]
    uow.conn.execute(insert(table(FlowRun)), rows)
    if status is RunStatus.FAILED:
        uow.conn.execute(insert(table(StepResult)), [each for run in rows for each in step_rows(run)])


async def filled(database: Database, flow: Flow, status: RunStatus, count: int) -> None:
    """Writes many runs, and updates the statistics of the database."""
    for _ in range(0, count, CHUNK):
        await database.write(fill, flow, status, CHUNK)
    if database.dialect == "postgresql":
        await database.read(lambda conn: conn.execute(text("VACUUM ANALYZE")) and None)
        await database.read(lambda conn: conn.execute(text("CHECKPOINT")) and None)
    else:
        await database.write(lambda uow: uow.conn.execute(text("ANALYZE")) and None)
        await database.read(lambda conn: conn.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")) and None)


# The measurements


async def list_over_and_over(port: int, message: bytes, stop: Any, ready: Any, answers: Any) -> None:
    """Requests a list again and again until `stop` is set; sends the milliseconds of each request."""
    client = await first_connection(port)
    taken = []
    for _ in range(20):
        await client.ask(message)
    ready.set()
    while not stop.is_set():
        began = time.perf_counter()
        await client.ask(message)
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    answers.put(taken)
    client.close()


async def first_connection(port: int) -> Client:
    """Returns a connection to the service as soon as it listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await connect(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


def be_reader(port: int, message: bytes, stop: Any, ready: Any, answers: Any) -> None:
    """The function of the reading process."""
    asyncio.run(list_over_and_over(port, message, stop, ready, answers))


@contextmanager
def reader(url: str) -> Iterator[list[float]]:
    """Runs an API process, and a client that requests lists while the block lasts; yields the list of milliseconds,
    which is filled afterwards."""
    context = multiprocessing.get_context("spawn")
    stop, ready, answers = context.Event(), context.Event(), context.Queue()
    with tempfile.TemporaryDirectory() as folder, service(url, SINGLE_RUNS, Path(folder)) as (server, keys):
        message = graphql(f"{{ flowRuns(first: {LIST.first}) {{ nodes {{ {LIST.fields} }} }} }}", {}, keys.project)
        arguments = (server.port, message, stop, ready, answers)
        process = context.Process(target=be_reader, args=arguments, daemon=True)
        process.start()
        ready.wait()
        taken: list[float] = []
        yield taken
        stop.set()
        taken.extend(answers.get())
        process.join()


def p99(milliseconds: list[float]) -> str:
    """Returns the 99th percentile as text."""
    return f"{sorted(milliseconds)[int(len(milliseconds) * 0.99)]:.1f} ms"


async def operated(database: Database, url: str, flow: Flow, kind: BulkKind) -> None:
    """Prints the duration of one operation, and of lists during the operation."""
    viewer = Viewer(ids.new_uuid(), flow.project_id, Role.OPERATOR, "bench")
    context = Context(database, FlowCache(database), viewer)
    strategy = RetryStrategy.FROM_FAILED_STEP if kind is BulkKind.RETRY else None
    request = bulk.BulkRequest(kind=kind, filter=RunFilter(flow_ids=[flow.flow_id]), strategy=strategy)
    with reader(url) as taken:
        began, cpu = time.perf_counter(), time.process_time()
        key = await bulk.begin(context, request)
        pinned = time.perf_counter()
        await BulkWorker(database).drain()
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    done = (await database.read(bulk_reads.by_ids, [key], {"status", "succeeded"}))[key]
    seconds = f"{pinned - began:.1f} s to pin, {ended - pinned:.1f} s to do, {cpu:.1f} s of CPU here"
    row(f"{kind.value.lower()} {done.succeeded}", f"{seconds}; list p99 {p99(taken)}")


async def measure(url: str, count: int) -> None:
    """Prints the figures."""
    database = open_database(url)
    row("what", f"{database.dialect}, {count} runs of {4 * count}")
    project_id = await database.write(projects.create, "bench")
    statuses = {
        BulkKind.ARCHIVE: RunStatus.SUCCEEDED,
        BulkKind.RETRY: RunStatus.FAILED,
        BulkKind.CANCEL: RunStatus.QUEUED,
    }
    others = await database.write(make_flow, project_id, "others", NO_OP)
    await filled(database, others, RunStatus.SUCCEEDED, count)
    flows = {}
    for kind, status in statuses.items():
        flows[kind] = await database.write(make_flow, project_id, kind.value, NO_OP)
        await filled(database, flows[kind], status, count)
    freeze_gc()
    with reader(url) as alone:
        await clock.sleep(ALONE_SECONDS)
    row("list alone", f"p99 {p99(alone)}")
    for kind, flow in flows.items():
        await operated(database, url, flow, kind)
    await database.close()


def run(measure: Callable[[str, int], Coroutine[Any, Any, None]]) -> None:
    """Measures the database that the command line names, by default a new SQLite file, with so many runs."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with tempfile.TemporaryDirectory() if len(sys.argv) < 2 else nullcontext() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite+aiosqlite:///{folder}/bench.db"
        upgrade(url)
        asyncio.run(measure(url, count))


if __name__ == "__main__":
    run(measure)
