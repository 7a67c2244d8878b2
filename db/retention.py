"""Purges the step data of runs that ended long ago.

The run stays, with its status, history, input, output and error. Its step results, attempts, input requests, log lines
and files are deleted, except for files that a retry keeps with the results of steps (`db.runs.output.files`).
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, InputRequest, Project, RunLog, StepAttempt, StepResult
from db.models.types import table
from db.runs.output import files
from domain.runs.state_machine import FINAL
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_project = table(Project).c
_logs = table(RunLog)
_line = _logs.c

STEP_DATA = tuple(table(model) for model in (StepAttempt, StepResult, InputRequest, RunLog))
"""Tables of step data; each has a column `run_id`."""


def purge(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes the step data of final runs, which the transaction has locked."""
    now = clock.now()
    for source in STEP_DATA:
        uow.conn.execute(delete(source).where(source.c.run_id.in_(run_ids)))
    files.purge(uow, run_ids)
    uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(steps_purged_at=now))


def purge_expired(uow: UnitOfWork, default_days: int | None, limit: int) -> int:
    """Purges at most `limit` runs that ended longer ago than their project keeps step data; returns their number.

    A project keeps step data for its `retention_days`, or else for `default_days` (None: forever).
    """
    expired = _expired(uow, default_days, limit)
    if expired:
        purge(uow, expired)
    return len(expired)


def trim_logs(uow: UnitOfWork, default_days: int | None, limit: int, max_lines: int) -> int:
    """Deletes at most `max_lines` log lines of the runs that `purge_expired` would purge; returns their number.

    A run may have logged more than one transaction should delete.
    """
    expired = _expired(uow, default_days, limit)
    if not expired:
        return 0
    log_lines = select(_line.run_id, _line.number).where(_line.run_id.in_(expired)).limit(max_lines)
    return uow.conn.execute(delete(_logs).where(tuple_(_line.run_id, _line.number).in_(log_lines))).rowcount


def _expired(uow: UnitOfWork, default_days: int | None, limit: int) -> list[UUID]:
    days = func.coalesce(_project.retention_days, default_days)
    run_ids: list[UUID] = []
    for project_id, kept_days in uow.conn.execute(select(_project.id, days).where(days.is_not(None))).all():
        run_ids += _expired_of(uow, project_id, timedelta(days=kept_days), limit - len(run_ids))
        if len(run_ids) == limit:
            break
    return run_ids


def _expired_of(uow: UnitOfWork, project_id: UUID, kept: timedelta, limit: int) -> Sequence[UUID]:
    query = select(_run.id).where(
        _run.project_id == project_id,
        _run.finished_at < clock.now() - kept,
        _run.steps_purged_at.is_(None),
        _run.status.in_(sorted(FINAL)),
    )
    # A locked run is left for later: it is being retried, or another worker purges it.
    query = query.order_by(_run.finished_at).limit(limit).with_for_update(skip_locked=True)
    return uow.conn.execute(query).scalars().all()
