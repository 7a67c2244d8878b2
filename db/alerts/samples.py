"""What alerts read: usual durations, and the runs and schedules that have waited for a worker for too long."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from db.events.log import NeededOfRuns
from db.models import Flow, FlowRun, Schedule
from db.models.types import table
from db.queue import due
from db.row_types import RunRow
from db.runs import reads as run_reads
from db.schedules import DueSchedule
from db.sql.rows import fetch_all
from domain.enums import RunStatus
from domain.outbound.alert import KEPT_SAMPLES

_table = table(FlowRun)
_run = _table.c
_schedules = table(Schedule)
_schedule = _schedules.c
_flows = table(Flow)
_flow = _flows.c
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


def overdue_schedules(
    conn: Connection, project_id: UUID, after: datetime, until: datetime, limit: int
) -> Sequence[DueSchedule]:
    """Returns up to `limit` schedules of a project whose runs no worker has started, and that became due after `after`
    and not later than `until`. Schedules of flows that cannot be started are left out: a worker would skip them."""
    waiting = (
        _schedule.next_fire_at > after,
        _schedule.next_fire_at <= until,
        _schedule.project_id == project_id,
        _flow.enabled,
        _flow.published_version_id.is_not(None),
    )
    columns = (*_schedule, _flow.enabled.label("flow_enabled"), _flow.published_version_id)
    query = select(*columns).join_from(_schedules, _flows, _schedule.flow_id == _flow.id)
    return fetch_all(conn, query.where(*waiting).order_by(_schedule.next_fire_at).limit(limit))
