"""Retries runs, and says whether they can be retried."""

from dataclasses import dataclass
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
from engine.run_creation import Idempotency
from resolvers import authorize
from resolvers.context import Context, Viewer

RUN_COLUMNS = frozenset({"flow_version_id"})
"""The columns of a run that `retryability` reads."""
_FIXED_REFUSALS: dict[str, type[UserError]] = {
    error.code: error for error in (StepDataExpiredError, FlowDisabledError, FlowNotPublishedError)
}
"""The errors whose message does not depend on the run."""


@dataclass(frozen=True, slots=True)
class Retryability:
    """Whether a run can be retried with a strategy, and what the retry would execute."""

    strategy: RetryStrategy
    refusal: UserError | None
    """The error that `retry` raises; None: the run can be retried."""
    reused_steps: int
    """Steps whose results the retry keeps; 0 if it is refused."""
    rerun_steps: int
    """Steps that the retry executes; 0 if it is refused."""


async def retryability(context: Context, run: RunRow) -> list[Retryability]:
    """Returns for each strategy whether `run`, a row with RUN_COLUMNS, can be retried."""
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run.id)
    kept = await context.loaders.load(retries.kept_counts_by_runs, run.id) or 0
    own = await _step_count(context, run.flow_version_id)
    latest = await _step_count(context, judgement.published_version_id)
    return [
        _retryability(RetryStrategy.FROM_FAILED_STEP, judgement, reused=kept, rerun=own - kept),
        _retryability(RetryStrategy.ON_LATEST_VERSION, judgement, reused=0, rerun=latest),
    ]


async def retry(context: Context, run_id: str, strategy: RetryStrategy, idempotency_key: str | None) -> UUID:
    """Creates a run that retries `run_id`; returns its ID.

    Tags, metadata, environment, parent and input carry over. The retried run never changes.

    Raises:
        InvalidIdError, InvalidArgumentError, RunNotFoundError, RunNotRetryableError, RetryLimitReachedError,
        StepDataExpiredError, FlowNotPublishedError, FlowDisabledError, IdempotencyConflictError.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
    """
    retried_id = ids.decode(IdKind.RUN, run_id)
    idempotency = run_creation.Idempotency.of(idempotency_key, ["retry", run_id, strategy])
    return await run_creation.create_idempotent(
        context.database, _create_retry, context.viewer, retried_id, strategy, idempotency
    )


def _create_retry(
    uow: UnitOfWork, viewer: Viewer, retried_id: UUID, strategy: RetryStrategy, idempotency: Idempotency
) -> UUID:
    retried = retries.lock(uow, retried_id, strategy)
    if retried is None or not authorize.can_see(viewer, retried):
        raise RunNotFoundError
    if (earlier := idempotency.earlier_run(uow.conn, retried.project_id)) is not None:
        return earlier
    if retried.refusal is not None:
        raise _refusal(retried.refusal, retried)
    columns = run_creation.with_defaults(
        {
            **{name: getattr(retried, name) for name in retries.CARRIED_OVER},
            **idempotency.values,
            "flow_version_id": retried.version,
            "trigger_method": TriggerMethod.RETRY,
            "retry_of_id": retried.id,
            "attempt": retried.attempt + 1,
        }
    )
    if retried.parent_run_id is not None:
        columns["root_run_id"] = retried.root_run_id
    transitions.create(uow, columns, retries.message(strategy, ids.encode(IdKind.RUN, retried.id)))
    new_id: UUID = columns["id"]
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        retries.copy_kept(uow.conn, [new_id])
    return new_id


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
    """Returns the error with a code of `retries.refusal`."""
    if code == RunNotRetryableError.code:
        state = "succeeded" if run.status == RunStatus.SUCCEEDED else f"is {run.status}"
        return RunNotRetryableError(f"The run {state}. Only runs that ended without success can be retried.")
    if code == RetryLimitReachedError.code:
        return RetryLimitReachedError(
            f"The run is retry {run.attempt - 1} of its chain, and the project's `retryLimit` is {run.retry_limit}."
            " Start a new run instead."
        )
    return _FIXED_REFUSALS[code]()
