"""Mutations that start a run from one that has ended, except `retry`."""

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db.runs import reads
from domain import json_codec
from domain.errors import (
    AlreadyRecoveredError,
    CallbackEndpointMissingError,
    FlowDisabledError,
    FlowNotPublishedError,
    IdempotencyConflictError,
    InputInvalidError,
    InputTooLargeError,
    QuotaExceededError,
    RerunUnderWayError,
    RetriedSinceError,
    RetryLimitReachedError,
    RetryUnderWayError,
    RunNotFinalError,
    RunNotFoundError,
    RunNotRetryableError,
    SecretKeysMissingError,
    StepDataExpiredError,
    StepNotFailedError,
    StepNotReachedError,
)
from resolvers import values
from resolvers.flow_runs import completion, rerun
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.inputs.runs import CALLBACK_URL
from schema.mutations.declaration import mutation, result, success
from schema.types.flow_run import FlowRun

_KEY = (
    "Identifies repetitions of a request: only the first request with a key starts a run; the others return "
    "that run. Keys belong to a project. 1 to 200 characters. Default: every request starts a run."
)


@success
class RerunSuccess:
    """The rerun was started."""

    run: FlowRun = strawberry.field(description="The new run, or the earlier one with the same idempotency key.")


@success
class CompleteStepSuccess:
    """The step was completed, and a retry continues behind it."""

    run: FlowRun = strawberry.field(description="The new run, or the earlier one with the same idempotency key.")


RerunResult = Annotated[
    RerunSuccess
    | RunNotFoundError
    | RunNotFinalError
    | RerunUnderWayError
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
    result("RerunResult", "The new run, or an error that says why the run was not run again."),
]
CompleteStepResult = Annotated[
    CompleteStepSuccess
    | RunNotFoundError
    | RunNotRetryableError
    | RetryUnderWayError
    | AlreadyRecoveredError
    | RetriedSinceError
    | RetryLimitReachedError
    | StepDataExpiredError
    | StepNotFailedError
    | InputTooLargeError
    | FlowDisabledError
    | QuotaExceededError
    | SecretKeysMissingError
    | IdempotencyConflictError,
    result("CompleteStepResult", "The new run, or an error that says why the step was not completed."),
]


@strawberry.type(description="Mutations that start a run from one that has ended.")
class RerunMutation:
    """The mutations that start a run from one that has ended, a part of the root type."""

    @mutation(
        Role.OPERATOR,
        "Executes a run that has ended again, whether it succeeded or not, as a new run with the same input, "
        "tags and metadata, linked by `rerunOf`. A rerun is a new operation: its steps send new idempotency "
        "keys. It is not a retry: it neither recovers the run nor changes a parent. By default it executes all "
        "steps of the published version.",
    )
    async def rerun(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The run to execute again.")],
        flow_version_id: Annotated[
            strawberry.ID | None,
            argument(
                "The version of the flow to execute. Default: the published one; with `stepName`, the version "
                "of the run."
            ),
        ] = None,
        step_name: Annotated[
            str | None,
            argument(
                "The step at which the rerun starts: one that the run reached. The results of the succeeded "
                "steps before it are kept. Default: all steps are executed."
            ),
        ] = None,
        input: Annotated[  # noqa: A002
            JSON | None,
            argument("Another input for the new run. Default: the input of the run."),
        ] = None,
        idempotency_key: Annotated[str | None, argument(_KEY)] = None,
        force: Annotated[
            bool,
            argument(
                "True: starts a rerun even if another one of the run is live. By default that is refused, so "
                "that two clicks start one run."
            ),
        ] = False,
        callback_url: Annotated[str | None, argument(CALLBACK_URL)] = None,
    ) -> RerunResult:
        request = rerun.RerunRequest(
            run_id=run_id,
            flow_version_id=flow_version_id,
            step_name=step_name,
            input_text=None if input is None else values.encode_input(input),
            force=force,
            idempotency_key=idempotency_key,
            callback_url=callback_url,
        )
        return RerunSuccess(run=await _load_run(info, await rerun.rerun(info.context, request)))

    @mutation(
        Role.OPERATOR,
        "Completes the step at which a run ended by hand: it succeeds with `output`, or is skipped. A new run "
        "continues behind it: a retry FROM_FAILED_STEP that keeps the results of the succeeded steps and does "
        "not execute this step. `StepResult.completedBy` marks the step in the new run and in later retries "
        "that keep it. The old run never changes.",
    )
    async def complete_step(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The run that ended without success.")],
        step_name: Annotated[
            str,
            argument(
                "The step at which the run ended, as `FlowRun.completability` names it. Any other step is refused."
            ),
        ],
        output: Annotated[
            JSON | None,
            argument(
                "The output of the step, which later steps use. Values of secrets are masked in it, and no client "
                "can read the parts that the step redacts. Default: null."
            ),
        ] = None,
        skip: Annotated[
            bool,
            argument(
                "True: skips the step, so that its status is SKIPPED, as if its `when` were false. By default "
                "its status is SUCCEEDED."
            ),
        ] = False,
        note: Annotated[
            str | None,
            argument(
                f"The reason, for people who look at the run later. At most {completion.MAX_NOTE_LENGTH:,} characters."
            ),
        ] = None,
        idempotency_key: Annotated[str | None, argument(_KEY)] = None,
        force: Annotated[
            bool, argument("True: continues even if the run has a retry already; see `retry`. Default: false.")
        ] = False,
    ) -> CompleteStepResult:
        completion.check_choice(output, skip=skip)
        text = values.encode(output, limit=json_codec.MAX_INPUT_BYTES, what="output")
        request = completion.CompletionRequest(
            run_id=run_id,
            step_name=step_name,
            output_text=None if skip else text,
            note=note,
            force=force,
            idempotency_key=idempotency_key,
        )
        return CompleteStepSuccess(run=await _load_run(info, await completion.complete_step(info.context, request)))


async def _load_run(info: Info, run_id: UUID) -> FlowRun:
    columns = columns_of(info, FlowRun, "run")
    return FlowRun(row=await info.context.loaders.load_written(reads.by_ids, run_id, columns))
