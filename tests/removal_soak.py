"""Kills deletions: `python -m tests.removal_soak sqlite|postgresql [RUNS] [SEED]`.

A worker deletes runs in three ways: at the end of their retention, by `bulkDelete`, and with their flow. It is killed
over and over, until a number of kills, and replaced by another one. Then what must be true whatever happened is
checked: what was to go is gone, with all that belongs to it, each run was deleted once, and nothing else is missing.
Ends with 1 if something is not so.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import orjson
from sqlalchemy import Connection, func, select, update

from bench.bulk import CHUNK, fill
from bench.engine import NO_OP, Flow, make_flow
from bench.removal import fill_old
from db import projects
from db.assembly import open_database
from db.core.database import Database
from db.events.log import RUN_DELETED
from db.migrate import upgrade
from db.models import AuditEvent, BulkOperation, FlowRun, Project, RunEvent, StepResult
from db.models import Flow as FlowTable
from db.models.types import table
from db.removal import teardown
from db.rollups.check import differences
from domain import ids
from domain.audit import AuditAction
from domain.bulk import BulkKind, BulkStatus
from domain.enums import Role, RunStatus
from domain.runs.run_filter import RunFilter
from engine.compiled_flow import FlowCache
from resolvers import bulk
from resolvers.context import Context, Viewer
from tests.soak import Process
from tests.support.databases.postgres import postgres_server

WAYS = ("expired", "chosen", "torn", "kept")
"""Flows whose runs go at the end of their retention, by a bulk operation, with the flow, and never."""
KILLS = 15
PATIENCE_SECONDS = 900

_run, _event, _step, _audit = (table(model).c for model in (FlowRun, RunEvent, StepResult, AuditEvent))
_operation, _flow = table(BulkOperation).c, table(FlowTable).c


async def prepare(database: Database, count: int) -> dict[str, Flow]:
    """Writes `count` runs for each way, and begins the deletions."""
    project_id = await database.write(projects.create, "soak")
    flows = {name: await database.write(make_flow, project_id, name, NO_OP) for name in WAYS}
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        await database.write(fill_old, flows["expired"], numbers)
        for name in WAYS[1:]:
            await database.write(
                fill, flows[name], random.choice((RunStatus.FAILED, RunStatus.SUCCEEDED)), len(numbers)
            )
    retention = update(table(Project)).values(run_retention='{"SUCCEEDED": 30, "FAILED": 30}')
    await database.write(lambda uow: uow.conn.execute(retention))
    await database.write(teardown.begin_flow, flows["torn"].flow_id)
    context = Context(database, FlowCache(database), Viewer(ids.new_uuid(), project_id, Role.ADMIN, "soak"))
    await bulk.begin(
        context, bulk.BulkRequest(kind=BulkKind.DELETE, filter=RunFilter(flow_ids=(flows["chosen"].flow_id,)))
    )
    return flows


def runs_by_flow(conn: Connection) -> Mapping[UUID, int]:
    """Returns the number of the runs of each flow that has any."""
    return dict(conn.execute(select(_run.flow_id, func.count()).group_by(_run.flow_id)).all())


def is_done(conn: Connection) -> bool:
    """Returns True if one flow has runs, and the flow that is deleted is gone."""
    torn = select(_flow.id).where(_flow.deleting_since.is_not(None))
    running = select(_operation.id).where(_operation.status == BulkStatus.RUNNING)
    return len(runs_by_flow(conn)) == 1 and not conn.execute(torn).all() and not conn.execute(running).all()


async def kill_over_and_over(database: Database, worker: Process) -> int:
    """Kills and replaces the worker until all is deleted; returns the number of kills."""
    kills = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and not await database.read(is_done):
        await asyncio.sleep(random.uniform(1.5, 5))
        if kills < KILLS:
            await worker.replace(signal.SIGKILL)
            kills += 1
    return kills


def faults(conn: Connection, flows: Mapping[str, Flow], count: int) -> dict[str, Sequence[object]]:
    """Returns what is not as it must be, by what must be."""
    runs = runs_by_flow(conn)
    deleted = Counter(conn.execute(select(_event.run_id).where(_event.kind == RUN_DELETED)).scalars())
    operation = conn.execute(select(table(BulkOperation))).one()
    of_runs = select(_step.run_id).where(_step.run_id.not_in(select(_run.id))).limit(5)
    audited = conn.execute(select(_audit.details).where(_audit.action == AuditAction.DELETE_RUNS)).scalars()
    by_retention = sum(sum(orjson.loads(details)["runs"].values()) for details in audited)
    return {
        "the runs that were to stay are there, and no others": [] if runs == {flows["kept"].flow_id: count} else [runs],
        "each deleted run has one event": [
            *(key for key, number in deleted.items() if number != 1),
            *([] if len(deleted) == 3 * count else [len(deleted)]),
        ],
        "the operation succeeded with each of its runs once": []
        if (operation.status, operation.processed, operation.succeeded) == (BulkStatus.COMPLETED, count, count)
        else [operation],
        "the audit log has each run that retention took": [] if by_retention == count else [by_retention],
        "no step is left of a deleted run": conn.execute(of_runs).all(),
        "the kept counts of runs are those of the runs": [str(each) for each in differences(conn)],
    }


async def main(dialect: str, count: int, seed: int) -> bool:
    """Runs a soak, and returns whether all checks pass."""
    random.seed(seed)
    folder = Path(tempfile.mkdtemp(prefix="flowruns-removal-"))
    print(f"{dialect}, {count} runs in each of {len(WAYS)} flows, seed {seed}; logs in {folder}")
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if dialect == "postgresql" else None
        url = server.url() if server is not None else f"sqlite+aiosqlite:///{folder / 'soak.db'}"
        await asyncio.to_thread(upgrade, url)
        database = open_database(url)
        flows = await prepare(database, count)
        began = time.monotonic()
        settings = {**os.environ, "FLOWRUNS_DATABASE_URL": url, "FLOWRUNS_SEED_DEMO": "false"}
        worker = Process("worker", settings, folder / "worker.log")
        try:
            kills = await kill_over_and_over(database, worker)
        finally:
            await worker.end(signal.SIGKILL)
        print(f"{kills} kills in {time.monotonic() - began:.0f} s")
        found = await database.read(faults, flows, count)
        await database.close()
    for what, wrong in found.items():
        print(f"{'NOT SO' if wrong else 'ok':6} {what}", *wrong[:5], sep="\n         " if wrong else "")
    return not any(found.values())


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    is_well = asyncio.run(
        main(sys.argv[1], int(arguments.get(2, 20_000)), int(arguments.get(3, random.randrange(1000))))
    )
    sys.exit(not is_well)
