"""Reruns: new runs that repeat a run that has ended, each as an operation of its own.

A rerun is not part of a chain of retries: it neither recovers the run nor counts against the limit of retries, and it
never changes a parent run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, case, exists, literal, null, select

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.row_types import RunRow
from db.runs import families, kept_steps, retries
from db.sql.rows import fetch_first
from domain.enums import RetryStrategy
from domain.errors import (
    FlowDisabledError,
    FlowNotPublishedError,
    RerunUnderWayError,
    RunNotFinalError,
    StepDataExpiredError,
    StepNotReachedError,
)
from domain.runs.state_machine import FINAL, LIVE

_runs = table(FlowRun)
_run = _runs.c
_rerun = _runs.alias("live_rerun")
_flow = retries.FLOWS.c
_HAS_LIVE_RERUN = exists().where(_rerun.c.rerun_of_id == _run.id, _rerun.c.status.in_(sorted(LIVE)))


class LockedRun(RunRow, Protocol):
    """A run that is about to be rerun: all columns of `flow_run`, and the refusal."""

    refusal: str | None
    """The code of the error that refuses the rerun; None if it is allowed."""


@dataclass(frozen=True, slots=True)
class RerunJudgement:
    """Whether a run can be run again."""

    status: str
    erased_at: datetime | None
    published_version_id: UUID | None
    refusal: str | None
    """The code of the error that refuses a rerun of all steps on the published version; None if it is allowed."""
    refusal_from_step: str | None
    """The code of the error that refuses a rerun from a step, on the version of the run; None if it is allowed."""


def lock(uow: UnitOfWork, run_id: UUID, step_name: str | None, *, force: bool, has_input: bool) -> LockedRun | None:
    """Locks and returns a run, with whether it can be rerun; None if it does not exist."""
    links = families.links(uow.conn, run_id)
    if links is None:
        return None
    retries.lock_for_retry(uow, [links.root_run_id] if links.parent_run_id else (), [run_id])
    step = literal(step_name) if step_name is not None else None
    refusal = _refusal(step, force=force, has_input=has_input)
    row: LockedRun | None = fetch_first(
        uow.conn, select(*_runs.c, refusal.label("refusal")).select_from(retries.WITH_FLOWS).where(_run.id == run_id)
    )
    return row


def columns(run: LockedRun, new_id: UUID, step_name: str | None) -> dict[str, Any]:
    """Returns the columns of a rerun that depend on the repeated run."""
    return {
        **{name: getattr(run, name) for name in retries.COPIED_COLUMNS},
        "rerun_of_id": run.id,
        "root_run_id": new_id if run.parent_run_id is None else run.root_run_id,
        "fail_parent_on_failure": False,
        "retry_strategy": RetryStrategy.FROM_STEP if step_name is not None else None,
        "retry_step_name": step_name,
    }


def live_rerun(conn: Connection, run_id: UUID) -> UUID:
    """Returns the live rerun of a run, which must have one."""
    query = select(_run.id).where(_run.rerun_of_id == run_id, _run.status.in_(sorted(LIVE)))
    rerun_id: UUID = conn.execute(query.order_by(_run.id.desc()).limit(1)).scalar_one()
    return rerun_id


def judgements_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, RerunJudgement]:
    """Returns for each run whether it can be run again."""
    is_unpublished = _flow.published_version_id.is_(None)
    own = _refusal(None)
    of_all = case((own.is_(None) & is_unpublished, FlowNotPublishedError.code), else_=own)
    query = select(_run.id, _run.status, _run.erased_at, _flow.published_version_id, of_all, _refusal(null()))
    rows = conn.execute(query.select_from(retries.WITH_FLOWS).where(_run.id.in_(run_ids)))
    return {run_id: RerunJudgement(*values) for run_id, *values in rows}


def _refusal(
    step_name: ColumnElement[Any] | None, *, force: bool = False, has_input: bool = False
) -> ColumnElement[str | None]:
    """Returns the code of the error that refuses a rerun; null if it is allowed.

    With a `step_name`, the rerun starts at that step; a name that is null stands for any reached step. With
    `has_input`, the rerun does not need the input of the run.
    """
    conditions: list[tuple[ColumnElement[bool], str]] = [
        (_run.status.not_in(sorted(FINAL)), RunNotFinalError.code),
        *([] if force else [(_HAS_LIVE_RERUN, RerunUnderWayError.code)]),
        (_flow.enabled.is_(False), FlowDisabledError.code),
    ]
    if step_name is not None:
        conditions += [
            (_run.steps_purged_at.is_not(None), StepDataExpiredError.code),
            (step_name.is_not(None) & ~kept_steps.has_reached(step_name), StepNotReachedError.code),
        ]
    elif not has_input:
        conditions.append((_run.erased_at.is_not(None), StepDataExpiredError.code))
    return case(*conditions, else_=None)
