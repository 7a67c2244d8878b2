"""Starting runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows
from db.core import pubsub
from db.row_types import FlowRow
from db.runs import reads as run_reads
from domain import ids, json_codec
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.errors import (
    FlowDisabledError,
    FlowNotFoundError,
    FlowNotPublishedError,
    InputInvalidError,
    InvalidArgumentError,
)
from domain.ids import IdKind
from engine import run_creation
from resolvers import authorize, waiting
from resolvers.context import Context

MAX_TAGS = 50
MAX_WORD_LENGTH = 200
MAX_WAIT_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What a client says of the run it wants."""

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
    same: Sequence[Any] | None = None
    """JSON values that do not differ when the request comes again under its key; None: all of the request."""


async def start_run(context: Context, request: StartRequest) -> UUID:
    """Write a QUEUED run of the flow's published version; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, FlowDisabledError, FlowNotPublishedError,
        InputInvalidError, InputTooLargeError, RunNotFoundError (the parent), ParentNotLiveError,
        IdempotencyConflictError, QuotaExceededError (the run was written all the same).
    """
    flow = await _existing_flow(context, request.flow_id)
    values = _checked(request) | {"fail_parent_on_failure": _fails_parent(context, request)}
    parent_id = _parent_id(context, request)
    said = values | {"input": request.input, "metadata": request.metadata, "trigger_method": request.trigger_method}
    same = [request.flow_id, said, str(parent_id)] if request.same is None else request.same
    idempotency = run_creation.Idempotency.of(request.idempotency_key, ["start", *same])
    try:
        await _check_startable(context, flow, request.input)
    except (FlowDisabledError, FlowNotPublishedError, InputInvalidError):
        # What was started before is found, whatever became of the flow since.
        earlier = await context.database.read(idempotency.earlier_run, flow.project_id)
        if earlier is None:
            raise
        return earlier
    assert flow.published_version_id is not None  # `_check_startable` has checked it
    new_run = run_creation.NewRun(
        target=run_creation.FlowRef(flow.project_id, flow.id, flow.published_version_id),
        values=values,
        trigger_method=request.trigger_method or (TriggerMethod.PARENT if parent_id else TriggerMethod.API),
        parent_id=parent_id,
        idempotency=idempotency,
    )
    return await run_creation.create_idempotent(context.database, lambda uow: run_creation.create(uow, new_run))


def check_wait(milliseconds: int | None) -> None:
    """Make sure that one may wait for so long.

    Raises:
        InvalidArgumentError: the time is negative or longer than allowed.
    """
    if milliseconds is not None and not 0 <= milliseconds <= MAX_WAIT_MS:
        raise InvalidArgumentError(f"`waitMs` must be from 0 to {MAX_WAIT_MS}.")


async def wait_for_stop(context: Context, key: UUID, milliseconds: int, stops: Collection[RunStatus]) -> None:
    """Return when the run has one of the statuses `stops`, or after `milliseconds`."""

    async def has_stopped() -> bool:
        row = (await context.database.read(run_reads.by_ids, [key], frozenset({"status"}))).get(key)
        return row is None or row.status in stops

    await waiting.wait_until(context, pubsub.run_changed(key), milliseconds, has_stopped)


async def _existing_flow(context: Context, flow_id: str) -> FlowRow:
    columns = frozenset({"enabled", "published_version_id"})
    flow = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), columns)
    if flow is None or not authorize.can_see(context.viewer, flow):
        raise FlowNotFoundError
    return flow


async def _check_startable(context: Context, flow: FlowRow, value: Any) -> None:
    if not flow.enabled:
        raise FlowDisabledError
    if flow.published_version_id is None:
        raise FlowNotPublishedError
    (await context.flows.get(flow.published_version_id)).check_input(value)


def encode_input(value: Any) -> str:
    """The JSON text of a run's input.

    Raises:
        InputTooLargeError, InvalidArgumentError.
    """
    return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="input")


def encode_metadata(value: Any) -> str:
    """The JSON text of a run's metadata.

    Raises:
        InputTooLargeError, InvalidArgumentError.
    """
    if not isinstance(value, dict):
        raise InvalidArgumentError("`metadata` must be a JSON object.")
    metadata = json_codec.encode(value, limit=json_codec.MAX_METADATA_BYTES, what="metadata")
    if "\\u0000" in metadata:
        raise InvalidArgumentError("`metadata` must not contain the character U+0000.")
    return metadata


def checked_tags(tags: Sequence[str]) -> list[str]:
    """A run's tags, each once.

    Raises:
        InvalidArgumentError: there are too many, or one cannot be kept.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidArgumentError(f"A run has at most {MAX_TAGS} tags.")
    return [checked_word("tags", tag) for tag in dict.fromkeys(tags)]


def checked_word(name: str, word: str) -> str:
    """`word`, the value of the argument `name`.

    Raises:
        InvalidArgumentError: it is empty, too long, or has a character that cannot be kept.
    """
    if not 1 <= len(word) <= MAX_WORD_LENGTH or "\0" in word:
        raise InvalidArgumentError(f"`{name}` must have 1 to {MAX_WORD_LENGTH} characters, and no U+0000.")
    return word


def _checked(request: StartRequest) -> dict[str, Any]:
    """The columns that the request fills, bounded and encoded."""
    if request.trigger_method is TriggerMethod.RETRY:
        raise InvalidArgumentError("A run is triggered by RETRY through the mutation `retry` alone.")
    metadata = encode_metadata(request.metadata)
    return {
        "environment": request.environment,
        "tags": checked_tags(request.tags),
        "metadata": metadata,
        "input": encode_input(request.input),
        "external_id": checked_word("externalId", request.external_id) if request.external_id is not None else None,
        "source": checked_word("source", request.source) if request.source is not None else None,
    }


def _parent_id(context: Context, request: StartRequest) -> UUID | None:
    text = request.parent_run_id or context.parent.run_id
    return ids.decode(IdKind.RUN, text) if text else None


def _fails_parent(context: Context, request: StartRequest) -> bool:
    said = request.fail_parent_on_failure
    return bool(context.parent.fail_on_failure if said is None else said)
