"""The process of the service, API and worker, which changes its runs when it is asked to."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import uvloop

from bench.engine import Flow, enqueue
from bench.live import Commands, serve
from db.core.database import Database
from db.runs import reads as run_reads
from domain.enums import RunStatus
from domain.ids import IdKind, encode
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL
from domain.time import clock
from tests.support.factory import PublishedFlow, make_runs, uuid_at

CHANGES_OF_A_RUN = 3
"""A run is created, starts, and ends."""
CHUNK = 500
BURST = 50
"""Runs that are enqueued together while an hour is made in less."""

Commits = list[tuple[str, float]]
"""IDs of runs, and when their transactions had committed, in milliseconds since the epoch."""


async def create(database: Database, flow: Flow) -> Commits:
    """Enqueues one run."""
    (run_id,) = await database.write(enqueue, flow, 1)
    return [(encode(IdKind.RUN, run_id), time.time() * 1e3)]


async def change(database: Database, flow: Flow, rate: int, seconds: float) -> Commits:
    """Makes `rate` changes a second by enqueuing runs that the worker executes."""
    start, commits = time.monotonic(), []
    writes = []
    for number in range(int(rate * seconds / CHANGES_OF_A_RUN)):
        await asyncio.sleep(max(0.0, start + number * CHANGES_OF_A_RUN / rate - time.monotonic()))
        writes.append(asyncio.create_task(create(database, flow)))
    for write in writes:
        commits += await write
    await finished(database, flow)
    return commits


async def hurry(database: Database, flow: Flow, changes: int) -> float:
    """Makes changes as fast as the worker executes runs; returns the seconds."""
    start = time.monotonic()
    for _ in range(changes // CHANGES_OF_A_RUN // BURST):
        await database.write(enqueue, flow, BURST)
        await finished(database, flow)
    return time.monotonic() - start


async def finished(database: Database, flow: Flow) -> None:
    """Returns when no run is left to execute."""
    live = RunFilter(project_ids=[flow.project_id], statuses=[status for status in RunStatus if status not in FINAL])
    while await database.read(run_reads.count, live, None):
        await asyncio.sleep(0.05)


async def fill(database: Database, flow: Flow, count: int) -> None:
    """Writes runs that ended, one for each second before now."""
    published = PublishedFlow(flow.project_id, flow.flow_id, flow.version_id)
    now = clock.now()
    for first in range(0, count, CHUNK):
        rows: list[dict[str, Any]] = [
            {"id": uuid_at(now - timedelta(seconds=number + 1)), "status": RunStatus.SUCCEEDED}
            for number in range(first, min(first + CHUNK, count))
        ]
        await database.write(make_runs, published, rows)


COMMANDS: Commands = {"create": create, "change": change, "hurry": hurry, "fill": fill}


def be_server(url: str, pipe: Any) -> None:
    """The function of the process."""
    uvloop.run(serve(url, pipe, COMMANDS, with_worker=True))
