"""Flow steps: child runs of another flow, or of the same one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field
from pydantic.alias_generators import to_camel

from db import flows
from db.core.database import Database
from db.runs import children
from db.runs.children import ChildBatch, ChildResult, ItemPlan
from db.runs.claims import JournalRow
from domain import ids, json_codec
from domain.enums import OnItemFailure, RunStatus
from domain.errors import FlowRunsError, InputInvalidError, InvalidIdError
from domain.flows import names as flow_names
from domain.flows.definition import MAX_RUN_DEPTH, LanguageModel
from domain.flows.templated import Templated
from domain.ids import IdKind
from domain.problem import Problem
from domain.runs.state_machine import LIVE
from domain.time import clock
from engine.errors import StepError
from engine.secrets.placeholders import Offsets
from engine.steps.kind import InputChecker, Launch, Resumed, StepCall, StepKind, StillWaiting, Wait, validated_input

MAX_ITEMS = 1_000
"""Largest number of child runs of one step."""


Concurrency = Annotated[int, Field(ge=1, le=100)]


class FlowInput(LanguageModel):
    """The child runs of a `flow` step: their flow, input and number."""

    flow: str = Field(min_length=1, max_length=200, description="Name or ID of the flow; may be a template.")
    input: Any = Field(
        default={}, description="Input of the child run. With `forEach`, templates may also use `item` and `index`."
    )
    for_each: Any = Field(default=None, description="A list, or a template of one: one child run for each item.")
    concurrency: Templated[Concurrency] = Field(
        default=10, description="Largest number of child runs that are live at the same time."
    )
    wait: Templated[bool] = Field(default=True, description="True: the step waits until its child runs have ended.")
    fail_parent_on_failure: Templated[bool] = Field(
        default=True, description="True: the step fails when a child run fails."
    )
    on_item_failure: Templated[Annotated[OnItemFailure, Field(strict=False)]] = Field(
        default=OnItemFailure.WAIT,
        description="How the other child runs of a `forEach` are handled when one of them fails the step: WAIT "
        "until they have ended, or CANCEL them. No further items are started in either case.",
    )

    @property
    def unused(self) -> list[str]:
        """Returns the settings that have no effect without `wait`."""
        return (
            [] if self.wait else [name for name in ("concurrency", "on_item_failure") if name in self.model_fields_set]
        )

    @property
    def is_loop(self) -> bool:
        """True if the step starts one child run for each item of a list."""
        return "for_each" in self.model_fields_set


class FlowKind(StepKind):
    """Starts child runs, and waits for them unless `wait` is false."""

    name = "flow"
    description = (
        "Starts child runs. The output is the child run's output; with `forEach` a list of outputs, or `{count, "
        "truncated: true}` if the outputs are larger than 1 MiB together; without `wait` a list of run IDs."
    )
    input_model = FlowInput
    redactable: ClassVar[frozenset[str]] = frozenset({"output"})
    secret_fields = ("input",)
    deferred_fields = ("input",)

    @classmethod
    def validate_new(cls, step_input: FlowInput, /) -> Iterator[Problem]:
        """Yields a problem for each setting that has an effect only in a step that waits."""
        for name in step_input.unused:
            yield Problem(to_camel(name), "Needs `wait`: without it, all child runs are started at once")

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait | Launch:
        """Returns the child runs to start.

        Raises:
            StepError: DEPTH_LIMIT, INPUT_INVALID, INPUT_TOO_LARGE, FLOW_NOT_FOUND, FLOW_DISABLED, FLOW_NOT_PUBLISHED,
                SECRET_NOT_FOUND, SECRET_UNREADABLE.
        """
        step_input = validated_input(FlowInput, rendered)
        if call.run.depth >= MAX_RUN_DEPTH:
            raise StepError("DEPTH_LIMIT", f"Runs can be nested at most {MAX_RUN_DEPTH} deep.", retryable=False)
        flow = await _startable_flow(call.database, call.run.project_id, rendered["flow"])
        assert flow.published_version_id is not None  # `_startable_flow` has checked this.
        rendered_inputs = _child_inputs(call, rendered, is_loop=step_input.is_loop)
        version = await call.flows.get(flow.published_version_id)
        # The inputs include the defaults of the schema, so that the journal keeps the inputs that child runs get.
        inputs: list[Any] = []
        secrets: dict[int, Offsets] = {}
        for item, value in enumerate(rendered_inputs):
            shown, offsets = call.secrets.located(value)
            if offsets:
                # The value is checked with the secrets in it, and kept with their placeholders.
                _accepted_input(version, await call.secrets.actual(value))
                inputs.append(version.with_defaults(shown))
                secrets[item] = offsets
            else:
                inputs.append(_accepted_input(version, shown))
        # The journal keeps the inputs of all child runs: those beyond `concurrency` are started from it.
        plan = await _continued_plan(
            call,
            flow.id,
            ItemPlan(
                inputs,
                step_input.concurrency if step_input.is_loop else None,
                step_input.on_item_failure,
                secrets=secrets,
            ),
        )
        batch = ChildBatch(
            call.run.root_run_id,
            flow.id,
            flow.published_version_id,
            # A run for which the step does not wait never fails its parent.
            step_input.fail_parent_on_failure and step_input.wait,
            plan,
            step_input.concurrency if step_input.wait else len(inputs),
            call.position if step_input.wait else None,
            call.attempt,
        )
        if not step_input.wait or not inputs:
            return Launch(batch, plan.document())
        number = len(inputs) - len(plan.kept)
        if number == 0:
            return Wait("All child runs are kept", clock.now(), children=batch, journal_input=plan.document())
        message = f"Waiting for {number} child runs" if step_input.is_loop else "Waiting for a child run"
        return Wait(message, children=batch, journal_input=plan.document())

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the outputs of the child runs, or the wait for those that have not ended.

        Raises:
            StepError: CHILD_FAILED, a child run ended without success and fails its parent; CHILD_DELETED, one whose
                result was kept is gone; FLOW_DISABLED, the flow was disabled before all child runs were started.
        """
        holders = await call.database.read(children.of_attempt, call.run.id, call.position, call.attempt)
        if any(child.status in LIVE for child in holders.values()):
            return StillWaiting("Still waiting for child runs", for_children=True)
        _check_children(holders.values())
        plan = ItemPlan.parse(paused.input)
        run_ids = {item: child.id for item, child in holders.items()} | dict(plan.kept)
        if missing := len(plan.inputs) - len(run_ids):
            message = f"The flow was disabled before {missing} of {len(plan.inputs)} child runs were started."
            raise StepError("FLOW_DISABLED", message)
        step_input: FlowInput = call.step.input
        outputs = await _outputs(call, [run_ids[item] for item in sorted(run_ids)])
        if outputs is None:
            return Resumed({"count": len(run_ids), "truncated": True})
        return Resumed(outputs if step_input.is_loop else outputs[0])


async def _continued_plan(call: StepCall, flow_id: UUID, plan: ItemPlan) -> ItemPlan:
    """Returns `plan` with the state of an earlier execution of the step: its results are kept, its failures retried."""
    earlier = await call.database.read(children.earlier_attempt, call.run, call.position, call.step.name, call.attempt)
    # The items of another list cannot be matched with those of this list.
    if earlier is None or len(earlier.plan.inputs) != len(plan.inputs):
        return plan
    # On another version or with another input, an item with a changed input gets a new run.
    changed = {
        item
        for item, (old, new) in enumerate(zip(earlier.plan.inputs, plan.inputs, strict=True))
        if not earlier.is_same and old != new
    }
    kept = {item: run_id for item, run_id in earlier.plan.kept.items() if item not in changed}
    unfinished = {item: run_id for item, run_id in earlier.plan.retried.items() if item not in changed}
    for item, child in earlier.children.items():
        if item in changed:
            continue
        unfinished.pop(item, None)
        if child.status == RunStatus.SUCCEEDED and child.flow_id == flow_id:
            kept[item] = child.id
        else:
            unfinished[item] = child.id
    latest = await call.database.read(children.latest_of_chains, list(unfinished.values()))
    retried: dict[int, UUID] = {}
    for item, run_id in unfinished.items():
        last = latest.get(run_id)
        if last is None or last.flow_id != flow_id:
            continue
        if last.status == RunStatus.SUCCEEDED:
            kept[item] = last.id
        elif last.steps_purged_at is None:
            retried[item] = last.id
    # An item whose run was erased or deleted since has no result: it gets a new run.
    left = await call.database.read(children.with_output, list(kept.values()))
    return replace(plan, kept={item: key for item, key in kept.items() if key in left}, retried=retried)


async def _outputs(call: StepCall, run_ids: Sequence[UUID]) -> list[Any] | None:
    """Returns the outputs of runs; None if together they are larger than the output of a step may be.

    Raises:
        StepError: CHILD_DELETED, a run that an earlier attempt had executed was erased or deleted since.
    """
    if await call.database.read(children.output_size, run_ids) > json_codec.MAX_INPUT_BYTES:
        return None
    outputs = await call.database.read(children.outputs, run_ids)
    if missing := len(run_ids) - len(outputs):
        message = (
            f"{missing} child runs whose results the step kept were erased or deleted. A retry repeats their items."
        )
        raise StepError("CHILD_DELETED", message)
    return [json_codec.decode(outputs[run_id]) for run_id in run_ids]


def _check_children(rows: Iterable[ChildResult]) -> None:
    for child in rows:
        if child.status != RunStatus.SUCCEEDED and child.fail_parent_on_failure:
            details = {"runId": ids.encode(IdKind.RUN, child.id), "status": child.status, "code": child.error_code}
            message = child.error_message or f"The child run is {child.status}."
            raise StepError("CHILD_FAILED", message, details=details)


async def _startable_flow(database: Database, project_id: UUID, reference: Any) -> flows.FoundFlow:
    if not isinstance(reference, str):
        raise StepError("INPUT_INVALID", "`flow` must be the name or the ID of a flow.", retryable=False)
    flow = await database.read(flows.find, project_id, _flow_key(reference), flow_names.normalize(reference))
    if flow is None:
        raise StepError("FLOW_NOT_FOUND", f"The project has no flow {reference!r}.", retryable=False)
    if not flow.enabled:
        raise StepError("FLOW_DISABLED", f"The flow {reference!r} is disabled.")
    if flow.published_version_id is None:
        raise StepError("FLOW_NOT_PUBLISHED", f"The flow {reference!r} has no published version.")
    return flow


def _flow_key(reference: str) -> UUID | None:
    try:
        return ids.decode(IdKind.FLOW, reference.strip())
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
    """Returns the input of a child run after validation, with the defaults of its schema."""
    try:
        accepted = version.accept_input(value)
        json_codec.encode(accepted, limit=json_codec.MAX_INPUT_BYTES, what="input")
    except InputInvalidError as error:
        raise StepError("INPUT_INVALID", f"Input of the child run: {error.message}", retryable=False) from None
    except FlowRunsError as error:
        raise StepError("INPUT_TOO_LARGE", error.message, retryable=False) from None
    return accepted
