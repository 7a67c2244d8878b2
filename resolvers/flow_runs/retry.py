"""Retries runs, and decides whether they can be retried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import children, kept_steps, reads, retries, transitions
from db.runs.retries import LockedRun, RetryJudgement
from domain import ids, json_codec
from domain.actor import Actor, Origin
from domain.audit import AuditAction
from domain.enums import RetryStrategy, RunStatus, TriggerMethod
from domain.error_declarations import default_message
from domain.errors import (
    AlreadyRecoveredError,
    FlowDisabledError,
    FlowNotPublishedError,
    InvalidArgumentError,
    RetriedSinceError,
    RetryLimitReachedError,
    RetryUnderWayError,
    RunNotFoundError,
    RunNotRetryableError,
    StepDataExpiredError,
    StepNotReachedError,
    UserError,
)
from domain.flows.definition import unchanged_steps
from domain.ids import IdKind
from engine import run_creation
from engine.deliveries.callbacks import RunCallback
from engine.run_creation import Idempotency
from engine.steps.kind import InputChecker
from resolvers import authorize, values
from resolvers.context import Context, Viewer
from resolvers.flow_runs.start_check import StartCheck, definition, joined, step_names
from resolvers.outbound.endpoints import checked_callback

RUN_COLUMNS = frozenset({"flow_version_id", "failed_step_name"})
"""The columns of a run that `retryability` reads."""
_PLAIN_REFUSALS: Mapping[str, type[UserError]] = {
    error.code: error
    for error in (
        RunNotRetryableError,
        RetryLimitReachedError,
        StepDataExpiredError,
        StepNotReachedError,
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
_RECOVERY_DELETED = (
    "A retry of the run has succeeded, and was deleted since. Set `force` to retry the run again, or start a new run."
)
ERASED = "The input of the run was erased, and the outputs of its steps. Start a new run instead."
"""The message of STEP_DATA_EXPIRED for a run whose payloads were erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retryability(StartCheck):
    """Whether a run can be retried with a strategy, and which steps the retry would execute."""

    strategy: RetryStrategy
    run_id: UUID
    continues_loop: bool = False
    """True if the retry continues the step at which the run failed: a loop keeps its succeeded items."""


async def retryability(context: Context, run: RunRow, step_name: str | None) -> list[Retryability]:
    """Returns, for each strategy, whether `run`, a row with RUN_COLUMNS, can be retried.

    FROM_STEP is judged for `step_name`; by default, for the step at which the run ended.
    """
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run.id)
    reached = await context.loaders.load(kept_steps.reached_by_runs, run.id) or []
    own = await definition(context, run.flow_version_id)
    latest = await definition(context, judgement.published_version_id)
    live = await context.loaders.load(children.live_detached_by_runs, run.id) or 0
    chosen = next((step.position for step in reached if step.name == step_name), None)
    unchanged = unchanged_steps(own, latest)
    kept = [step for step in reached if step.is_kept]
    kept_from_chosen = [step for step in kept if chosen is None or step.position < chosen]
    still_kept = [step for step in kept if step.position < unchanged]
    names = step_names(own)
    has_newer = judgement.published_version_id not in (None, run.flow_version_id)
    failed = joined(
        has_newer and "A newer version of the flow is published. This retry executes the version of the run.",
        len(kept) == len(names)
        and "All steps have succeeded: this retry executes none, and only renders the run's output again.",
        live and f"{live} child runs that no step waits for are still live.",
    )
    again = joined(live and f"{live} child runs that no step waits for are still live: this retry starts others.")
    options = {
        RetryStrategy.FROM_FAILED_STEP: (failed, kept, names),
        RetryStrategy.ON_LATEST_VERSION: (again, [], step_names(latest)),
        RetryStrategy.FROM_FAILED_STEP_ON_LATEST_VERSION: (
            joined(
                not has_newer and "No newer version of the flow is published.",
                len(still_kept) < len(kept) and f"{len(kept) - len(still_kept)} steps that succeeded have changed.",
                again or False,
            ),
            still_kept,
            step_names(latest),
        ),
        RetryStrategy.FROM_STEP: (again, kept_from_chosen, names),
    }
    answers = []
    for strategy, (hints, reused, all_names) in options.items():
        code = judgement.refusals[strategy]
        if code is None and strategy is RetryStrategy.FROM_STEP and step_name is not None and chosen is None:
            code = StepNotReachedError.code
        if code is not None:
            message = refusal_message(code, judgement)
            answers.append(
                Retryability(
                    strategy=strategy,
                    run_id=run.id,
                    reason=code,
                    message=message,
                )
            )
            continue
        reused_names = [step.name for step in reused]
        rerun = [name for name in all_names if name not in set(reused_names)]
        answers.append(
            Retryability(
                strategy=strategy,
                run_id=run.id,
                continues_loop=retries.continues(strategy, step_name or run.failed_step_name, run.failed_step_name),
                reason=None,
                message=hints,
                reused=reused_names,
                rerun=rerun,
            )
        )
    return answers


def check_step_name(strategy: RetryStrategy, step_name: str | None) -> None:
    """Checks that the strategy FROM_STEP, and no other, has a step name.

    Raises:
        InvalidArgumentError: `stepName` is missing or is no stored text, or the strategy does not accept one.
    """
    if step_name is not None:
        values.check_storable("stepName", step_name)
    if strategy is RetryStrategy.FROM_STEP and not step_name:
        raise InvalidArgumentError("The strategy FROM_STEP needs `stepName`.")
    if strategy is not RetryStrategy.FROM_STEP and step_name is not None:
        raise InvalidArgumentError(f"Only the strategy FROM_STEP accepts `stepName`, not {strategy}.")


@dataclass(frozen=True, slots=True)
class RetryStart:
    """The strategy of a retry, with its step and `force`."""

    strategy: RetryStrategy
    step_name: str | None = None
    """The step at which a retry FROM_STEP begins."""
    force: bool = False
    """True if the retry may begin although the run has a retry already."""
    has_input: bool = False
    """True if the retry has an input of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """A client's request to retry a run."""

    run_id: str
    strategy: RetryStrategy
    step_name: str | None = None
    input_text: str | None = None
    """The input of the new run as JSON text; None: the input of the retried run."""
    force: bool = False
    idempotency_key: str | None = None
    callback_url: str | None = None
    """Where the events of the new run are sent; None: where those of the retried run are."""

    def idempotency(self) -> Idempotency:
        """Returns the idempotency key with the request's other arguments."""
        # Only given values are included, so that requests of before an argument existed keep their hashes.
        more = {"stepName": self.step_name, "input": json_codec.decode(self.input_text)} if self._is_changed else None
        arguments = ["retry", self.run_id, self.strategy, *(["force"] if self.force else [])]
        called = [self.callback_url] if self.callback_url else []
        return Idempotency.of(self.idempotency_key, [*arguments, *([more] if more else []), *called])

    @property
    def start(self) -> RetryStart:
        """Returns the start of the retry."""
        return RetryStart(self.strategy, self.step_name, self.force, self.input_text is not None)

    @property
    def _is_changed(self) -> bool:
        return self.step_name is not None or self.input_text is not None


async def retry(context: Context, request: RetryRequest) -> UUID:
    """Creates a run that retries another one; returns its ID.

    Tags, metadata, environment, parent and input are copied, unless the request changes the input. The retried run
    never changes. With `force`, a run that has a retry already can be retried again.

    Raises:
        InvalidIdError, InvalidArgumentError, RunNotFoundError, RunNotRetryableError, RetryUnderWayError,
        AlreadyRecoveredError, RetriedSinceError, RetryLimitReachedError, StepDataExpiredError, StepNotReachedError,
        FlowNotPublishedError, FlowDisabledError, InputInvalidError, IdempotencyConflictError,
        CallbackEndpointMissingError, SecretKeysMissingError.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
    """
    retried_id = ids.decode(IdKind.RUN, request.run_id)
    check_step_name(request.strategy, request.step_name)
    checkers: dict[UUID, InputChecker] = {}
    if request.input_text is not None:
        checkers = await _input_checkers(context, retried_id)
    return await run_creation.create_idempotent(
        context.database,
        _create_retry,
        context.viewer,
        context.origin,
        retried_id,
        request,
        request.idempotency(),
        checkers,
        checked_callback(context, request.callback_url),
    )


async def _input_checkers(context: Context, run_id: UUID) -> dict[UUID, InputChecker]:
    """Returns the versions of the flow that a retry of the run could execute."""
    run = await context.loaders.load(reads.by_ids, run_id, frozenset({"flow_version_id", "project_id"}))
    if run is None or not authorize.can_see(context.viewer, run):
        raise RunNotFoundError
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run_id)
    version_ids = {run.flow_version_id, judgement.published_version_id}
    return {key: await context.flows.get(key) for key in version_ids if key is not None}


def _create_retry(
    uow: UnitOfWork,
    viewer: Viewer,
    origin: Origin,
    retried_id: UUID,
    request: RetryRequest,
    idempotency: Idempotency,
    checkers: Mapping[UUID, InputChecker],
    callback: RunCallback | None,
) -> UUID:
    found = lock(uow, viewer, retried_id, request.start, idempotency)
    if isinstance(found, UUID):
        return found
    columns = new_columns(found, request.start, idempotency, origin.actor)
    new_id: UUID = columns["id"]
    message = retries.message(request.strategy, ids.encode(IdKind.RUN, found.id))
    if request.input_text is not None:
        if (checker := checkers.get(found.version)) is None:
            raise FlowNotPublishedError("A version of the flow was published at the same time. Try again.")
        accepted = checker.accept_input(json_codec.decode(request.input_text))
        # Another input is another operation: another service would refuse the old idempotency key, or answer for the
        # old input. And it is text: the parent's references to secrets do not hold for what a client writes.
        columns |= {"input": values.encode_input(accepted), "input_secrets": None, "first_run_id": None}
        message += ", with another input"
    transitions.create(uow, columns, message)
    if request.strategy in retries.KEEPING:
        kept_steps.copy_kept(uow, [new_id])
    if callback is not None:
        callback.add(uow, new_id, found.project_id)
    # A webhook retries by itself: `retriedBy` shows that.
    if origin.actor.is_client:
        details = {"retryOfId": ids.encode(IdKind.RUN, found.id), "strategy": request.strategy}
        if request.step_name is not None:
            details["stepName"] = request.step_name
        audit_events.record(uow, origin, AuditAction.RETRY, IdKind.RUN, new_id, found.project_id, details=details)
    return new_id


def lock(
    uow: UnitOfWork, viewer: Viewer, retried_id: UUID, start: RetryStart, idempotency: Idempotency
) -> LockedRun | UUID:
    """Locks and returns a run that may be retried; or returns the run that an earlier request with the same key
    created.

    Raises:
        RunNotFoundError, IdempotencyConflictError, QuotaExceededError, and the errors of a refused retry.
    """
    retried = _locked(uow, retried_id, start)
    if retried is None or not authorize.can_see(viewer, retried):
        raise RunNotFoundError
    earlier = idempotency.take(uow, retried.project_id)
    if earlier.run_id is not None:
        return earlier.run_id
    if earlier.refused_id is not None:
        # The quota refused this request before. The run that it created then is the last one of the chain.
        last_id = retries.newest_retry(uow.conn, retried_id)
        retried = _locked(uow, last_id, start)
        if retried is None:  # It was deleted just now.
            raise RunNotFoundError
    if retried.refusal is not None:
        raise _refusal(uow, retried.refusal, retried)
    return retried


def _locked(uow: UnitOfWork, run_id: UUID, start: RetryStart) -> LockedRun | None:
    return retries.lock(uow, run_id, start.strategy, start.step_name, force=start.force, has_input=start.has_input)


def new_columns(retried: LockedRun, start: RetryStart, idempotency: Idempotency, by: Actor) -> dict[str, Any]:
    """Returns the columns of a retry that the actor `by` requests."""
    columns = run_creation.with_defaults(
        {
            **{name: getattr(retried, name) for name in retries.COPIED_COLUMNS},
            **idempotency.values,
            "flow_version_id": retried.version,
            "trigger_method": TriggerMethod.RETRY,
            "retry_of_id": retried.id,
            "retried_by": by.text,
        }
    )
    return columns | retries.derived_from(retried, start.strategy, columns["id"], start.step_name)


def _refusal(uow: UnitOfWork, code: str, run: LockedRun) -> UserError:
    """Returns the error for a code of `retries.refusal`."""
    if code == AlreadyRecoveredError.code and run.recovered_by_id is not None:
        if reads.by_ids(uow.conn, [run.recovered_by_id], frozenset()):
            return AlreadyRecoveredError(run.recovered_by_id)
        return RunNotRetryableError(_RECOVERY_DELETED)
    if code == RetryUnderWayError.code:
        return RetryUnderWayError(retries.live_retry(uow.conn, run.id))
    if code == RetriedSinceError.code:
        return RetriedSinceError(retries.newest_retry(uow.conn, run.id))
    return _PLAIN_REFUSALS[code](refusal_message(code, run))


def refusal_message(code: str, run: RetryJudgement | LockedRun) -> str:
    """Returns the message of the error for a code of `retries.refusal`."""
    if code == RunNotRetryableError.code:
        if run.status == RunStatus.SUCCEEDED:
            return (
                "The run succeeded. Only runs that ended without success can be retried; use `rerun` to execute "
                "it again."
            )
        return f"The run is {run.status}. Only runs that ended without success can be retried."
    if code == RetryLimitReachedError.code:
        return (
            f"The run is retry {run.attempt - 1} of its chain, and the project's `retryLimit` is {run.retry_limit}."
            " Start a new run instead."
        )
    if code == StepDataExpiredError.code and run.erased_at is not None:
        return ERASED
    return default_message(_REFUSALS[code])
