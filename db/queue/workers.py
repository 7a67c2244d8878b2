"""The workers that report themselves, by heartbeats.

Only views and the standby of alerts read them: no worker decides anything by the row of another one. Runs are guarded
by leases.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, delete, false, insert, or_, select, true, update

from db.core.unit_of_work import UnitOfWork
from db.models import Worker
from db.models.types import table
from db.row_types import WorkerRow
from db.sql.any_of import any_of
from db.sql.listing import Listing
from db.sql.rows import fetch_all, select_columns
from domain.enums import WorkerStatus
from domain.time import clock

_table = table(Worker)
_worker = _table.c

LOST_AFTER = timedelta(seconds=20)
"""Time without a heartbeat after which a worker counts as lost: four heartbeats."""
MAX_REPORTED = 1_000
"""Runs that a heartbeat names. A worker that executes more names those that it has executed longest."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What a worker is, from its start to its end."""

    id: UUID
    host: str
    process_id: int
    version: str
    concurrency: int
    started_at: datetime


def report(uow: UnitOfWork, worker: WorkerIdentity, executing: Sequence[UUID], *, draining: bool) -> None:
    """Writes a heartbeat: the worker lives, and executes these runs, the first of them for the longest time."""
    values = {
        "executing": len(executing),
        "run_ids": orjson.dumps([str(run_id) for run_id in executing[:MAX_REPORTED]]).decode(),
        "draining": draining,
        "heartbeat_at": clock.now(),
    }
    if uow.conn.execute(update(_table).where(_worker.id == worker.id).values(values)).rowcount:
        return
    # The first heartbeat, or the first one after a time in which the worker was taken for lost.
    fixed = {
        "id": worker.id,
        "host": worker.host,
        "process_id": worker.process_id,
        "version": worker.version,
        "concurrency": worker.concurrency,
        "started_at": worker.started_at,
    }
    uow.conn.execute(insert(_table).values({**fixed, **values}))


def remove(uow: UnitOfWork, worker_id: UUID) -> None:
    """Deletes a worker that has stopped."""
    uow.conn.execute(delete(_table).where(_worker.id == worker_id))


def remove_all(uow: UnitOfWork) -> None:
    """Deletes all workers, for a process that knows that no other worker is alive."""
    uow.conn.execute(delete(_table))


def prune_lost(uow: UnitOfWork, before: datetime) -> int:
    """Deletes the workers whose last heartbeat is older than `before`; returns their number."""
    return uow.conn.execute(delete(_table).where(_worker.heartbeat_at < before)).rowcount


def by_ids(conn: Connection, worker_ids: Collection[UUID], columns: Collection[str]) -> Mapping[UUID, WorkerRow]:
    """Returns the workers with these IDs."""
    query = select(*select_columns(_table, columns)).where(any_of(_worker.id, list(worker_ids)))
    rows: Sequence[WorkerRow] = fetch_all(conn, query)
    return {row.id: row for row in rows}


def status(row: WorkerRow, now: datetime) -> WorkerStatus:
    """Returns the status of a worker. It reads `draining` and `heartbeat_at`."""
    if row.heartbeat_at < now - LOST_AFTER:
        return WorkerStatus.LOST
    return WorkerStatus.DRAINING if row.draining else WorkerStatus.ACTIVE


def run_ids(row: WorkerRow) -> list[UUID]:
    """Returns the runs that the last heartbeat named. It reads `run_ids`."""
    return [UUID(run_id) for run_id in orjson.loads(row.run_ids)]


def _matches(statuses: Collection[WorkerStatus] | None, now: datetime) -> ColumnElement[bool]:
    if statuses is None:
        return true()
    is_lost = _worker.heartbeat_at < now - LOST_AFTER
    conditions = {
        WorkerStatus.LOST: is_lost,
        WorkerStatus.DRAINING: ~is_lost & _worker.draining,
        WorkerStatus.ACTIVE: ~is_lost & ~_worker.draining,
    }
    return or_(false(), *(conditions[each] for each in statuses))


def has_active(conn: Connection, now: datetime) -> bool:
    """True if a worker claims runs, and serves schedules and alerts."""
    active = select(_worker.id).where(_matches([WorkerStatus.ACTIVE], now)).limit(1)
    return conn.execute(active).first() is not None


LISTING: Listing[Collection[WorkerStatus] | None] = Listing(_table, _matches)
"""Workers by their statuses (None: all), newest first."""
