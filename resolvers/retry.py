"""Retries: whether a run can be retried, and the new run that does it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import retries, transitions
from db.runs.retries import LockedRun, RetryJudgement
from domain import ids
from domain.enums import RetryStrategy, RunStatus, TriggerMethod
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
from engine import run_creation
from resolvers import authorize
from resolvers.context import Context

RUN_COLUMNS = frozenset({"flow_version_id"})
"""Of a run, what `retryability` reads."""
_PLAIN: dict[str, type[UserError]] = {
    error.code: error for error in (StepDataExpiredError, FlowDisabledError, FlowNotPublishedError)
}


@dataclass(frozen=True, slots=True)
class Retryability:
    """Whether a run can be retried with a strategy, and what that would do."""

    strategy: RetryStrategy
    refusal: UserError | None
    reused_steps: int
    rerun_steps: int


async def retryability(context: Context, run: RunRow) -> list[Retryability]:
    """For each strategy, whether `run` can be retried; the row has RUN_COLUMNS."""
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run.id)
    kept = await context.loaders.load(retries.kept_counts_by_runs, run.id) or 0
    own = await _step_count(context, run.flow_version_id)
    latest = await _step_count(context, judgement.published_version_id)
    return [
        _retryability(RetryStrategy.FROM_FAILED_STEP, judgement, reused=kept, rerun=own - kept),
        _retryability(RetryStrategy.ON_LATEST_VERSION, judgement, reused=0, rerun=latest),
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
    request = run_creation.Idempotency.of(idempotency_key, ["retry", run_id, strategy])

    def work(uow: UnitOfWork) -> UUID:
        old = retries.lock(uow, key, strategy)
        if old is None or not authorize.can_see(context.viewer, old):
            raise RunNotFoundError
        if (done := request.earlier_run(uow.conn, old.project_id)) is not None:
            return done
        if old.refusal is not None:
            raise _refusal(old.refusal, old)
        new = run_creation.with_defaults({name: getattr(old, name) for name in retries.CARRIED_OVER} | _values(old))
        if old.parent_run_id is not None:
            new["root_run_id"] = old.root_run_id
        transitions.create(uow, new | request.values, retries.message(strategy, run_id))
        if strategy is RetryStrategy.FROM_FAILED_STEP:
            retries.copy_kept(uow.conn, [new["id"]])
        created: UUID = new["id"]
        return created

    return await run_creation.create_idempotent(context.database, work)


def _values(old: LockedRun) -> dict[str, Any]:
    return {
        "flow_version_id": old.version,
        "trigger_method": TriggerMethod.RETRY,
        "retry_of_id": old.id,
        "attempt": old.attempt + 1,
    }


async def _step_count(context: Context, version_id: UUID | None) -> int:
    if version_id is None:
        return 0
    version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"step_count"}))
    return version.step_count if version else 0


def _retryability(strategy: RetryStrategy, judgement: RetryJudgement, *, reused: int, rerun: int) -> Retryability:
    code = judgement.refusals[strategy]
    refusal = None if code is None else _refusal(code, judgement)
    return Retryability(strategy, refusal, *((0, 0) if refusal else (reused, rerun)))


def _refusal(code: str, run: RetryJudgement | LockedRun) -> UserError:
    """The error that a code of `retries.refusal` stands for."""
    if code == RunNotRetryableError.code:
        state = "succeeded" if run.status == RunStatus.SUCCEEDED else f"is {run.status}"
        return RunNotRetryableError(f"The run {state}; only runs that ended without success can be retried.")
    if code == RetryLimitReachedError.code:
        message = f"This is retry {run.attempt - 1} of its chain; the project allows {run.retry_limit}."
        return RetryLimitReachedError(message)
    return _PLAIN[code]()
