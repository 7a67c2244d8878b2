"""Retries runs, and says whether they can be retried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from db import flows
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import children, retries, transitions
from db.runs.retries import LockedRun, RetryJudgement
from domain import ids
from domain.enums import RetryStrategy, RunStatus, TriggerMethod
from domain.errors import (
    AlreadyRecoveredError,
    FlowDisabledError,
    FlowNotPublishedError,
    RetriedSinceError,
    RetryLimitReachedError,
    RetryUnderWayError,
    RunNotFoundError,
    RunNotRetryableError,
    StepDataExpiredError,
    UserError,
    default_message,
)
from domain.ids import IdKind
from engine import run_creation
from engine.run_creation import Idempotency
from resolvers import authorize
from resolvers.context import Context, Viewer

RUN_COLUMNS = frozenset({"flow_version_id"})
"""The columns of a run that `retryability` reads."""
_PLAIN_REFUSALS: Mapping[str, type[UserError]] = {
    error.code: error
    for error in (
        RunNotRetryableError,
        RetryLimitReachedError,
        StepDataExpiredError,
        FlowDisabledError,
        FlowNotPublishedError,
    )
}
"""The errors that consist of code and message, by code."""
_REFUSALS: Mapping[str, type[UserError]] = {
    **_PLAIN_REFUSALS,
    **{error.code: error for error in (AlreadyRecoveredError, RetryUnderWayError, RetriedSinceError)},
}
"""The errors that refuse a retry, by code. The last three name another run."""


@dataclass(frozen=True, slots=True)
class Retryability:
    """Whether a run can be retried with a strategy, and what the retry would execute."""

    strategy: RetryStrategy
    reason: str | None
    """The code of the error that `retry` raises; None: the run can be retried."""
    message: str | None
    """Why the run cannot be retried, or else what its retry cannot mend or would repeat; None: nothing of that."""
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
    live = await context.loaders.load(children.live_detached_by_runs, run.id) or 0
    has_newer = judgement.published_version_id not in (None, run.flow_version_id)
    failed = _hints(
        has_newer and "A newer version of the flow is published. This retry executes the version of the run.",
        kept == own and "All steps have succeeded: this retry executes none, and only renders the run's output again.",
        live and f"{live} child runs that no step waits for are still live.",
    )
    again = _hints(live and f"{live} child runs that no step waits for are still live: this retry starts others.")
    return [
        _retryability(RetryStrategy.FROM_FAILED_STEP, judgement, failed, reused=kept, rerun=own - kept),
        _retryability(RetryStrategy.ON_LATEST_VERSION, judgement, again, reused=0, rerun=latest),
    ]


def _hints(*hints: str | Literal[False, 0]) -> str | None:
    return " ".join(hint for hint in hints if hint) or None


async def retry(
    context: Context, run_id: str, strategy: RetryStrategy, idempotency_key: str | None, *, force: bool = False
) -> UUID:
    """Creates a run that retries `run_id`; returns its ID.

    Tags, metadata, environment, parent and input carry over. The retried run never changes. With `force`, a run that
    has a retry already is retried once more.

    Raises:
        InvalidIdError, InvalidArgumentError, RunNotFoundError, RunNotRetryableError, RetryUnderWayError,
        AlreadyRecoveredError, RetriedSinceError, RetryLimitReachedError, StepDataExpiredError, FlowNotPublishedError,
        FlowDisabledError, IdempotencyConflictError.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
    """
    retried_id = ids.decode(IdKind.RUN, run_id)
    idempotency = run_creation.Idempotency.of(
        idempotency_key, ["retry", run_id, strategy, *(["force"] if force else [])]
    )
    return await run_creation.create_idempotent(
        context.database, _create_retry, context.viewer, retried_id, strategy, idempotency, force=force
    )


def _create_retry(
    uow: UnitOfWork,
    viewer: Viewer,
    retried_id: UUID,
    strategy: RetryStrategy,
    idempotency: Idempotency,
    *,
    force: bool,
) -> UUID:
    retried = retries.lock(uow, retried_id, strategy, force=force)
    if retried is None or not authorize.can_see(viewer, retried):
        raise RunNotFoundError
    earlier = idempotency.take(uow, retried.project_id)
    if earlier.run_id is not None:
        return earlier.run_id
    if earlier.refused_id is not None:
        # This request was refused by the quota before. What it made then is the last run of the chain.
        last_id = retries.newest_retry(uow.conn, retried_id)
        retried = retries.lock(uow, last_id, strategy, force=force)
        assert retried is not None  # runs are never deleted
    if retried.refusal is not None:
        raise _refusal(uow, retried.refusal, retried)
    columns = run_creation.with_defaults(
        {
            **{name: getattr(retried, name) for name in retries.CARRIED_OVER},
            **idempotency.values,
            "flow_version_id": retried.version,
            "trigger_method": TriggerMethod.RETRY,
            "retry_of_id": retried.id,
        }
    )
    new_id: UUID = columns["id"]
    columns |= retries.derived_from(retried, strategy, new_id)
    transitions.create(uow, columns, retries.message(strategy, ids.encode(IdKind.RUN, retried.id)))
    if strategy in retries.CONTINUING:
        retries.copy_kept(uow, [new_id])
    return new_id


async def _step_count(context: Context, version_id: UUID | None) -> int:
    if version_id is None:
        return 0
    version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"step_count"}))
    return version.step_count if version else 0


def _retryability(
    strategy: RetryStrategy, judgement: RetryJudgement, hints: str | None, *, reused: int, rerun: int
) -> Retryability:
    code = judgement.refusals[strategy]
    if code is None:
        return Retryability(strategy, None, hints, reused, rerun)
    return Retryability(strategy, code, _refusal_message(code, judgement), 0, 0)


def _refusal(uow: UnitOfWork, code: str, run: LockedRun) -> UserError:
    """Returns the error with a code of `retries.refusal`."""
    if code == AlreadyRecoveredError.code and run.recovered_by_id is not None:
        return AlreadyRecoveredError(run.recovered_by_id)
    if code == RetryUnderWayError.code:
        return RetryUnderWayError(retries.live_retry(uow.conn, run.id))
    if code == RetriedSinceError.code:
        return RetriedSinceError(retries.newest_retry(uow.conn, run.id))
    return _PLAIN_REFUSALS[code](_refusal_message(code, run))


def _refusal_message(code: str, run: RetryJudgement | LockedRun) -> str:
    """Returns the message of the error with a code of `retries.refusal`."""
    if code == RunNotRetryableError.code:
        state = "succeeded" if run.status == RunStatus.SUCCEEDED else f"is {run.status}"
        return f"The run {state}. Only runs that ended without success can be retried."
    if code == RetryLimitReachedError.code:
        return (
            f"The run is retry {run.attempt - 1} of its chain, and the project's `retryLimit` is {run.retry_limit}."
            " Start a new run instead."
        )
    return default_message(_REFUSALS[code])
