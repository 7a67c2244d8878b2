"""Starting runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows, runs, signals, transitions
from db.rows import AnyRow
from domain import clock, ids, payloads
from domain.errors import (
    FlowDisabledError,
    FlowNotFoundError,
    FlowNotPublishedError,
    InvalidArgumentError,
    ParentNotLiveError,
    RunNotFoundError,
)
from domain.ids import IdKind
from domain.states import LIVE, Environment, RunStatus, TriggerMethod
from engine.nesting import MAX_DEPTH
from resolvers import authorize, creation
from resolvers.context import Context

MAX_TAGS = 50
MAX_WORD_LENGTH = 200
MAX_WAIT_MS = 60_000
POLL_SECONDS = 1.0
"""Between two looks at a run that another process may end, of which no signal comes."""


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


async def start_run(context: Context, request: StartRequest) -> UUID:
    """Write a QUEUED run of the flow's published version; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, FlowDisabledError, FlowNotPublishedError,
        InputInvalidError, InputTooLargeError, RunNotFoundError (the parent), ParentNotLiveError,
        IdempotencyConflictError, QuotaExceededError (the run was written all the same).
    """
    flow = await _startable_flow(context, request.flow_id)
    values = _checked(request) | {"fail_parent_on_failure": _fails_parent(context, request)}
    (await context.flows.get(flow.published_version_id)).check_input(request.input)
    parent_id = _parent_id(context, request)
    said = values | {"input": request.input, "metadata": request.metadata, "trigger_method": request.trigger_method}
    idempotency = creation.Idempotency.of(request.idempotency_key, ["start", request.flow_id, said, str(parent_id)])

    def work(conn: Any) -> UUID:
        if (done := idempotency.earlier_run(conn, flow.project_id)) is not None:
            return done
        new = creation.stamped(values | idempotency.values)
        new |= {
            "project_id": flow.project_id,
            "flow_id": flow.id,
            "flow_version_id": flow.published_version_id,
            "trigger_method": request.trigger_method or (TriggerMethod.PARENT if parent_id else TriggerMethod.API),
        }
        if parent_id is not None:
            parent = _live_parent(conn, parent_id, flow.project_id)
            new |= {"parent_run_id": parent_id, "root_run_id": parent.root_run_id, "depth": parent.depth + 1}
        transitions.create(conn, new, f"Flow started via {new['trigger_method'].lower()}")
        created: UUID = new["id"]
        return created

    return await creation.write_once(context.database, work)


def check_wait(milliseconds: int | None) -> None:
    """Make sure that one may wait for so long.

    Raises:
        InvalidArgumentError: the time is negative or longer than allowed.
    """
    if milliseconds is not None and not 0 <= milliseconds <= MAX_WAIT_MS:
        raise InvalidArgumentError(f"`waitMs` must be from 0 to {MAX_WAIT_MS}.")


async def wait_for_stop(context: Context, key: UUID, milliseconds: int, stops: Collection[RunStatus]) -> None:
    """Return when the run has one of the statuses `stops`, or after `milliseconds`."""
    ends_at = clock.now().timestamp() + milliseconds / 1000
    with context.database.signals.listen(signals.run_changed(key)) as changed:
        while (left := ends_at - clock.now().timestamp()) > 0:
            changed.clear()
            row = (await context.database.read(runs.by_ids, [key], frozenset({"status"}))).get(key)
            if row is None or row.status in stops:
                return
            await clock.signalled(changed, min(left, POLL_SECONDS))


async def _startable_flow(context: Context, flow_id: str) -> AnyRow:
    columns = frozenset({"enabled", "published_version_id"})
    flow = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), columns)
    if flow is None or not authorize.sees(context.viewer, flow):
        raise FlowNotFoundError
    if not flow.enabled:
        raise FlowDisabledError
    if flow.published_version_id is None:
        raise FlowNotPublishedError
    return flow


def _checked(request: StartRequest) -> dict[str, Any]:
    """The columns that the request fills, bounded and encoded."""
    if request.trigger_method is TriggerMethod.RETRY:
        raise InvalidArgumentError("A run is triggered by RETRY through the mutation `retry` alone.")
    if not isinstance(request.metadata, dict):
        raise InvalidArgumentError("`metadata` must be a JSON object.")
    metadata = payloads.encode(request.metadata, limit=payloads.MAX_METADATA_BYTES, what="metadata")
    if "\\u0000" in metadata:
        raise InvalidArgumentError("`metadata` must not contain the character U+0000.")
    return {
        "environment": request.environment,
        "tags": _checked_tags(request.tags),
        "metadata": metadata,
        "input": payloads.encode(request.input, limit=payloads.MAX_INPUT_BYTES, what="input"),
        "external_id": _checked_word("externalId", request.external_id),
        "source": _checked_word("source", request.source),
    }


def _checked_tags(tags: Sequence[str]) -> list[str]:
    if len(tags) > MAX_TAGS:
        raise InvalidArgumentError(f"A run has at most {MAX_TAGS} tags.")
    return [_checked_word("tags", tag) or "" for tag in dict.fromkeys(tags)]


def _checked_word(name: str, word: str | None) -> str | None:
    if word is not None and (not 1 <= len(word) <= MAX_WORD_LENGTH or "\0" in word):
        raise InvalidArgumentError(f"`{name}` must have 1 to {MAX_WORD_LENGTH} characters, and no U+0000.")
    return word


def _parent_id(context: Context, request: StartRequest) -> UUID | None:
    text = request.parent_run_id or context.parent.run_id
    return ids.decode(IdKind.RUN, text) if text else None


def _fails_parent(context: Context, request: StartRequest) -> bool:
    said = request.fail_parent_on_failure
    return bool(context.parent.fail_on_failure if said is None else said)


def _live_parent(conn: Any, parent_id: UUID, project_id: UUID) -> AnyRow:
    parent = runs.parent(conn, parent_id, project_id)
    if parent is None:
        raise RunNotFoundError("There is no such parent run.")
    if parent.status not in LIVE:
        raise ParentNotLiveError
    if parent.depth >= MAX_DEPTH:
        raise InvalidArgumentError(f"Runs nest at most {MAX_DEPTH} deep.")
    return parent
