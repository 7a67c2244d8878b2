"""How fast runs are deleted: `python -m bench.removal [DATABASE_URL] [RUNS]`.

Takes an empty database, by default an SQLite file of its own. Deletes half of as many runs at the end of their
retention, and half by `bulkDelete`, among as many that stay; every other run has failed, with three steps and a message
that is indexed. Prints how long that takes, and the 99th percentile of a list of 100 runs that a client requests again
and again, alone and during the deletion. Last, it compares the kept counts with the runs.
"""

import time
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import insert, update

from bench.bulk import ALONE_SECONDS, CHUNK, filled, operated, p99, reader, run, run_row, step_rows
from bench.engine import NO_OP, Flow, make_flow, row
from db import projects
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, Project, StepResult
from db.models.types import table
from db.rollups import check
from domain import ids
from domain.bulk import BulkKind
from domain.enums import RunStatus
from domain.time import clock
from engine.worker import maintenance
from service.server import freeze_gc

AGE = timedelta(days=100)
DAYS = 30
STATUSES = (RunStatus.SUCCEEDED, RunStatus.FAILED)


def fill_old(uow: UnitOfWork, flow: Flow, numbers: Iterable[int]) -> None:
    """Writes runs that ended long ago, every other one failed, and their steps."""
    ended = clock.now() - AGE
    first = ids.first_uuid_at(ended).int | 0x7 << 76 | 0b10 << 62
    rows = []
    for number in numbers:
        key = UUID(int=first + number)
        times = dict.fromkeys(("created_at", "updated_at", "started_at", "finished_at"), ended)
        rows.append(run_row(flow, STATUSES[number % 2]) | times | {"id": key, "root_run_id": key})
    uow.conn.execute(insert(table(FlowRun)), rows)
    failed = [run for run in rows if run["status"] is RunStatus.FAILED]
    uow.conn.execute(insert(table(StepResult)), [step for run in failed for step in step_rows(run)])


async def expired(database: Database, url: str, project_id: UUID) -> None:
    """Prints how long it takes to delete the runs whose retention has ended, and what lists take then."""
    retention = ", ".join(f'"{status}": {DAYS}' for status in STATUSES)
    change = update(table(Project)).where(table(Project).c.id == project_id)
    await database.write(lambda uow: uow.conn.execute(change.values(run_retention=f"{{{retention}}}")))
    with reader(url) as taken:
        began, cpu = time.perf_counter(), time.process_time()
        deleted = await maintenance.delete_expired_runs(database)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    paused = deleted / maintenance.REMOVAL_BATCH * maintenance.PAUSE_SECONDS
    figures = f"{seconds:.1f} s, of which {paused:.1f} s are pauses, {cpu:.1f} s of CPU here"
    row(f"retention deletes {deleted}", f"{figures}; list p99 {p99(taken)}")


async def measure(url: str, count: int) -> None:
    """Prints the figures."""
    database = open_database(url)
    row("what", f"{database.dialect}, {count} runs of {2 * count}")
    project_id = await database.write(projects.create, "bench")
    old, chosen, kept = [await database.write(make_flow, project_id, name, NO_OP) for name in ("old", "chosen", "kept")]
    half = count // 2
    for start in range(0, half, CHUNK):
        await database.write(fill_old, old, range(start, min(start + CHUNK, half)))
    for status in STATUSES:
        await filled(database, chosen, status, half // 2)
    await filled(database, kept, RunStatus.SUCCEEDED, count)
    await maintenance.keep_counts(database)
    freeze_gc()
    with reader(url) as alone:
        await clock.sleep(ALONE_SECONDS)
    row("list alone", f"p99 {p99(alone)}")
    await expired(database, url, project_id)
    await operated(database, url, chosen, BulkKind.DELETE)
    await maintenance.keep_counts(database)
    row("kept counts that differ from the runs", str(len(await database.read(check.differences))))
    await database.close()


if __name__ == "__main__":
    run(measure)
