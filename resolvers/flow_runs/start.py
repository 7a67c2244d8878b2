"""Starts runs of flows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.row_types import FlowRow
from domain import ids
from domain.enums import Environment, TriggerMethod
from domain.errors import (
    FlowDisabledError,
    FlowNotPublishedError,
    InputInvalidError,
    InvalidArgumentError,
)
from domain.ids import IdKind
from engine import run_creation
from resolvers import flows, values
from resolvers.context import Context
from resolvers.outbound.endpoints import checked_callback

_FLOW_COLUMNS = frozenset({"enabled", "published_version_id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """A client's request to start a run."""

    flow_id: str
    input: Any
    environment: Environment
    tags: Sequence[str]
    metadata: Any
    trigger_method: TriggerMethod | None
    parent_run_id: str | None
    fail_parent_on_failure: bool | None
    external_id: str | None
    source: str | None
    idempotency_key: str | None
    callback_url: str | None = None
    """Where the events of the run are sent."""
    identity: Sequence[Any] | None = None
    """JSON values that requests with the same idempotency key must share. None: all values of the request."""


async def start_run(context: Context, request: StartRequest) -> UUID:
    """Creates a QUEUED run of the flow's published version; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, FlowDisabledError, FlowNotPublishedError,
        InputInvalidError, InputTooLargeError, ParentNotLiveError, IdempotencyConflictError,
        CallbackEndpointMissingError, SecretKeysMissingError.
        RunNotFoundError: the parent run does not exist.
        QuotaExceededError: the run was created with the status QUOTA_EXCEEDED.
    """
    flow = await flows.get_existing(context, request.flow_id, _FLOW_COLUMNS)
    parent_text = request.parent_run_id or context.parent.run_id
    parent_id = ids.decode(IdKind.RUN, parent_text) if parent_text else None
    columns = _columns(context, request)
    trigger_method = request.trigger_method or (TriggerMethod.PARENT if parent_id else TriggerMethod.API)
    identity = request.identity or _identity(request, columns | {"trigger_method": trigger_method}, parent_id)
    idempotency = run_creation.Idempotency.of(request.idempotency_key, ["start", *identity])
    try:
        version_id, run_input = await _startable_version(context, flow, request.input)
    except (FlowDisabledError, FlowNotPublishedError, InputInvalidError):
        # A repeated request gets its run, even if the flow has changed since.
        earlier = await context.database.read(idempotency.earlier_run, flow.project_id)
        if earlier is None:
            raise
        return earlier
    if run_input is not request.input:
        columns["input"] = values.encode_input(run_input)
    new_run = run_creation.NewRun(
        target=run_creation.FlowRef(flow.project_id, flow.id, version_id),
        values=columns,
        trigger_method=trigger_method,
        started_by=context.viewer.actor,
        requested=context.origin if context.viewer.actor.is_client else None,
        parent_id=parent_id,
        idempotency=idempotency,
        callback=checked_callback(context, request.callback_url),
    )
    return await run_creation.create_idempotent(context.database, run_creation.create, new_run)


def request_hash(request: StartRequest) -> str | None:
    """Returns the hash that repeated requests with an `identity` and a key share; None without a key."""
    return run_creation.Idempotency.of(request.idempotency_key, ["start", *(request.identity or ())]).request_hash


def _columns(context: Context, request: StartRequest) -> dict[str, Any]:
    """Returns the columns of the run that the request sets."""
    if request.trigger_method in (TriggerMethod.RETRY, TriggerMethod.RERUN):
        name = request.trigger_method.lower()
        message = f"`triggerMethod` must not be {request.trigger_method}. Use the mutation `{name}` to {name} a run."
        raise InvalidArgumentError(message)
    fail_parent = request.fail_parent_on_failure
    return {
        "environment": request.environment,
        "tags": values.check_tags(request.tags),
        "metadata": values.encode_metadata(request.metadata),
        "input": values.encode_input(request.input),
        "external_id": None if request.external_id is None else values.check_text("externalId", request.external_id),
        "source": None if request.source is None else values.check_text("source", request.source),
        "fail_parent_on_failure": bool(context.parent.fail_on_failure if fail_parent is None else fail_parent),
    }


def _identity(request: StartRequest, effective: dict[str, Any], parent_id: UUID | None) -> Sequence[Any]:
    # JSON values are compared instead of their texts, and tags in one order: the order of keys and of tags makes no
    # difference.
    same = {"input": request.input, "metadata": request.metadata, "tags": sorted(effective["tags"])}
    # Only what is set: the keys of earlier requests stay the same.
    called = [request.callback_url] if request.callback_url else []
    return [request.flow_id, effective | same, str(parent_id), *called]


async def _startable_version(context: Context, flow: FlowRow, run_input: Any) -> tuple[UUID, Any]:
    """Returns the version that a run of the flow executes, and the input with the defaults of its schema."""
    if not flow.enabled:
        raise FlowDisabledError
    if flow.published_version_id is None:
        raise FlowNotPublishedError
    version = await context.flows.get(flow.published_version_id)
    return flow.published_version_id, version.accept_input(run_input)
