"""Reruns a run that has ended, as a new run, or says why that is not possible."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events, flows
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import kept_steps, reads, reruns, transitions
from db.runs.reruns import LockedRun, RerunJudgement
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import TriggerMethod
from domain.error_declarations import default_message
from domain.errors import (
    FlowDisabledError,
    FlowNotPublishedError,
    InputInvalidError,
    InvalidArgumentError,
    RerunUnderWayError,
    RunNotFinalError,
    RunNotFoundError,
    StepDataExpiredError,
    StepNotReachedError,
    UserError,
)
from domain.ids import IdKind
from engine import run_creation
from engine.compiled_flow import CompiledFlow
from engine.deliveries.callbacks import RunCallback
from engine.run_creation import Idempotency
from resolvers import authorize, values
from resolvers.context import Context, Viewer
from resolvers.flow_runs import retry
from resolvers.flow_runs.start_check import StartCheck, definition, step_names
from resolvers.outbound.endpoints import checked_callback

_REFUSALS: dict[str, type[UserError]] = {
    error.code: error
    for error in (
        RunNotFinalError,
        RerunUnderWayError,
        FlowDisabledError,
        FlowNotPublishedError,
        StepDataExpiredError,
        StepNotReachedError,
    )
}
"""The errors that refuse a rerun, by code."""
_RUN_COLUMNS = frozenset({"flow_id", "flow_version_id", "input", "erased_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunRequest:
    """A client's request to run a run again."""

    run_id: str
    flow_version_id: str | None = None
    """The version to execute; None: the published one, or the version of the run if the rerun starts at a step."""
    step_name: str | None = None
    """The step at which the rerun starts; None: the first one."""
    input_text: str | None = None
    """The input of the new run as JSON text; None: the input of the run."""
    force: bool = False
    idempotency_key: str | None = None
    callback_url: str | None = None
    """Where the events of the new run are sent."""

    def idempotency(self) -> Idempotency:
        """Returns the idempotency key with the request's other arguments."""
        new_input = None if self.input_text is None else [json_codec.decode(self.input_text)]
        arguments = ["rerun", self.run_id, self.flow_version_id, self.step_name, new_input, self.force]
        arguments += [self.callback_url] if self.callback_url else []
        return Idempotency.of(self.idempotency_key, arguments)


async def rerun(context: Context, request: RerunRequest) -> UUID:
    """Creates a run that executes another run again, as a new operation; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, RunNotFoundError, RunNotFinalError, RerunUnderWayError,
        StepDataExpiredError, StepNotReachedError, FlowNotPublishedError, FlowDisabledError, InputInvalidError,
        IdempotencyConflictError, CallbackEndpointMissingError, SecretKeysMissingError.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
    """
    run_id = ids.decode(IdKind.RUN, request.run_id)
    if request.step_name is not None:
        values.check_storable("stepName", request.step_name)
    idempotency = request.idempotency()
    run = await context.loaders.load(reads.by_ids, run_id, _RUN_COLUMNS)
    if run is None or not authorize.can_see(context.viewer, run):
        raise RunNotFoundError
    try:
        version_id = await _version(context, run, request)
        version = await context.flows.get(version_id)
        # The version may have defaults that the version of the run did not have.
        accepted = _accepted_input(context, version, run, request)
    except (FlowNotPublishedError, InputInvalidError):
        # A repeated request gets its run, even if the flow has changed since.
        earlier = await context.database.read(idempotency.earlier_run, run.project_id)
        if earlier is None:
            raise
        return earlier
    return await run_creation.create_idempotent(
        context.database,
        _create,
        context.viewer,
        context.origin,
        run_id,
        version_id,
        values.encode_input(accepted),
        request,
        idempotency,
        checked_callback(context, request.callback_url),
    )


def _accepted_input(context: Context, version: CompiledFlow, run: RunRow, request: RerunRequest) -> Any:
    """Returns the input of the rerun with its defaults. A client that gives none may not see that of the run.

    Raises:
        InputInvalidError
    """
    if request.input_text is not None:
        return version.accept_input(json_codec.decode(request.input_text))
    if run.erased_at is not None:
        return {}  # There is no input to judge: `reruns.lock` refuses the rerun.
    with authorize.problems_hidden(context.viewer, "input"):
        return version.accept_input(json_codec.decode(run.input))


async def rerunnability(context: Context, run: RunRow, step_name: str | None) -> StartCheck:
    """Returns whether `rerun` would start a run from `run`, a row with the columns of `retry.RUN_COLUMNS`. If
    `step_name` is given, the rerun would start at that step."""
    judgement = await context.loaders.load_existing(reruns.judgements_by_runs, run.id)
    code = judgement.refusal if step_name is None else judgement.refusal_from_step
    version_id = judgement.published_version_id if step_name is None else run.flow_version_id
    names = step_names(await definition(context, version_id))
    kept: list[str] = []
    if step_name is not None and code is None:
        reached = await context.loaders.load(kept_steps.reached_by_runs, run.id) or []
        start = next((step.position for step in reached if step.name == step_name), None)
        if start is None:
            code = StepNotReachedError.code
        else:
            kept = [step.name for step in reached if step.is_kept and step.position < start]
    if code is not None:
        return StartCheck(reason=code, message=_refusal_message(code, judgement))
    return StartCheck(reason=None, message=None, reused=kept, rerun=[name for name in names if name not in set(kept)])


async def _version(context: Context, run: RunRow, request: RerunRequest) -> UUID:
    """Returns the flow version that the rerun executes.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotPublishedError.
    """
    if request.flow_version_id is not None:
        version_id = ids.decode(IdKind.FLOW_VERSION, request.flow_version_id)
        version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"flow_id"}))
        if version is None or version.flow_id != run.flow_id:
            raise InvalidArgumentError("`flowVersionId` must be a version of the run's flow.")
        if request.step_name is not None and version_id != run.flow_version_id:
            raise InvalidArgumentError("With `stepName` the version of the run is executed: leave out `flowVersionId`.")
        return version_id
    if request.step_name is not None:
        return run.flow_version_id
    flow = await context.loaders.load_existing(flows.by_ids, run.flow_id, frozenset({"published_version_id"}))
    if flow.published_version_id is None:
        raise FlowNotPublishedError
    published: UUID = flow.published_version_id
    return published


def _create(
    uow: UnitOfWork,
    viewer: Viewer,
    origin: Origin,
    run_id: UUID,
    version_id: UUID,
    input_text: str,
    request: RerunRequest,
    idempotency: Idempotency,
    callback: RunCallback | None,
) -> UUID:
    has_input = request.input_text is not None
    run = reruns.lock(uow, run_id, request.step_name, force=request.force, has_input=has_input)
    if run is None or not authorize.can_see(viewer, run):
        raise RunNotFoundError
    earlier = idempotency.take(uow, run.project_id)
    if earlier.run_id is not None:
        return earlier.run_id
    if run.refusal is not None:
        raise _refusal(uow, run.refusal, run)
    columns = run_creation.with_defaults(
        {**idempotency.values, "flow_version_id": version_id, "trigger_method": TriggerMethod.RERUN}
    )
    new_id: UUID = columns["id"]
    columns |= reruns.columns(run, new_id, request.step_name)
    columns |= {"input": input_text, "started_by": origin.actor.text}
    message = f"Rerun of {ids.encode(IdKind.RUN, run.id)}"
    if request.step_name is not None:
        message += f" from the step {request.step_name!r}"
    if request.input_text is not None:
        columns["input_secrets"] = None  # What a client writes is text: it refers to no secret.
        message += ", with another input"
    transitions.create(uow, columns, message)
    if request.step_name is not None:
        kept_steps.copy_kept(uow, [new_id])
    if callback is not None:
        callback.add(uow, new_id, run.project_id)
    details = {"rerunOfId": ids.encode(IdKind.RUN, run.id)}
    if request.step_name is not None:
        details["stepName"] = request.step_name
    audit_events.record(uow, origin, AuditAction.RERUN, IdKind.RUN, new_id, run.project_id, details=details)
    return new_id


def _refusal(uow: UnitOfWork, code: str, run: LockedRun) -> UserError:
    if code == RerunUnderWayError.code:
        return RerunUnderWayError(reruns.live_rerun(uow.conn, run.id))
    return _REFUSALS[code](_refusal_message(code, run))


def _refusal_message(code: str, run: RerunJudgement | LockedRun) -> str:
    if code == RunNotFinalError.code:
        return f"The run is {run.status}. Only runs that have ended can be run again."
    if code == StepDataExpiredError.code and run.erased_at is not None:
        return retry.ERASED
    return default_message(_REFUSALS[code])
