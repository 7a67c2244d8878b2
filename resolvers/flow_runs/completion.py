"""Completes a failed step by hand: a retry continues behind the step, with an output from a person, or without one."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import kept_steps, retries, transitions
from db.runs.kept_steps import Completion
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import RetryStrategy
from domain.errors import InvalidArgumentError, SecretKeysMissingError, StepNotFailedError
from domain.ids import IdKind
from engine import run_creation
from engine.errors import StepError
from engine.run_creation import Idempotency
from engine.secrets.run_secrets import RunSecrets
from engine.secrets.store import SecretStore
from resolvers.context import Context, Viewer
from resolvers.flow_runs import retry, runs
from resolvers.flow_runs.start_check import StartCheck, definition, step_names

MAX_NOTE_LENGTH = 1_000
"""Largest number of characters of the note of a completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A client's request to complete the step at which a run ended."""

    run_id: str
    step_name: str
    output_text: str | None
    """The output of the step as JSON text; None: the step is skipped."""
    note: str | None = None
    force: bool = False
    idempotency_key: str | None = None

    def idempotency(self) -> Idempotency:
        """Returns the idempotency key with the request's other arguments."""
        output = None if self.output_text is None else [json_codec.decode(self.output_text)]
        arguments = ["complete", self.run_id, self.step_name, output, self.note, self.force]
        return Idempotency.of(self.idempotency_key, arguments)


def check_choice(output: Any, *, skip: bool) -> None:
    """Checks that a request does not both give an output and skip the step.

    Raises:
        InvalidArgumentError
    """
    if skip and output is not None:
        raise InvalidArgumentError("A step that is skipped has no output: give either `output` or `skip: true`.")


async def complete_step(context: Context, request: CompletionRequest) -> UUID:
    """Creates a retry that keeps the results of the steps that succeeded, sets the given result of the failed step, and
    executes the steps behind it; returns its ID. The retried run never changes.

    Raises:
        InvalidIdError, InvalidArgumentError, RunNotFoundError, RunNotRetryableError, RetryUnderWayError,
        AlreadyRecoveredError, RetriedSinceError, RetryLimitReachedError, StepDataExpiredError, StepNotFailedError,
        FlowDisabledError, IdempotencyConflictError.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
        SecretKeysMissingError: the definition redacts parts of the output, and no key encrypts them.
    """
    if request.note is not None and (not 1 <= len(request.note) <= MAX_NOTE_LENGTH or "\0" in request.note):
        raise InvalidArgumentError(f"`note` must have 1 to {MAX_NOTE_LENGTH:,} characters, none of them U+0000.")
    run = await runs.get_existing(context, request.run_id, frozenset({"project_id", "environment", "flow_version_id"}))
    completion = await _completion(context, run, request)
    return await run_creation.create_idempotent(
        context.database, _create, context.viewer, context.origin, run.id, request, completion, request.idempotency()
    )


async def _completion(context: Context, run: RunRow, request: CompletionRequest) -> Completion:
    """Returns the given result in the form that the journal keeps: redacted and masked like an output of the step.

    Raises:
        SecretKeysMissingError
    """
    by, note = context.origin.actor, request.note
    if request.output_text is None:
        return Completion(None, None, by, note)
    flow = await context.flows.get(run.flow_version_id)
    step = next((step for step in flow.steps if step.definition.name == request.step_name), None)
    if step is None:
        return Completion(request.output_text, None, by, note)  # The run did not end at it, so the request is refused.
    secrets = RunSecrets(SecretStore(context.database, context.secret_keys), run.project_id, run.environment)
    await secrets.refresh()
    try:
        kept = await secrets.redacted(step.redacted_output, request.step_name, json_codec.decode(request.output_text))
    except StepError:  # The size of the output was checked before.
        raise SecretKeysMissingError from None
    return Completion(kept.text, kept.sealed, by, note)


async def completability(context: Context, run: RunRow) -> tuple[str | None, StartCheck]:
    """Returns the step that `completeStep` would complete, and whether it would succeed for `run`, a row with
    `retry.RUN_COLUMNS`."""
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run.id)
    step = await context.loaders.load(kept_steps.steps_of_end_by_runs, run.id)
    code = judgement.refusals[RetryStrategy.FROM_FAILED_STEP]
    if code is not None:
        return step, StartCheck(reason=code, message=retry.refusal_message(code, judgement))
    if step is None:
        error = StepNotFailedError()
        return None, StartCheck(reason=error.code, message=error.message)
    reached = await context.loaders.load(kept_steps.reached_by_runs, run.id) or []
    kept = [found.name for found in reached if found.is_kept]
    names = step_names(await definition(context, run.flow_version_id))
    rerun = [name for name in names if name != step and name not in set(kept)]
    return step, StartCheck(reason=None, message=None, reused=kept, rerun=rerun)


def _create(
    uow: UnitOfWork,
    viewer: Viewer,
    origin: Origin,
    run_id: UUID,
    request: CompletionRequest,
    completion: Completion,
    idempotency: Idempotency,
) -> UUID:
    start = retry.RetryStart(RetryStrategy.FROM_FAILED_STEP, force=request.force)
    found = retry.lock(uow, viewer, run_id, start, idempotency)
    if isinstance(found, UUID):
        return found
    step = kept_steps.step_of_end(uow.conn, found.id)
    if step is None:
        raise StepNotFailedError
    if step.name != request.step_name:
        raise StepNotFailedError(
            f"Only the step at which the run ended can be completed by hand: {step.name!r}, not {request.step_name!r}."
        )
    columns = retry.new_columns(found, start, idempotency, origin.actor)
    new_id: UUID = columns["id"]
    done = "skipped" if request.output_text is None else "completed"
    message = f"Retry of {ids.encode(IdKind.RUN, found.id)}, step {step.name!r} {done} with the key {viewer.name!r}"
    transitions.create(uow, columns, message)
    kept_steps.copy_kept(uow, [new_id])
    kept_steps.complete_step(uow, new_id, step, completion)
    details = {
        "retryOfId": ids.encode(IdKind.RUN, found.id),
        "stepName": step.name,
        "skip": request.output_text is None,
    }
    audit_events.record(uow, origin, AuditAction.COMPLETE_STEP, IdKind.RUN, new_id, found.project_id, details=details)
    return new_id
