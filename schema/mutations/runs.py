"""Mutations of single runs."""

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db.runs import reads
from domain import ids
from domain.errors import (
    AlreadyRecoveredError,
    CallbackEndpointMissingError,
    FlowDisabledError,
    FlowNotFoundError,
    FlowNotPublishedError,
    IdempotencyConflictError,
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputInvalidError,
    InputRequestNotFoundError,
    InputTooLargeError,
    ParentNotLiveError,
    QuotaExceededError,
    RetriedSinceError,
    RetryLimitReachedError,
    RetryUnderWayError,
    RunNotCancellableError,
    RunNotFoundError,
    RunNotPausedError,
    RunNotRetryableError,
    SecretKeysMissingError,
    StepDataExpiredError,
    StepNotReachedError,
)
from domain.ids import IdKind
from domain.runs.state_machine import FINAL, STOPS
from resolvers import values
from resolvers.flow_runs import cancel, resume, retry, start, waiting
from schema.arguments import argument
from schema.enums import RetryStrategy, Role
from schema.fields import Info, columns_of
from schema.inputs.runs import CALLBACK_URL, StartRunInput
from schema.mutations.declaration import mutation, result, success
from schema.types.flow_run import FlowRun, StepResult


@success
class StartRunSuccess:
    """The run was started."""

    run: FlowRun = strawberry.field(description="The new run, or the earlier one with the same idempotency key.")


@success
class RetrySuccess:
    """The retry was started."""

    run: FlowRun = strawberry.field(description="The new run, or the earlier one with the same idempotency key.")


@success
class CancelSuccess:
    """The run was cancelled."""

    run: FlowRun = strawberry.field(description="The run that the request names.")
    cancelled_run_ids: list[strawberry.ID] = strawberry.field(
        description="IDs of all runs that were cancelled: the named run if it was live, then its live descendants."
    )


@success
class ResumeRunSuccess:
    """The response was accepted, and the run continues."""

    run: FlowRun = strawberry.field(description="The run in its current state.")
    step: StepResult = strawberry.field(description="The step that requested the input.")


StartRunResult = Annotated[
    StartRunSuccess
    | FlowNotFoundError
    | FlowNotPublishedError
    | FlowDisabledError
    | InputInvalidError
    | InputTooLargeError
    | RunNotFoundError
    | ParentNotLiveError
    | QuotaExceededError
    | CallbackEndpointMissingError
    | SecretKeysMissingError
    | IdempotencyConflictError,
    result("StartRunResult", "The new run, or an error that says why it was not started."),
]
RetryResult = Annotated[
    RetrySuccess
    | RunNotFoundError
    | RunNotRetryableError
    | RetryUnderWayError
    | AlreadyRecoveredError
    | RetriedSinceError
    | RetryLimitReachedError
    | StepDataExpiredError
    | StepNotReachedError
    | InputInvalidError
    | InputTooLargeError
    | FlowNotPublishedError
    | FlowDisabledError
    | QuotaExceededError
    | CallbackEndpointMissingError
    | SecretKeysMissingError
    | IdempotencyConflictError,
    result("RetryResult", "The new run, or an error that says why the run was not retried."),
]
CancelResult = Annotated[
    CancelSuccess | RunNotFoundError | RunNotCancellableError,
    result("CancelResult", "The cancelled run, or an error that says why it was not cancelled."),
]
ResumeRunResult = Annotated[
    ResumeRunSuccess
    | RunNotFoundError
    | RunNotPausedError
    | InputRequestNotFoundError
    | InputAlreadyAnsweredError
    | InputInvalidError
    | InputTooLargeError
    | InputExpiredError
    | IdempotencyConflictError,
    result("ResumeRunResult", "The run and the step, or an error that says why the response was not accepted."),
]


@strawberry.type(description="Mutations of single runs.")
class RunMutation:
    """The mutations of single runs, a part of the root type."""

    @mutation(Role.OPERATOR, "Starts a run of the published version of a flow.")
    async def start_run(
        self,
        info: Info,
        input: Annotated[StartRunInput, argument("The run to start.")],  # noqa: A002
    ) -> StartRunResult:
        waiting.check_wait(input.wait_ms)
        run_id = await start.start_run(info.context, input.to_domain())
        if input.wait_ms:
            await waiting.wait_for_status(info.context, run_id, FINAL, input.wait_ms)
        return StartRunSuccess(run=await _load_run(info, run_id))

    @mutation(
        Role.OPERATOR,
        "Retries a run that ended without success, as a new run; the old run never changes. FROM_FAILED_STEP "
        "executes the same version, and keeps the results of the steps that succeeded; child runs that "
        "succeeded are kept, too, and the others are retried from their failed steps. ON_LATEST_VERSION "
        "executes all steps of the published version. FROM_FAILED_STEP_ON_LATEST_VERSION executes the published "
        "version, too, and keeps the results of its leading steps that succeeded and did not change. FROM_STEP "
        "executes the same version from the step `stepName`. Input, tags, metadata, environment and parent are "
        "copied. While a step of the parent waits for the run, its retry takes its place there; otherwise the "
        "retry never changes the parent. Only the last run of a chain of retries can be retried.",
    )
    async def retry(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The run to retry.")],
        strategy: Annotated[RetryStrategy, argument("Where the retry starts.")],
        step_name: Annotated[
            str | None,
            argument(
                "The step at which a retry FROM_STEP starts: one that the run reached. Other strategies do not "
                "accept it."
            ),
        ] = None,
        input: Annotated[  # noqa: A002
            JSON | None,
            argument(
                "Another input for the new run; it must match the `inputSchema` of the version that is "
                "executed. Kept results stay unchanged. Default: the input of the retried run."
            ),
        ] = None,
        idempotency_key: Annotated[
            str | None,
            argument(
                "Identifies repetitions of a request: only the first request with a key starts a run; the "
                "others return that run. Keys belong to a project. 1 to 200 characters. Default: every request "
                "starts a run."
            ),
        ] = None,
        force: Annotated[
            bool,
            argument(
                "True: retries the run even if a retry of it is live, has succeeded, or has failed. By default "
                "that is refused, so that two clicks start one retry."
            ),
        ] = False,
        callback_url: Annotated[str | None, argument(CALLBACK_URL)] = None,
    ) -> RetryResult:
        request = retry.RetryRequest(
            run_id=run_id,
            strategy=strategy,
            step_name=step_name,
            input_text=None if input is None else values.encode_input(input),
            force=force,
            idempotency_key=idempotency_key,
            callback_url=callback_url,
        )
        new_run_id = await retry.retry(info.context, request)
        return RetrySuccess(run=await _load_run(info, new_run_id))

    @mutation(
        Role.OPERATOR,
        "Cancels a QUEUED, RUNNING or PAUSED run and all its live descendants: they end as STOPPED. Steps that "
        "are being executed are aborted. If the result is an error, nothing was cancelled.",
    )
    async def cancel(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The run to cancel.")],
        include_descendants: Annotated[
            bool,
            argument(
                "True: cancels the live descendants of a run that has ended, such as child runs that no step "
                "waited for. By default, cancelling a run that has ended is refused, and its descendants are "
                "not changed."
            ),
        ] = False,
    ) -> CancelResult:
        stopped = await cancel.cancel(info.context, run_id, include_descendants=include_descendants)
        return CancelSuccess(
            run=await _load_run(info, stopped.run_id),
            cancelled_run_ids=[strawberry.ID(ids.encode(IdKind.RUN, key)) for key in stopped.stopped_ids],
        )

    @mutation(
        Role.OPERATOR,
        "Responds to an input request of a PAUSED run, which then continues. If several clients respond at once,"
        " exactly one response is accepted.",
    )
    async def resume_run(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The paused run.")],
        request_id: Annotated[strawberry.ID, argument("The input request, from `FlowRun.pendingInputs`.")],
        response: Annotated[JSON, argument("The response. It must match the request's `schema`.")],
        wait_ms: Annotated[
            int | None,
            argument(
                f"Waits until the run ends or pauses again before answering: milliseconds, at most"
                f" {waiting.MAX_WAIT_MS:,}. After this time the mutation returns the run as it is. By default the"
                " mutation does not wait."
            ),
        ] = None,
        idempotency_key: Annotated[
            str | None,
            argument(
                "Identifies repetitions of a response: the same response with the same key succeeds as the "
                "first one did; another response is a conflict. Without a key, this applies to responses from "
                "the same API key. 1 to 200 characters."
            ),
        ] = None,
    ) -> ResumeRunResult:
        waiting.check_wait(wait_ms)
        request = await resume.resume(info.context, run_id, request_id, response, idempotency_key)
        if wait_ms:
            await waiting.wait_for_status(info.context, request.run_id, STOPS, wait_ms)
        columns = columns_of(info, StepResult, "step")
        step = await info.context.loaders.load_written(
            reads.steps_by_names, (request.run_id, request.step_name), columns
        )
        return ResumeRunSuccess(run=await _load_run(info, request.run_id), step=StepResult(row=step))


async def _load_run(info: Info, run_id: UUID) -> FlowRun:
    columns = columns_of(info, FlowRun, "run")
    return FlowRun(row=await info.context.loaders.load_written(reads.by_ids, run_id, columns))
