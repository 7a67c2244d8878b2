"""Archives old runs of a project, and deletes runs at the end of their retention, by the settings of the project.

Both begin with runs that have no parent: child runs go with the run at the top of their family. A retry goes no sooner
than the run that it continues, so a run does not lose the retry that recovered it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, Project
from db.models.types import sort_key, table
from db.removal import archiving, sweep
from db.removal.sweep import Swept
from db.runs import families
from db.sql.any_of import any_of
from domain import ids
from domain.actor import BY_SYSTEM, SYSTEM
from domain.audit import AuditAction
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_earlier = _runs.alias("earlier")
_projects = table(Project)
_project = _projects.c

_IS_TOP = and_(
    _run.parent_run_id.is_(None),
    or_(_run.retry_of_id.is_(None), ~exists().where(_earlier.c.id == _run.retry_of_id).correlate(_runs)),
)
_ended = sort_key(_run.finished_at)


class Archived(NamedTuple):
    """What a chunk has archived."""

    runs: int
    """Number of runs, with those below them."""
    is_last: bool
    """True if all runs that are old enough are archived."""


def retained(conn: Connection) -> Sequence[tuple[UUID, RunStatus]]:
    """Returns the projects and statuses whose runs are kept for a time."""
    query = select(_project.id, _project.run_retention).where(_project.run_retention.is_not(None))
    return [(key, status) for key, text in conn.execute(query.order_by(_project.id)) for status in parse(text)]


def archived(conn: Connection) -> Sequence[UUID]:
    """Returns the projects whose old runs are archived."""
    query = select(_project.id).where(_project.archive_after_days.is_not(None)).order_by(_project.id)
    return conn.execute(query).scalars().all()


def parse(text: str | None) -> dict[RunStatus, int]:
    """Returns the days for which runs are kept, by status, from the column `run_retention`."""
    return {RunStatus(status): days for status, days in orjson.loads(text).items()} if text else {}


def encode(retention: Mapping[RunStatus, int]) -> str | None:
    """Returns the value of the column `run_retention`; None if every run is kept."""
    return orjson.dumps({status.value: days for status, days in retention.items()}).decode() if retention else None


def delete_expired(uow: UnitOfWork, project_id: UUID, status: RunStatus, after: UUID, limit: int) -> Swept | None:
    """Deletes the next runs of a project and status whose retention has ended.

    Returns None if there are no more, or another process deletes runs at this moment.

    The retention is read for each chunk, so a new setting holds from its commit on.
    """
    text = uow.conn.execute(select(_project.run_retention).where(_project.id == project_id)).scalar()
    days = parse(text).get(status)
    if days is None or not sweep.is_first(uow):
        return None
    now = clock.now()
    swept = sweep.delete_chunk(uow, _expired(project_id, status, now - timedelta(days=days)), after, limit, now)
    if swept is not None and swept.runs:
        details = {"runRetention": {"status": status, "days": days}, "runs": swept.runs}
        audit_events.record(
            uow, BY_SYSTEM, AuditAction.DELETE_RUNS, IdKind.PROJECT, project_id, project_id, details=details
        )
    return swept


def archive_old(uow: UnitOfWork, project_id: UUID, limit: int) -> Archived:
    """Archives the next runs of a project that succeeded long enough ago, about `limit` of them, oldest first.

    Each run is archived by this once: a run that is unarchived stays as it is.
    """
    # The lock makes other processes wait, which then go on where this one ends.
    locked = select(_project.archive_after_days, _project.archived_through).where(_project.id == project_id)
    row = uow.conn.execute(locked.with_for_update(key_share=True)).first()
    if row is None or row.archive_after_days is None:
        return Archived(0, is_last=True)
    now = clock.now()
    until = now - timedelta(days=row.archive_after_days)
    old = _archivable(project_id, row.archived_through, until)
    # Runs that ended at the same instant are archived together: the position is an instant.
    through = uow.conn.execute(select(_ended).where(*old).order_by(_ended).offset(limit - 1).limit(1)).scalar()
    found = uow.conn.execute(select(_run.id).where(*old, _ended <= (through or until))).scalars().all()
    if found:
        _archive(uow, project_id, found, row.archive_after_days, now)
    position = through or until
    uow.conn.execute(update(_projects).where(_project.id == project_id).values(archived_through=position))
    return Archived(len(found), is_last=through is None)


def _archive(uow: UnitOfWork, project_id: UUID, found: Sequence[UUID], days: int, now: datetime) -> None:
    together = [*found, *families.final_descendants(uow.conn, found)]
    families.lock_runs(uow, together)
    shown = select(_run.id).where(any_of(_run.id, together), _run.archived_at.is_(None))
    run_ids = uow.conn.execute(shown).scalars().all()
    archiving.archive(uow, run_ids, now, SYSTEM)
    details = {"archiveSucceededAfterDays": days, "runs": len(run_ids)}
    audit_events.record(
        uow, BY_SYSTEM, AuditAction.ARCHIVE_RUNS, IdKind.PROJECT, project_id, project_id, details=details
    )


def count_expired(conn: Connection, project_id: UUID, retention: Mapping[RunStatus, int]) -> Mapping[RunStatus, int]:
    """Returns how many runs `delete_expired` would look at now, by status, if `retention` were set."""
    now = clock.now()
    counts = {}
    for status, days in retention.items():
        where = _expired(project_id, status, now - timedelta(days=days))
        counts[status] = conn.execute(select(func.count()).select_from(_runs).where(*where)).scalar_one()
    return counts


def count_old(conn: Connection, project_id: UUID, days: int) -> int:
    """Returns how many runs `archive_old` would archive now if `days` were set now, without those below them."""
    old = _archivable(project_id, None, clock.now() - timedelta(days=days))
    count: int = conn.execute(select(func.count()).select_from(_runs).where(*old)).scalar_one()
    return count


def _expired(project_id: UUID, status: RunStatus, until: datetime) -> tuple[ColumnElement[bool], ...]:
    # A run that ended before an instant was created before it: so the index by status and ID finds them, and none of
    # those that are kept.
    created_before = _run.id < ids.first_uuid_at(until)
    return (_run.project_id == project_id, _run.status == status, created_before, _run.finished_at < until, _IS_TOP)


def _archivable(project_id: UUID, after: datetime | None, until: datetime) -> tuple[ColumnElement[bool], ...]:
    conditions: tuple[ColumnElement[bool], ...] = (
        _run.project_id == project_id,
        _ended <= until,
        _run.status == RunStatus.SUCCEEDED,
        _run.archived_at.is_(None),
        _run.parent_run_id.is_(None),
    )
    return conditions if after is None else (*conditions, _ended > after)
