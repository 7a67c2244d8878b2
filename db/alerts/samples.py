"""What alerts read of runs: usual durations, and runs that wait for a worker for too long."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from db.events.log import NeededOfRuns
from db.models import FlowRun
from db.models.types import table
from db.queue import due
from db.row_types import RunRow
from db.runs import reads as run_reads
from domain.enums import RunStatus
from domain.outbound.alert import KEPT_SAMPLES

_table = table(FlowRun)
_run = _table.c
_SCANNED = 5 * KEPT_SAMPLES
"""Newest runs of a flow that are searched for successful ones."""


def durations(conn: Connection, flow_id: UUID, before: UUID) -> Sequence[int]:
    """Returns the durations of the last successful runs of a flow that were created before the run `before`, in
    milliseconds."""
    newest = select(_run.id, _run.status, _run.duration_ms).where(_run.flow_id == flow_id, _run.id < before)
    runs = newest.order_by(_run.id.desc()).limit(_SCANNED).subquery()
    succeeded = (runs.c.status == RunStatus.SUCCEEDED, runs.c.duration_ms.is_not(None))
    query = select(runs.c.duration_ms).where(*succeeded).order_by(runs.c.id.desc()).limit(KEPT_SAMPLES)
    return conn.execute(query).scalars().all()


def overdue(
    conn: Connection, project_id: UUID, after: datetime, until: datetime, needed: NeededOfRuns, limit: int
) -> Collection[RunRow]:
    """Returns up to `limit` QUEUED runs of a project that no worker has claimed, and that became due after `after` and
    not later than `until`."""
    waiting = (
        _run.priority.in_(due.PRIORITIES),
        _run.due_at > after,
        _run.due_at <= until,
        _run.status == RunStatus.QUEUED,
        _run.project_id == project_id,
    )
    found = conn.execute(select(_run.id).where(*waiting).limit(limit)).scalars().all()
    return run_reads.by_ids(conn, found, needed.columns, needed.texts).values() if found else ()
