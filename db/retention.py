"""Step data of runs that ended long ago, and how they are deleted.

The run stays, with its status, history, input, output and error. What its steps were given, gave and met goes.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, update

from db.models import FlowRun, InputRequest, Project, StepAttempt, StepResult
from db.models.types import table
from domain import clock
from domain.states import FINAL

_runs = table(FlowRun)
_run = _runs.c
_project = table(Project).c

STEP_DATA = tuple(table(model) for model in (StepAttempt, StepResult, InputRequest))
"""Tables whose rows go with a run's step data; each has a `run_id`."""


def purge(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """Delete the step data of final runs, which the transaction under way has locked."""
    for source in STEP_DATA:
        conn.execute(delete(source).where(source.c.run_id.in_(run_ids)))
    conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(steps_purged_at=clock.now()))


def purge_expired(conn: Connection, default_days: int | None, limit: int) -> int:
    """Purge runs that ended longer ago than their project keeps step data, `limit` at the most; returns how many.

    A project keeps them for its `retention_days`, or else for `default_days` (None: for ever).
    """
    days = func.coalesce(_project.retention_days, default_days)
    expired: list[UUID] = []
    for project_id, kept in conn.execute(select(_project.id, days).where(days.is_not(None))).all():
        expired += _expired(conn, project_id, timedelta(days=kept), limit - len(expired))
        if len(expired) == limit:
            break
    if expired:
        purge(conn, expired)
    return len(expired)


def _expired(conn: Connection, project_id: UUID, kept: timedelta, limit: int) -> Sequence[UUID]:
    query = select(_run.id).where(
        _run.project_id == project_id,
        _run.finished_at < clock.now() - kept,
        _run.steps_purged_at.is_(None),
        _run.status.in_(sorted(FINAL)),
    )
    # A run that is being retried is locked, and left for later; so is one that another worker is purging.
    query = query.order_by(_run.finished_at).limit(limit).with_for_update(skip_locked=True)
    return conn.execute(query).scalars().all()
