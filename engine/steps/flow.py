"""Flow steps: child runs of another flow, or of the same one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from db import flows
from db.core.database import Database
from db.runs import children
from db.runs.children import ChildBatch, ChildResult
from db.runs.claims import JournalRow
from domain import ids, json_codec
from domain.definition import MAX_RUN_DEPTH, LanguageModel
from domain.enums import RunStatus
from domain.errors import FlowRunsError, InputInvalidError, InvalidIdError
from domain.ids import IdKind
from domain.runs.state_machine import LIVE
from domain.templated import Templated
from engine.errors import StepError
from engine.steps.kind import InputChecker, Launch, Resumed, StepCall, StepKind, StillWaiting, Wait, validated_input

MAX_ITEMS = 1_000
"""Child runs of one step."""


Concurrency = Annotated[int, Field(ge=1, le=100)]


class FlowInput(LanguageModel):
    """Child runs of another flow, or of the same one."""

    flow: str = Field(min_length=1, max_length=200, description="Name or ID of the flow; may be a template.")
    input: Any = Field(
        default={}, description="Input of the child run. With `forEach`, templates may also use `item` and `index`."
    )
    for_each: Any = Field(default=None, description="A list, or a template of one: one child run for each item.")
    concurrency: Templated[Concurrency] = Field(default=10, description="Child runs that run at the same time.")
    wait: Templated[bool] = Field(default=True, description="Whether the step waits until its child runs have ended.")
    fail_parent_on_failure: Templated[bool] = Field(
        default=True, description="Whether the step fails when a child run fails."
    )

    @property
    def is_loop(self) -> bool:
        """True if there is one child run for each item of a list."""
        return "for_each" in self.model_fields_set


class FlowKind(StepKind):
    """Starts child runs, and waits for them or not."""

    name = "flow"
    description = (
        "Starts child runs. The output is the child run's output; with `forEach` a list of outputs, "
        "without `wait` a list of run IDs."
    )
    input_model = FlowInput
    deferred_fields = ("input",)

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait | Launch:
        """Returns the child runs to start.

        Raises:
            StepError: DEPTH_LIMIT, INPUT_INVALID, INPUT_TOO_LARGE, FLOW_NOT_FOUND, FLOW_DISABLED, FLOW_NOT_PUBLISHED.
        """
        step_input = validated_input(FlowInput, rendered)
        if call.run.depth >= MAX_RUN_DEPTH:
            raise StepError("DEPTH_LIMIT", f"Runs can be nested at most {MAX_RUN_DEPTH} deep.", retryable=False)
        flow = await _startable_flow(call.database, call.run.project_id, rendered["flow"])
        assert flow.published_version_id is not None  # `_startable_flow` has checked it
        inputs = _child_inputs(call, rendered, is_loop=step_input.is_loop)
        version = await call.flows.get(flow.published_version_id)
        inputs = [_accepted_input(version, value) for value in inputs]
        texts = [_encode_input(value) for value in inputs]
        batch = ChildBatch(
            flow.id,
            flow.published_version_id,
            step_input.fail_parent_on_failure,
            texts[: step_input.concurrency] if step_input.wait else texts,
            call.position if step_input.wait else None,
            call.attempt,
        )
        # The journal keeps the inputs of all child runs: those beyond `concurrency` are started from there.
        journal_input = {"inputs": inputs}
        if not step_input.wait or not inputs:
            return Launch(batch, journal_input)
        message = f"Waiting for {len(inputs)} child runs" if step_input.is_loop else "Waiting for a child run"
        return Wait(message, children=batch, journal_input=journal_input)

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the outputs of the child runs, or the wait for those that have not ended.

        Raises:
            StepError: CHILD_FAILED, a child run ended without success and fails its parent.
        """
        rows = await call.database.read(children.of_attempt, call.run.id, call.position, call.attempt)
        if any(child.status in LIVE for child in rows):
            return StillWaiting("Still waiting for child runs", for_children=True)
        step_input: FlowInput = call.step.input
        outputs = _child_outputs(rows)
        return Resumed(outputs if step_input.is_loop else outputs[0])


def _child_outputs(rows: Sequence[ChildResult]) -> list[Any]:
    for child in rows:
        if child.status != RunStatus.SUCCEEDED and child.fail_parent_on_failure:
            details = {"runId": ids.encode(IdKind.RUN, child.id), "status": child.status, "code": child.error_code}
            message = child.error_message or f"The child run is {child.status}."
            raise StepError("CHILD_FAILED", message, details=details)
    return [json_codec.decode(child.output) for child in rows]


async def _startable_flow(database: Database, project_id: UUID, reference: Any) -> flows.FoundFlow:
    if not isinstance(reference, str):
        raise StepError("INPUT_INVALID", "`flow` must be the name or the ID of a flow.", retryable=False)
    flow = await database.read(flows.find, project_id, _flow_key(reference), reference)
    if flow is None:
        raise StepError("FLOW_NOT_FOUND", f"The project has no flow {reference!r}.", retryable=False)
    if not flow.enabled:
        raise StepError("FLOW_DISABLED", f"The flow {reference!r} is disabled.")
    if flow.published_version_id is None:
        raise StepError("FLOW_NOT_PUBLISHED", f"The flow {reference!r} has no published version.")
    return flow


def _flow_key(reference: str) -> UUID | None:
    try:
        return ids.decode(IdKind.FLOW, reference)
    except InvalidIdError:
        return None


def _child_inputs(call: StepCall, rendered: Mapping[str, Any], *, is_loop: bool) -> list[Any]:
    if not is_loop:
        return [_render_input(call, call.scope)]
    items = rendered["forEach"]
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise StepError("INPUT_INVALID", f"`forEach` must be a list of at most {MAX_ITEMS:,} items.", retryable=False)
    return [_render_input(call, {**call.scope, "item": item, "index": index}) for index, item in enumerate(items)]


def _render_input(call: StepCall, scope: Mapping[str, Any]) -> Any:
    template = call.deferred.get("input")
    return {} if template is None else template.render(scope)


def _accepted_input(version: InputChecker, value: Any) -> Any:
    try:
        return version.accept_input(value)
    except InputInvalidError as error:
        raise StepError("INPUT_INVALID", f"Input of the child run: {error.message}", retryable=False) from None


def _encode_input(value: Any) -> str:
    try:
        return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="input")
    except FlowRunsError as error:
        raise StepError("INPUT_TOO_LARGE", error.message, retryable=False) from None
