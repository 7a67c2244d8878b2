"""What runs that ended long ago leave behind, and how it is deleted.

The run stays, with its status, history, input, output and error. What its steps were given, gave, met, asked, logged
and stored goes. Files are only given up here: their bytes are in the file store, and are deleted before their rows.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, tuple_, update

from db.models import FlowRun, InputRequest, Project, RunFile, RunLog, StepAttempt, StepResult
from db.models.types import table
from domain import clock
from domain.state_machine import FINAL

_runs = table(FlowRun)
_run = _runs.c
_project = table(Project).c
_files = table(RunFile)
_logs = table(RunLog)
_line = _logs.c

STEP_DATA = tuple(table(model) for model in (StepAttempt, StepResult, InputRequest, RunLog))
"""Tables whose rows go with a run's step data; each has a `run_id`."""


def purge(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """Delete the step data of final runs, which the transaction under way has locked."""
    now = clock.now()
    for source in STEP_DATA:
        conn.execute(delete(source).where(source.c.run_id.in_(run_ids)))
    conn.execute(update(_files).where(_files.c.run_id.in_(run_ids)).values(purged_at=now))
    conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(steps_purged_at=now))


def purge_expired(conn: Connection, default_days: int | None, limit: int) -> int:
    """Purge runs that ended longer ago than their project keeps step data, `limit` at the most; returns how many.

    A project keeps them for its `retention_days`, or else for `default_days` (None: for ever).
    """
    expired = _expired(conn, default_days, limit)
    if expired:
        purge(conn, expired)
    return len(expired)


def trim_logs(conn: Connection, default_days: int | None, limit: int, most_lines: int) -> int:
    """Delete up to `most_lines` lines of the runs that `purge_expired` would purge; returns how many they were.

    A run may have logged so much that it is better not deleted in one transaction.
    """
    expired = _expired(conn, default_days, limit)
    if not expired:
        return 0
    some = select(_line.run_id, _line.number).where(_line.run_id.in_(expired)).limit(most_lines)
    return conn.execute(delete(_logs).where(tuple_(_line.run_id, _line.number).in_(some))).rowcount


def _expired(conn: Connection, default_days: int | None, limit: int) -> list[UUID]:
    days = func.coalesce(_project.retention_days, default_days)
    found: list[UUID] = []
    for project_id, kept in conn.execute(select(_project.id, days).where(days.is_not(None))).all():
        found += _expired_of(conn, project_id, timedelta(days=kept), limit - len(found))
        if len(found) == limit:
            break
    return found


def _expired_of(conn: Connection, project_id: UUID, kept: timedelta, limit: int) -> Sequence[UUID]:
    query = select(_run.id).where(
        _run.project_id == project_id,
        _run.finished_at < clock.now() - kept,
        _run.steps_purged_at.is_(None),
        _run.status.in_(sorted(FINAL)),
    )
    # A run that is being retried is locked, and left for later; so is one that another worker is purging.
    query = query.order_by(_run.finished_at).limit(limit).with_for_update(skip_locked=True)
    return conn.execute(query).scalars().all()
