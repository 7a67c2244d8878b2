"""Retries: the rule that says whether a run can be retried, what a retry carries over, and the step results it keeps.

The rule is SQL, so that one run, the runs of a page and those of a bulk operation are judged alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Text,
    and_,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
)

from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project, StepResult
from db.models.types import table
from db.row_types import RunRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_first
from domain.definition import MAX_STEPS
from domain.enums import RetryStrategy
from domain.errors import (
    FlowDisabledError,
    FlowNotPublishedError,
    RetryLimitReachedError,
    RunNotRetryableError,
    StepDataExpiredError,
)
from domain.runs.state_machine import FINISHED, UNSUCCESSFUL

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c
_steps = table(StepResult)
_step = _steps.c

CARRIED_OVER = (
    "project_id",
    "flow_id",
    "environment",
    "scheduled_for",
    "parent_run_id",
    "fail_parent_on_failure",
    "depth",
    "external_id",
    "source",
    "tags",
    "metadata",
    "input",
)
"""Columns that a retry copies from the run that it retries; `root_run_id` too, if that run has a parent."""
_DESCRIPTIONS = {
    RetryStrategy.FROM_FAILED_STEP: "from its failed step",
    RetryStrategy.ON_LATEST_VERSION: "on the latest version",
}

WITH_FLOWS: FromClause = _runs.join(_flows, _flow.id == _run.flow_id).join(_projects, _project.id == _run.project_id)
"""Runs with everything that decides whether they can be retried."""


class LockedRun(RunRow, Protocol):
    """A run that is about to be retried: all columns of `flow_run`, and these."""

    retry_limit: int
    refusal: str | None
    """The code of the error that refuses the retry."""
    version: UUID
    """The flow version that the retry executes."""


@dataclass(frozen=True, slots=True)
class RetryJudgement:
    """Whether a run can be retried, and the values that error messages name."""

    status: str
    attempt: int
    retry_limit: int
    published_version_id: UUID | None
    refusals: Mapping[RetryStrategy, str | None]
    """The code of the error that refuses a retry with the strategy; None if it is allowed."""


def refusal(strategy: RetryStrategy) -> ColumnElement[str | None]:
    """Returns the code of the error that refuses to retry a row of WITH_FLOWS; null if it can be retried."""
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        last = (_run.steps_purged_at.is_not(None), StepDataExpiredError.code)
    else:
        last = (_flow.published_version_id.is_(None), FlowNotPublishedError.code)
    return case(
        (_run.status.not_in(sorted(UNSUCCESSFUL)), RunNotRetryableError.code),
        (_run.attempt > _project.retry_limit, RetryLimitReachedError.code),
        (_flow.enabled.is_(False), FlowDisabledError.code),
        last,
        else_=None,
    )


def version(strategy: RetryStrategy) -> ColumnElement[UUID]:
    """Returns the flow version that a retry of a row of WITH_FLOWS executes."""
    return _run.flow_version_id if strategy is RetryStrategy.FROM_FAILED_STEP else _flow.published_version_id


def message(strategy: RetryStrategy, run_id: str) -> str:
    """Returns the first status message of a retry. `run_id` is the ID of the retried run, as clients see it."""
    return f"Retry of {run_id} {_DESCRIPTIONS[strategy]}"


def message_sql(strategy: RetryStrategy, prefix: str, key: ColumnElement[UUID]) -> ColumnElement[str]:
    """Returns `message` in SQL, for the run whose UUID is in the column `key` and whose IDs begin with `prefix`."""
    return (
        literal(f"Retry of {prefix}_") + func.replace(cast(key, Text), "-", "") + literal(f" {_DESCRIPTIONS[strategy]}")
    )


def lock(uow: UnitOfWork, run_id: UUID, strategy: RetryStrategy) -> LockedRun | None:
    """Returns a run, locked, with whether and how it can be retried."""
    judgement = (refusal(strategy).label("refusal"), version(strategy).label("version"))
    query = select(*_runs.c, _project.retry_limit, *judgement).select_from(WITH_FLOWS)
    row: LockedRun | None = fetch_first(uow.conn, query.where(_run.id == run_id).with_for_update(read=True, of=_runs))
    return row


def judgements_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, RetryJudgement]:
    """Returns for each run whether it can be retried with each strategy."""
    refusals = [refusal(strategy).label(strategy.value) for strategy in RetryStrategy]
    columns = (_run.id, _run.status, _run.attempt, _project.retry_limit, _flow.published_version_id, *refusals)
    query = select(*columns).select_from(WITH_FLOWS).where(_run.id.in_(run_ids))
    return {
        run_id: RetryJudgement(status, attempt, limit, version_id, dict(zip(RetryStrategy, codes, strict=True)))
        for run_id, status, attempt, limit, version_id, *codes in conn.execute(query)
    }


def root_of(new_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns the `root_run_id` of a retry with the ID `new_id`."""
    return case((_run.parent_run_id.is_(None), new_id), else_=_run.root_run_id)


def kept_counts_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of steps of each run whose results a retry from the failed step keeps."""
    query = select(_step.run_id, func.count()).where(_step.run_id.in_(run_ids), _kept())
    return dict(conn.execute(query.group_by(_step.run_id)).all())


def copy_kept(conn: Connection, retry_ids: Sequence[UUID]) -> None:
    """Copies to retries the step results that they keep, marked with the run that executed the step.

    No event is appended: a retry has these results from its beginning.
    """
    conn.execute(_INSERT_KEPT, {"run_ids": retry_ids})


def _kept() -> ColumnElement[bool]:
    """Returns the condition that a step stands before the one at which its run ended."""
    return _step.position < _ended_at(_step.run_id, _steps)


def _ended_at(run_id: ColumnElement[Any], of: FromClause) -> ColumnElement[int]:
    """Returns the position of the step at which the run ended that the column `run_id` of `of` names."""
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


def _insert_kept() -> Insert:
    retry = _runs.alias("retry")
    kept_before = _ended_at(retry.c.retry_of_id, retry).label("kept_before")
    retried = select(retry.c.id, retry.c.retry_of_id, kept_before).where(any_of(retry.c.id, "run_ids"))
    # Materialized: as a part of the join, `kept_before` would be computed for each step instead of each run.
    source = retried.cte("retried").prefix_with("MATERIALIZED")
    copied = [column for column in _steps.c if column.name not in {"run_id", "reused_from_id"}]
    executed_by = func.coalesce(_step.reused_from_id, _step.run_id)
    of_run = and_(_step.run_id == source.c.retry_of_id, _step.position < source.c.kept_before)
    rows = select(source.c.id, executed_by, *copied).join_from(source, _steps, of_run)
    return insert(_steps).from_select(["run_id", "reused_from_id", *(column.name for column in copied)], rows)


_INSERT_KEPT = _insert_kept()
