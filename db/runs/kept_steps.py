"""The step results that a run keeps from the run that it retries or repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, FlowVersion, RunFile, RunFileReference, StepResult
from db.models.types import table
from db.row_types import StepRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_first
from db.sql.unchanged_steps import UnchangedSteps
from domain.actor import Actor
from domain.enums import RetryStrategy, StepStatus
from domain.flows.definition import MAX_STEPS
from domain.runs.state_machine import FINISHED, KEPT
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_versions = table(FlowVersion)
_steps = table(StepResult)
_step = _steps.c
_files = table(RunFile)
_references = table(RunFileReference)


class ReachedStep(NamedTuple):
    """A step of a run, at or before the one at which the run ended."""

    position: int
    name: str
    is_kept: bool
    """True if a retry from the failed step keeps the step's result."""


def reached_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[ReachedStep]]:
    """Returns the steps of each run up to the one at which it ended, in order; runs without such steps are left out."""
    query = select(_step.run_id, _step.position, _step.name, _kept().label("is_kept"))
    query = query.where(_step.run_id.in_(run_ids), _step.position <= ended_at(_step.run_id, _steps))
    reached: dict[UUID, list[ReachedStep]] = {}
    for run_id, position, name, is_kept in conn.execute(query.order_by(_step.run_id, _step.position)):
        reached.setdefault(run_id, []).append(ReachedStep(position, name, bool(is_kept)))
    return reached


def copy_kept(uow: UnitOfWork, retry_ids: Sequence[UUID]) -> None:
    """Copies to retries, and to reruns from a step, the step results that they keep, marked with the run that executed
    the step, and refers to the files that these steps produced.

    No event is appended: a retry has these results from its beginning.
    """
    uow.conn.execute(_INSERT_KEPT, {"run_ids": retry_ids})
    uow.conn.execute(_REFER_TO_FILES, {"run_ids": retry_ids})


@dataclass(frozen=True, slots=True)
class Completion:
    """A result that a person gives for a failed step."""

    output: str | None
    """The output as JSON text; None: the step is skipped."""
    sealed: str | None
    """The redacted parts of the output, encrypted; None if there are none."""
    by: Actor
    """The actor that gives it."""
    note: str | None

    @property
    def status(self) -> StepStatus:
        """Returns the status of the step."""
        return StepStatus.SKIPPED if self.output is None else StepStatus.SUCCEEDED


def step_of_end(conn: Connection, run_id: UUID) -> StepRow | None:
    """Returns the step at which a run ended; None if it ended outside of a step.

    A retry from the failed step that ended before it began, because of the quota or a cancellation, ended at the step
    of the retried run.
    """
    at = (_step.run_id == run_id, _step.position == ended_at(_step.run_id, _steps))
    row: StepRow | None = fetch_first(conn, select(_steps).where(*at))
    if row is None and (retried_id := _retried_before_begin(conn, [run_id]).get(run_id)) is not None:
        return step_of_end(conn, retried_id)
    return row


def steps_of_end_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """Returns the name of `step_of_end` of each run; runs that ended outside of a step are left out."""
    at_end = _step.position == ended_at(_step.run_id, _steps)
    rows = conn.execute(select(_step.run_id, _step.name).where(_step.run_id.in_(run_ids), at_end))
    found: dict[UUID, str] = {row.run_id: row.name for row in rows}
    if retried := _retried_before_begin(conn, [run_id for run_id in run_ids if run_id not in found]):
        of_retried = steps_of_end_by_runs(conn, list(set(retried.values())))
        found |= {run_id: of_retried[key] for run_id, key in retried.items() if key in of_retried}
    return found


def _retried_before_begin(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Returns the retried run of each retry from the failed step that never began; other runs are left out."""
    if not run_ids:
        return {}
    query = select(_run.id, _run.retry_of_id).where(
        _run.id.in_(run_ids),
        _run.started_at.is_(None),
        _run.retry_of_id.is_not(None),
        _run.retry_strategy == RetryStrategy.FROM_FAILED_STEP,
    )
    return {row.id: row.retry_of_id for row in conn.execute(query)}


def complete_step(uow: UnitOfWork, retry_id: UUID, step: StepRow, completion: Completion) -> None:
    """Gives a retry, which has just been created, the result of `step`, at which the retried run ended.

    The retry does not execute the step, so it has no attempt. The result of an earlier completion is replaced.
    """
    uow.conn.execute(delete(_steps).where(_step.run_id == retry_id, _step.name == step.name))
    row = {
        "run_id": retry_id,
        **{name: getattr(step, name) for name in ("position", "name", "display_name", "kind", "input")},
        "status": completion.status,
        "attempts_count": 0,
        "finished_at": clock.now(),
        "output": completion.output,
        "sealed": completion.sealed,
        "completed_by": completion.by.text,
        "completion_note": completion.note,
    }
    uow.conn.execute(insert(_steps), row)


def _kept() -> ColumnElement[bool]:
    """Returns the condition that a step succeeded, or was skipped, before the one at which its run ended.

    A step that failed without ending its run is executed again.
    """
    return and_(_step.position < ended_at(_step.run_id, _steps), _step.status.in_(sorted(KEPT)))


def ended_at(run_id: ColumnElement[Any], of: FromClause) -> ColumnElement[int]:
    """Returns the position of the step at which a run ended; the column `run_id` of `of` names the run."""
    other = _steps.alias("other")
    position = (
        select(func.min(other.c.position))
        .join_from(other, _runs, _run.id == other.c.run_id)
        .where(
            other.c.run_id == run_id,
            or_(other.c.name == _run.failed_step_name, other.c.status.not_in(sorted(FINISHED))),
        )
        .correlate(of)
        .scalar_subquery()
    )
    return func.coalesce(position, MAX_STEPS)


def has_reached(step_name: ColumnElement[Any]) -> ColumnElement[bool]:
    """Returns the condition that a row of WITH_FLOWS has a step with this name, at or before the step at which it
    ended."""
    reached = _steps.alias("reached")
    is_reached = reached.c.position <= ended_at(reached.c.run_id, reached)
    found = exists().where(reached.c.run_id == _run.id, reached.c.name == step_name, is_reached)
    return found.correlate(_runs)


def keeps_before(
    strategy: ColumnElement[Any],
    step_name: ColumnElement[Any],
    version_id: ColumnElement[Any],
    retried_id: ColumnElement[Any],
    of: FromClause,
) -> ColumnElement[int]:
    """Returns the position of the first step that a retry executes because of its strategy. The step at which the run
    `retried_id` ended, and all later ones, are executed in any case. The columns are those of `of`."""
    chosen = _steps.alias("chosen")
    at_chosen = select(chosen.c.position).where(chosen.c.run_id == retried_id, chosen.c.name == step_name)
    retried, old, new = _runs.alias("kept_from"), _versions.alias("old_version"), _versions.alias("new_version")
    unchanged = (
        select(UnchangedSteps(old.c.definition, new.c.definition))
        .select_from(retried.join(old, old.c.id == retried.c.flow_version_id).join(new, new.c.id == version_id))
        .where(retried.c.id == retried_id)
    )
    return case(
        (strategy == RetryStrategy.FROM_STEP, at_chosen.correlate(of).scalar_subquery()),
        (strategy == RetryStrategy.FROM_FAILED_STEP_ON_LATEST_VERSION, unchanged.correlate(of).scalar_subquery()),
        else_=MAX_STEPS,
    )


def _source_of(run: FromClause) -> ColumnElement[UUID]:
    """Returns the run whose results a retry or a rerun keeps."""
    return func.coalesce(run.c.retry_of_id, run.c.rerun_of_id)


def _insert_kept() -> Insert:
    retry = _runs.alias("retry")
    source_id = _source_of(retry)
    starts = keeps_before(retry.c.retry_strategy, retry.c.retry_step_name, retry.c.flow_version_id, source_id, retry)
    kept_before = ended_at(source_id, retry).label("kept_before")
    retried = select(retry.c.id, source_id.label("source_id"), kept_before, starts.label("starts_at"))
    retried = retried.where(any_of(retry.c.id, "run_ids"))
    # Materialized, because as a part of the join both positions would be computed for each step instead of each run.
    source = retried.cte("retried").prefix_with("MATERIALIZED")
    copied = [column for column in _steps.c if column.name not in {"run_id", "reused_from_id"}]
    executed_by = func.coalesce(_step.reused_from_id, _step.run_id)
    of_run = and_(
        _step.run_id == source.c.source_id,
        _step.position < source.c.kept_before,
        _step.position < source.c.starts_at,
        _step.status.in_(sorted(KEPT)),
    )
    rows = select(source.c.id, executed_by, *copied).join_from(source, _steps, of_run)
    return insert(_steps).from_select(["run_id", "reused_from_id", *(column.name for column in copied)], rows)


_INSERT_KEPT = _insert_kept()


def _refer_to_files() -> Insert:
    retry = _runs.alias("retry")
    keeps = and_(_step.run_id == retry.c.id, _step.name == _files.c.step_name, _step.reused_from_id.is_not(None))
    # Without any file, as in most databases, no run is looked at.
    has_files = exists().select_from(_files.alias("any_file")).correlate(None)
    of_retry = (has_files, any_of(retry.c.id, "run_ids"), _files.c.purged_at.is_(None))
    own = select(retry.c.id.label("run_id"), _files.c.id.label("file_id"))
    own = own.join_from(retry, _files, _files.c.run_id == _source_of(retry)).join(_steps, keeps).where(*of_retry)
    referred = select(retry.c.id, _references.c.file_id)
    referred = referred.join_from(retry, _references, _references.c.run_id == _source_of(retry))
    referred = referred.join(_files, _files.c.id == _references.c.file_id).join(_steps, keeps).where(*of_retry)
    return insert(_references).from_select(["run_id", "file_id"], own.union(referred))


_REFER_TO_FILES = _refer_to_files()
