"""Retries: the rule that says whether a run can be retried, what a retry carries over, and the step results it keeps.

The rule is SQL, so that one run, the runs of a page and those of a bulk operation are judged alike.

A retry of a child run takes the place of that child while the step of the parent still waits for it: the parent waits
for the retry, and its result is that of the item. Otherwise the retry is detached: whatever becomes of it, the parent
does not change.
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
    Uuid,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
)

from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project, RunFile, RunFileReference, StepResult
from db.models.types import table
from db.row_types import RunRow
from db.runs import families
from db.sql.any_of import any_of
from db.sql.rows import fetch_first
from domain.definition import MAX_STEPS
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
)
from domain.runs.state_machine import FINISHED, KEPT, LIVE, UNSUCCESSFUL

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c
_steps = table(StepResult)
_step = _steps.c
_files = table(RunFile)
_references = table(RunFileReference)
_retry = _runs.alias("later_retry")
_parent = _runs.alias("waiting_parent")
_other = _runs.alias("other_holder")

CONTINUING = frozenset({RetryStrategy.FROM_FAILED_STEP})
"""Strategies that continue the operation of the retried run: its steps keep their idempotency keys."""

CARRIED_OVER = (
    "project_id",
    "flow_id",
    "environment",
    "scheduled_for",
    "parent_run_id",
    "depth",
    "external_id",
    "source",
    "tags",
    "metadata",
    "input",
    "input_secrets",
)
"""Columns that a retry copies from the run that it retries. `derived` has those that depend on it."""
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
    takes_place: bool
    """True if the retry takes the place of the run in a step of the parent that still waits for it."""


@dataclass(frozen=True, slots=True)
class RetryJudgement:
    """Whether a run can be retried, and the values that error messages name."""

    status: str
    attempt: int
    retry_limit: int
    published_version_id: UUID | None
    recovered_by_id: UUID | None
    refusals: Mapping[RetryStrategy, str | None]
    """The code of the error that refuses a retry with the strategy; None if it is allowed."""


def refused_by_quota(run: FromClause) -> ColumnElement[bool]:
    """Returns the condition that a row of `run` is a retry by hand that the quota refused: it never counts as a try."""
    return and_(run.c.status == RunStatus.QUOTA_EXCEEDED, run.c.trigger_method == TriggerMethod.RETRY)


_HAS_LIVE_RETRY = exists().where(_retry.c.retry_of_id == _run.id, _retry.c.status.in_(sorted(LIVE)))
_HAS_RETRY = exists().where(_retry.c.retry_of_id == _run.id)
TAKES_PLACE: ColumnElement[bool] = and_(
    _run.parent_position.is_not(None),
    exists()
    .where(
        _parent.c.id == _run.parent_run_id,
        # A parent that a worker has just claimed may be about to fail: only while it is paused it is sure to wait.
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
"""Condition: a retry of the run takes its place in a step of the parent. The parent's row must be locked."""


def refusal(strategy: RetryStrategy, *, force: bool = False) -> ColumnElement[str | None]:
    """Returns the code of the error that refuses to retry a row of WITH_FLOWS; null if it can be retried.

    With `force`, a run can be retried although it has a retry already.
    """
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        last = (_run.steps_purged_at.is_not(None), StepDataExpiredError.code)
    else:
        last = (_flow.published_version_id.is_(None), FlowNotPublishedError.code)
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
        last,
        else_=None,
    )


def derived(strategy: RetryStrategy, new_id: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Returns the columns of a retry with the ID `new_id` that depend on the run that it retries."""
    continues = strategy in CONTINUING
    place = {name: case((TAKES_PLACE, _run[name]), else_=null()) for name in _PLACE}
    return {
        **place,
        "fail_parent_on_failure": case((TAKES_PLACE, _run.fail_parent_on_failure), else_=false()),
        "root_run_id": case((_run.parent_run_id.is_(None), new_id), else_=_run.root_run_id),
        "first_run_id": func.coalesce(_run.first_run_id, _run.id) if continues else cast(null(), Uuid()),
        "retry_strategy": literal(strategy.value),
        "attempt": _run.attempt + 1,
    }


_PLACE = ("parent_position", "parent_attempt", "item_index")


def derived_from(run: LockedRun, strategy: RetryStrategy, new_id: UUID) -> dict[str, Any]:
    """Returns what `derived` computes, for one locked run."""
    return {
        **{name: getattr(run, name) if run.takes_place else None for name in _PLACE},
        "fail_parent_on_failure": run.takes_place and run.fail_parent_on_failure,
        "root_run_id": new_id if run.parent_run_id is None else run.root_run_id,
        "first_run_id": (run.first_run_id or run.id) if strategy in CONTINUING else None,
        "retry_strategy": strategy,
        "attempt": run.attempt + 1,
    }


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


def lock(uow: UnitOfWork, run_id: UUID, strategy: RetryStrategy, *, force: bool = False) -> LockedRun | None:
    """Returns a run with whether and how it can be retried. The run is locked, and its parent."""
    links = families.links(uow.conn, run_id)
    if links is None:
        return None
    lock_for_retry(uow, [links.root_run_id] if links.parent_run_id else (), [run_id], links.parent_run_id)
    judgement = (
        refusal(strategy, force=force).label("refusal"),
        version(strategy).label("version"),
        TAKES_PLACE.label("takes_place"),
    )
    query = select(*_runs.c, _project.retry_limit, *judgement).select_from(WITH_FLOWS)
    row: LockedRun | None = fetch_first(uow.conn, query.where(_run.id == run_id))
    return row


def lock_for_retry(uow: UnitOfWork, roots: Sequence[UUID], run_ids: Sequence[UUID], *parents: UUID | None) -> None:
    """Locks runs that are about to be retried, with their parents: a parent that waits goes on waiting meanwhile."""
    families.lock(uow, roots, exclusive=False)
    families.lock_runs(uow, {*run_ids, *(parent for parent in parents if parent is not None)})


def newest_retry(conn: Connection, run_id: UUID) -> UUID:
    """Returns the newest run of the chain of retries of a run; the run itself if it has none."""
    return next(reversed(families.later_chain(conn, run_id)), run_id)


def live_retry(conn: Connection, run_id: UUID) -> UUID:
    """Returns the live retry of a run, which must have one."""
    query = select(_run.id).where(_run.retry_of_id == run_id, _run.status.in_(sorted(LIVE)))
    retry_id: UUID = conn.execute(query.order_by(_run.id.desc()).limit(1)).scalar_one()
    return retry_id


def judgements_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, RetryJudgement]:
    """Returns for each run whether it can be retried with each strategy."""
    refusals = [refusal(strategy).label(strategy.value) for strategy in RetryStrategy]
    columns = (_run.id, _run.status, _run.attempt, _project.retry_limit, _flow.published_version_id)
    query = select(*columns, _run.recovered_by_id, *refusals).select_from(WITH_FLOWS).where(_run.id.in_(run_ids))
    return {
        run_id: RetryJudgement(
            status, attempt, limit, version_id, recovered_by, dict(zip(RetryStrategy, codes, strict=True))
        )
        for run_id, status, attempt, limit, version_id, recovered_by, *codes in conn.execute(query)
    }


def kept_counts_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of steps of each run whose results a retry from the failed step keeps."""
    query = select(_step.run_id, func.count()).where(_step.run_id.in_(run_ids), _kept())
    return dict(conn.execute(query.group_by(_step.run_id)).all())


def copy_kept(uow: UnitOfWork, retry_ids: Sequence[UUID]) -> None:
    """Copies to retries the step results that they keep, marked with the run that executed the step, and refers to the
    files that these steps produced.

    No event is appended: a retry has these results from its beginning.
    """
    uow.conn.execute(_INSERT_KEPT, {"run_ids": retry_ids})
    uow.conn.execute(_REFER_TO_FILES, {"run_ids": retry_ids})


def _kept() -> ColumnElement[bool]:
    """Returns the condition that a step has succeeded, or was skipped, before the one at which its run ended.

    A step that failed without ending its run is executed again.
    """
    return and_(_step.position < _ended_at(_step.run_id, _steps), _step.status.in_(sorted(KEPT)))


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
    of_run = and_(
        _step.run_id == source.c.retry_of_id,
        _step.position < source.c.kept_before,
        _step.status.in_(sorted(KEPT)),
    )
    rows = select(source.c.id, executed_by, *copied).join_from(source, _steps, of_run)
    return insert(_steps).from_select(["run_id", "reused_from_id", *(column.name for column in copied)], rows)


_INSERT_KEPT = _insert_kept()


def _refer_to_files() -> Insert:
    retry = _runs.alias("retry")
    keeps = and_(_step.run_id == retry.c.id, _step.name == _files.c.step_name, _step.reused_from_id.is_not(None))
    of_retry = (any_of(retry.c.id, "run_ids"), _files.c.purged_at.is_(None))
    own = select(retry.c.id.label("run_id"), _files.c.id.label("file_id"))
    own = own.join_from(retry, _files, _files.c.run_id == retry.c.retry_of_id).join(_steps, keeps).where(*of_retry)
    referred = select(retry.c.id, _references.c.file_id)
    referred = referred.join_from(retry, _references, _references.c.run_id == retry.c.retry_of_id)
    referred = referred.join(_files, _files.c.id == _references.c.file_id).join(_steps, keeps).where(*of_retry)
    return insert(_references).from_select(["run_id", "file_id"], own.union(referred))


_REFER_TO_FILES = _refer_to_files()
