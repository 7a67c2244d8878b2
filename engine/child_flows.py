"""Steps that start child runs: which flow, with which inputs, and what comes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows
from db.core.database import Database
from db.runs.children import ChildBatch
from db.sql.rows import AnyRow
from domain import ids, json_codec
from domain.definition import FlowStep
from domain.enums import RunStatus
from domain.errors import FlowRunsError, InputInvalidError, InvalidIdError
from domain.ids import IdKind
from engine.compiled_flow import CompiledStep, FlowCache
from engine.errors import StepError

MAX_DEPTH = 10
"""Ancestors that a run may have: what bounds flows that call each other in a circle."""
MAX_ITEMS = 1_000
"""Child runs of one step."""


@dataclass(frozen=True, slots=True)
class Children:
    """What a step that starts child runs is about to do."""

    inputs: Sequence[Any]
    """Of all children."""
    brood: ChildBatch
    """The first of them."""
    is_loop: bool


async def children_of(
    database: Database,
    flow_cache: FlowCache,
    run: AnyRow,
    step: CompiledStep,
    scope: Mapping[str, Any],
    *,
    position: int,
    attempt: int,
) -> Children:
    """The children that a step starts.

    Raises:
        StepError: the flow cannot be started, an input does not fit it, or there would be too many runs.
    """
    definition = step.definition
    assert isinstance(definition, FlowStep)
    if run.depth >= MAX_DEPTH:
        raise StepError("DEPTH_LIMIT", f"Runs nest at most {MAX_DEPTH} deep.", retryable=False)
    rendered = step.input.render(scope)
    flow = await _startable(database, run.project_id, rendered["flow"])
    inputs = _inputs(step, rendered, scope, is_loop=definition.input.is_loop)
    assert flow.published_version_id is not None  # `_startable` has checked it
    compiled = await flow_cache.get(flow.published_version_id)
    texts = [_checked(compiled.check_input, value) for value in inputs]
    waits = definition.input.wait
    brood = ChildBatch(
        flow.id,
        flow.published_version_id,
        definition.input.fail_parent_on_failure,
        texts[: definition.input.concurrency] if waits else texts,
        position if waits else None,
        attempt,
    )
    return Children(inputs, brood, definition.input.is_loop)


def output_of(children: Sequence[AnyRow], *, is_loop: bool) -> Any:
    """The output of a step whose children have ended.

    Raises:
        StepError: CHILD_FAILED, one ended without success that fails its parent.
    """
    for child in children:
        if child.status != RunStatus.SUCCEEDED and child.fail_parent_on_failure:
            details = {"runId": ids.encode(IdKind.RUN, child.id), "status": child.status, "code": child.error_code}
            message = child.error_message or f"The child run is {child.status}."
            raise StepError("CHILD_FAILED", message, details=details)
    outputs = [json_codec.decode(child.output) for child in children]
    return outputs if is_loop else outputs[0]


async def _startable(database: Database, project_id: UUID, reference: Any) -> flows.FoundFlow:
    if not isinstance(reference, str):
        raise StepError("INPUT_INVALID", "`flow` must be a name or an ID.", retryable=False)
    flow = await database.read(flows.find, project_id, _key_in(reference), reference)
    if flow is None:
        raise StepError("FLOW_NOT_FOUND", f"The project has no flow {reference!r}.", retryable=False)
    if not flow.enabled:
        raise StepError("FLOW_DISABLED", f"The flow {reference!r} is disabled.")
    if flow.published_version_id is None:
        raise StepError("FLOW_NOT_PUBLISHED", f"The flow {reference!r} has no published version.")
    return flow


def _key_in(reference: str) -> UUID | None:
    try:
        return ids.decode(IdKind.FLOW, reference)
    except InvalidIdError:
        return None


def _inputs(step: CompiledStep, rendered: Mapping[str, Any], scope: Mapping[str, Any], *, is_loop: bool) -> list[Any]:
    assert step.each is not None
    if not is_loop:
        return [step.each.render(scope)]
    items = rendered["forEach"]
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise StepError("INPUT_INVALID", f"`forEach` must be a list of at most {MAX_ITEMS:,} items.", retryable=False)
    return [step.each.render({**scope, "item": item, "index": index}) for index, item in enumerate(items)]


def _checked(check_input: Any, value: Any) -> str:
    try:
        check_input(value)
        return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="input")
    except InputInvalidError as error:
        raise StepError("INPUT_INVALID", f"The child run's input: {error.message}", retryable=False) from None
    except FlowRunsError as error:
        raise StepError("INPUT_TOO_LARGE", error.message, retryable=False) from None
