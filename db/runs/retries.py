"""Retries: the rule that decides whether a run can be retried, and the values that a retry copies.

The rule is SQL, so that one run, the runs of a page and the runs of a bulk operation follow the same rule.

A retry of a child run replaces the child while the step of the parent still waits for it: the parent waits for the
retry, and the retry's result is that of the item. Otherwise the retry is detached: the parent does not change, whatever
the retry's result is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Text,
    Uuid,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    select,
)

from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project, StepResult
from db.models.types import table
from db.row_types import RunRow
from db.runs import families, kept_steps
from db.sql.any_of import any_of
from db.sql.rows import fetch_first
from domain.enums import RetryStrategy, RunStatus, StepStatus, TriggerMethod
from domain.errors import (
    AlreadyRecoveredError,
    FlowDisabledError,
    FlowNotPublishedError,
    RetriedSinceError,
    RetryLimitReachedError,
    RetryUnderWayError,
    RunNotRetryableError,
    StepDataExpiredError,
    StepNotReachedError,
)
from domain.runs.state_machine import LIVE, UNSUCCESSFUL

_runs = table(FlowRun)
_run = _runs.c
FLOWS = table(Flow)
_flow = FLOWS.c
_projects = table(Project)
_project = _projects.c
_steps = table(StepResult)
_step = _steps.c
_retry = _runs.alias("later_retry")
_parent = _runs.alias("waiting_parent")
_other = _runs.alias("other_holder")

KEEPING = frozenset(RetryStrategy) - {RetryStrategy.ON_LATEST_VERSION}
"""Strategies that keep results of the retried run."""
_OF_LATEST_VERSION = frozenset({RetryStrategy.ON_LATEST_VERSION, RetryStrategy.FROM_FAILED_STEP_ON_LATEST_VERSION})

COPIED_COLUMNS = (
    "project_id",
    "flow_id",
    "environment",
    "scheduled_for",
    "started_by",
    "parent_run_id",
    "depth",
    "external_id",
    "source",
    "tags",
    "metadata",
    "input",
    "input_secrets",
)
"""Columns that a retry copies from the retried run. `derived` returns those that depend on it."""
_DESCRIPTIONS = {
    RetryStrategy.FROM_FAILED_STEP: "from its failed step",
    RetryStrategy.ON_LATEST_VERSION: "on the latest version",
    RetryStrategy.FROM_FAILED_STEP_ON_LATEST_VERSION: "from its failed step on the latest version",
    RetryStrategy.FROM_STEP: "from a chosen step",
}

WITH_FLOWS: FromClause = _runs.join(FLOWS, _flow.id == _run.flow_id).join(_projects, _project.id == _run.project_id)
"""Runs with all columns that decide whether they can be retried."""


class LockedRun(RunRow, Protocol):
    """A run that is about to be retried: all columns of `flow_run`, and the values below."""

    retry_limit: int
    refusal: str | None
    """The code of the error that refuses the retry."""
    version: UUID
    """The flow version that the retry executes."""
    replaces_in_parent: bool
    """True if the retry replaces the run in a step of the parent that still waits for it."""


@dataclass(frozen=True, slots=True)
class RetryJudgement:
    """Whether a run can be retried, and the values that error messages name."""

    status: str
    attempt: int
    retry_limit: int
    published_version_id: UUID | None
    recovered_by_id: UUID | None
    erased_at: datetime | None
    refusals: Mapping[RetryStrategy, str | None]
    """The code of the error that refuses a retry with the strategy; None if it is allowed."""


def refused_by_quota(run: FromClause) -> ColumnElement[bool]:
    """Returns the condition that a row of `run` is a retry by hand that the quota refused: it never counts as a
    retry."""
    return and_(run.c.status == RunStatus.QUOTA_EXCEEDED, run.c.trigger_method == TriggerMethod.RETRY)


_HAS_LIVE_RETRY = exists().where(_retry.c.retry_of_id == _run.id, _retry.c.status.in_(sorted(LIVE)))
_HAS_RETRY = exists().where(_retry.c.retry_of_id == _run.id)
REPLACES_IN_PARENT: ColumnElement[bool] = and_(
    _run.parent_position.is_not(None),
    exists()
    .where(
        _parent.c.id == _run.parent_run_id,
        # A parent that a worker has just claimed may be about to fail: only a paused parent certainly waits.
        _parent.c.status == RunStatus.PAUSED,
        _step.run_id == _parent.c.id,
        _step.position == _run.parent_position,
        _step.attempts_count == _run.parent_attempt,
        _step.status == StepStatus.PAUSED,
    )
    .correlate(_runs),
    ~exists()
    .where(
        _other.c.parent_run_id == _run.parent_run_id,
        _other.c.parent_position == _run.parent_position,
        _other.c.parent_attempt == _run.parent_attempt,
        _other.c.item_index == _run.item_index,
        _other.c.attempt > _run.attempt,
        ~refused_by_quota(_other),
    )
    .correlate(_runs),
)
"""Condition: a retry of the run replaces it in a step of the parent. The parent's row must be locked."""


def refusal(
    strategy: RetryStrategy,
    step_name: ColumnElement[Any] | None = None,
    *,
    force: bool = False,
    has_input: bool = False,
) -> ColumnElement[str | None]:
    """Returns the code of the error that refuses to retry a row of WITH_FLOWS; null if it can be retried.

    A retry FROM_STEP must name a step that the run reached; without `step_name` this is not checked. With `force`, a
    run can be retried although it has a retry already. With `has_input`, the retry does not need the input of the run.
    """
    last: list[tuple[ColumnElement[bool], str]] = []
    if strategy in _OF_LATEST_VERSION:
        last.append((_flow.published_version_id.is_(None), FlowNotPublishedError.code))
    if strategy in KEEPING:
        last.append((_run.steps_purged_at.is_not(None), StepDataExpiredError.code))
    elif not has_input:
        last.append((_run.erased_at.is_not(None), StepDataExpiredError.code))
    if strategy is RetryStrategy.FROM_STEP and step_name is not None:
        last.append((~kept_steps.has_reached(step_name), StepNotReachedError.code))
    retried = (
        (_run.recovered_by_id.is_not(None), AlreadyRecoveredError.code),
        (_HAS_LIVE_RETRY, RetryUnderWayError.code),
        (_HAS_RETRY, RetriedSinceError.code),
    )
    return case(
        (_run.status.not_in(sorted(UNSUCCESSFUL)), RunNotRetryableError.code),
        *(() if force else retried),
        (_run.attempt > _project.retry_limit, RetryLimitReachedError.code),
        (_flow.enabled.is_(False), FlowDisabledError.code),
        *last,
        else_=None,
    )


def continues(strategy: RetryStrategy, step_name: str | None, failed_step_name: str | None) -> bool:
    """Returns True if a retry continues the operation of a run: its steps keep their idempotency keys, and the step
    that failed keeps the child runs that succeeded.

    A retry from a chosen step that had succeeded repeats that step.
    """
    if strategy is RetryStrategy.FROM_STEP:
        return step_name is not None and step_name == failed_step_name
    return strategy in KEEPING


def derived(
    strategy: RetryStrategy, new_id: ColumnElement[Any], step_name: ColumnElement[Any]
) -> dict[str, ColumnElement[Any]]:
    """Returns the columns of a retry with the ID `new_id` that depend on the retried run.

    `step_name` is the chosen step, and null for all strategies except FROM_STEP.
    """
    first_run_id: ColumnElement[Any] = cast(null(), Uuid())
    if strategy is RetryStrategy.FROM_STEP:
        first_run_id = case((_run.failed_step_name == step_name, func.coalesce(_run.first_run_id, _run.id)))
    elif strategy in KEEPING:
        first_run_id = func.coalesce(_run.first_run_id, _run.id)
    place = {name: case((REPLACES_IN_PARENT, _run[name]), else_=null()) for name in _PLACE}
    return {
        **place,
        "fail_parent_on_failure": case((REPLACES_IN_PARENT, _run.fail_parent_on_failure), else_=false()),
        "root_run_id": case((_run.parent_run_id.is_(None), new_id), else_=_run.root_run_id),
        "first_run_id": first_run_id,
        "retry_strategy": literal(strategy.value),
        "retry_step_name": step_name,
        "attempt": _run.attempt + 1,
    }


_PLACE = ("parent_position", "parent_attempt", "item_index")


def derived_from(run: LockedRun, strategy: RetryStrategy, new_id: UUID, step_name: str | None) -> dict[str, Any]:
    """Returns the values of `derived` for one locked run."""
    is_continued = continues(strategy, step_name, run.failed_step_name)
    return {
        **{name: getattr(run, name) if run.replaces_in_parent else None for name in _PLACE},
        "fail_parent_on_failure": run.replaces_in_parent and run.fail_parent_on_failure,
        "root_run_id": new_id if run.parent_run_id is None else run.root_run_id,
        "first_run_id": (run.first_run_id or run.id) if is_continued else None,
        "retry_strategy": strategy,
        "retry_step_name": step_name,
        "attempt": run.attempt + 1,
    }


def version(strategy: RetryStrategy) -> ColumnElement[UUID]:
    """Returns the flow version that a retry of a row of WITH_FLOWS executes."""
    return _flow.published_version_id if strategy in _OF_LATEST_VERSION else _run.flow_version_id


def message(strategy: RetryStrategy, run_id: str) -> str:
    """Returns the first status message of a retry. `run_id` is the ID of the retried run, as clients see it."""
    return f"Retry of {run_id} {_DESCRIPTIONS[strategy]}"


def message_sql(strategy: RetryStrategy, prefix: str, key: ColumnElement[UUID]) -> ColumnElement[str]:
    """Returns `message` in SQL, for the run whose UUID is in the column `key` and whose IDs begin with `prefix`."""
    return (
        literal(f"Retry of {prefix}_") + func.replace(cast(key, Text), "-", "") + literal(f" {_DESCRIPTIONS[strategy]}")
    )


def lock(
    uow: UnitOfWork,
    run_id: UUID,
    strategy: RetryStrategy,
    step_name: str | None = None,
    *,
    force: bool = False,
    has_input: bool = False,
) -> LockedRun | None:
    """Locks a run and its parent, and returns the run with whether and how it can be retried. See `refusal`."""
    links = families.links(uow.conn, run_id)
    if links is None:
        return None
    lock_for_retry(uow, [links.root_run_id] if links.parent_run_id else (), [run_id], links.parent_run_id)
    step = None if step_name is None else literal(step_name)
    judgement = (
        refusal(strategy, step, force=force, has_input=has_input).label("refusal"),
        version(strategy).label("version"),
        REPLACES_IN_PARENT.label("replaces_in_parent"),
    )
    query = select(*_runs.c, _project.retry_limit, *judgement).select_from(WITH_FLOWS)
    row: LockedRun | None = fetch_first(uow.conn, query.where(_run.id == run_id))
    return row


def lock_for_retry(uow: UnitOfWork, roots: Sequence[UUID], run_ids: Sequence[UUID], *parents: UUID | None) -> None:
    """Locks runs that are about to be retried, with their parents: a waiting parent keeps waiting until the commit."""
    families.lock(uow, roots, exclusive=False)
    families.lock_runs(uow, {*run_ids, *(parent for parent in parents if parent is not None)})


def newest_retry(conn: Connection, run_id: UUID) -> UUID:
    """Returns the newest run of the chain of retries of a run; the run itself if it has no retry."""
    return next(reversed(families.later_chain(conn, run_id)), run_id)


def delivered_retry(conn: Connection, run_id: UUID) -> UUID | None:
    """Returns the newest retry of a run, direct or through other retries, that is live or succeeded; None if there is
    none."""
    retries = list(families.later_chain(conn, run_id))
    if not retries:
        return None
    query = select(_run.id).where(any_of(_run.id, retries), _run.status.in_(sorted(LIVE | {RunStatus.SUCCEEDED})))
    return conn.execute(query.order_by(_run.attempt.desc(), _run.id.desc()).limit(1)).scalar()


def live_retry(conn: Connection, run_id: UUID) -> UUID:
    """Returns the live retry of a run, which must have one."""
    query = select(_run.id).where(_run.retry_of_id == run_id, _run.status.in_(sorted(LIVE)))
    retry_id: UUID = conn.execute(query.order_by(_run.id.desc()).limit(1)).scalar_one()
    return retry_id


def judgements_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, RetryJudgement]:
    """Returns for each run whether it can be retried with each strategy."""
    refusals = [refusal(strategy).label(strategy.value) for strategy in RetryStrategy]
    of_run = (_run.id, _run.status, _run.attempt, _run.recovered_by_id, _run.erased_at)
    query = (
        select(*of_run, _project.retry_limit, _flow.published_version_id, *refusals)
        .select_from(WITH_FLOWS)
        .where(_run.id.in_(run_ids))
    )
    return {
        run_id: RetryJudgement(
            status, attempt, limit, version_id, recovered_by, erased_at, dict(zip(RetryStrategy, codes, strict=True))
        )
        for run_id, status, attempt, recovered_by, erased_at, limit, version_id, *codes in conn.execute(query)
    }
