"""Retries: whether a run can be retried, and the new run that does it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows, projects, runs, steps, transitions
from db.rows import AnyRow
from domain import ids
from domain.errors import (
    FlowDisabledError,
    FlowNotPublishedError,
    RetryLimitReachedError,
    RunNotFoundError,
    RunNotRetryableError,
    StepDataExpiredError,
    UserError,
)
from domain.ids import IdKind
from domain.states import LIVE, RetryStrategy, RunStatus, TriggerMethod
from engine import creation
from resolvers import authorize
from resolvers.context import Context

RUN_COLUMNS = frozenset({"status", "attempt", "steps_purged_at", "project_id", "flow_id", "flow_version_id"})
"""Of a run, what decides whether it can be retried."""
_FLOW_COLUMNS = frozenset({"enabled", "published_version_id"})
_CARRIED_OVER = (
    "project_id",
    "flow_id",
    "environment",
    "scheduled_for",
    "parent_run_id",
    "root_run_id",
    "fail_parent_on_failure",
    "depth",
    "external_id",
    "source",
    "tags",
    "metadata",
    "input",
)


@dataclass(frozen=True, slots=True)
class Retryability:
    """Whether a run can be retried with a strategy, and what that would do."""

    strategy: RetryStrategy
    refusal: UserError | None
    reused_steps: int
    rerun_steps: int


async def retryability(context: Context, run: AnyRow) -> list[Retryability]:
    """For each strategy, whether `run` can be retried; the row has RUN_COLUMNS."""
    flow = await context.loaders.load(flows.by_ids, run.flow_id, _FLOW_COLUMNS)
    project = await context.loaders.load(projects.by_ids, run.project_id, frozenset({"retry_limit"}))
    assert flow is not None
    assert project is not None
    kept = await context.loaders.load(steps.kept_counts_by_runs, run.id) or 0
    own = await _step_count(context, run.flow_version_id)
    latest = await _step_count(context, flow.published_version_id)
    return [
        _judged(RetryStrategy.FROM_FAILED_STEP, run, flow, project.retry_limit, reused=kept, rerun=own - kept),
        _judged(RetryStrategy.ON_LATEST_VERSION, run, flow, project.retry_limit, reused=0, rerun=latest),
    ]


async def retry(context: Context, run_id: str, strategy: RetryStrategy, idempotency_key: str | None) -> UUID:
    """Start a new run that retries `run_id`; returns its key.

    Tags, metadata, environment, parent and input carry over. The old run never changes.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotRetryableError, RetryLimitReachedError, StepDataExpiredError,
        FlowNotPublishedError, FlowDisabledError, IdempotencyConflictError,
        QuotaExceededError (the new run was written all the same).
    """
    key = ids.decode(IdKind.RUN, run_id)
    request = creation.Idempotency.of(idempotency_key, ["retry", run_id, strategy])

    def work(conn: Any) -> UUID:
        old = runs.for_retry(conn, key)
        if old is None or not authorize.sees(context.viewer, old):
            raise RunNotFoundError
        if (done := request.earlier_run(conn, old.project_id)) is not None:
            return done
        flow = flows.by_ids(conn, [old.flow_id], _FLOW_COLUMNS)[old.flow_id]
        refusal = _refusal(strategy, old, flow, old.retry_limit)
        if refusal is not None:
            raise refusal
        new = creation.stamped({name: getattr(old, name) for name in _CARRIED_OVER} | _values(strategy, old, flow))
        if old.parent_run_id is None:
            new["root_run_id"] = new["id"]
        transitions.create(conn, new | request.values, _message(run_id, strategy))
        if strategy is RetryStrategy.FROM_FAILED_STEP:
            steps.copy_kept(conn, old.id, new["id"])
        created: UUID = new["id"]
        return created

    return await creation.write_once(context.database, work)


def _values(strategy: RetryStrategy, old: AnyRow, flow: AnyRow) -> dict[str, Any]:
    same_version = strategy is RetryStrategy.FROM_FAILED_STEP
    return {
        "flow_version_id": old.flow_version_id if same_version else flow.published_version_id,
        "trigger_method": TriggerMethod.RETRY,
        "retry_of_id": old.id,
        "attempt": old.attempt + 1,
    }


def _message(run_id: str, strategy: RetryStrategy) -> str:
    how = "from its failed step" if strategy is RetryStrategy.FROM_FAILED_STEP else "on the latest version"
    return f"Retry of {run_id} {how}"


async def _step_count(context: Context, version_id: UUID | None) -> int:
    if version_id is None:
        return 0
    version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"step_count"}))
    return version.step_count if version else 0


def _judged(strategy: RetryStrategy, run: AnyRow, flow: AnyRow, limit: int, *, reused: int, rerun: int) -> Retryability:
    refusal = _refusal(strategy, run, flow, limit)
    return Retryability(strategy, refusal, *((0, 0) if refusal else (reused, rerun)))


def _refusal(strategy: RetryStrategy, run: AnyRow, flow: AnyRow, limit: int) -> UserError | None:
    """Why `run` cannot be retried; None when it can."""
    if run.status in LIVE:
        return RunNotRetryableError(f"The run is {run.status}; only runs that ended without success can be retried.")
    if run.status == RunStatus.SUCCEEDED:
        return RunNotRetryableError("The run succeeded; only runs that ended without success can be retried.")
    if run.attempt > limit:
        return RetryLimitReachedError(f"This is retry {run.attempt - 1} of its chain; the project allows {limit}.")
    if not flow.enabled:
        return FlowDisabledError()
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        return StepDataExpiredError() if run.steps_purged_at is not None else None
    return FlowNotPublishedError() if flow.published_version_id is None else None
