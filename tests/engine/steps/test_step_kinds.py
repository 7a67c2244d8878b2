"""A step kind is one plug: kinds that a test defines work like those of the product."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from db import flows
from db.runs.claims import JournalRow
from domain import json_codec
from domain.errors import DefinitionInvalidError
from domain.flows.definition import LanguageModel
from domain.problem import Problem
from domain.time import clock
from engine.compiled_flow import FlowCache, check
from engine.errors import StepError
from engine.executor import Executor
from engine.steps import KINDS, Resumed, StepCall, StepContext, StepKind, StepKinds, StepSettings, StillWaiting, Wait
from engine.steps.transform import TransformKind
from tests.support.clock import START, FakeClock
from tests.support.worker import Document, Flow, WorkerHarness, transform


class EchoInput(LanguageModel):
    text: str
    times: int = 1


class EchoKind(StepKind):
    """A working kind."""

    name = "echo"
    description = "Repeats a text."
    input_model = EchoInput

    def __init__(self, settings: StepSettings) -> None:
        super().__init__(settings)
        self.is_closed = False

    @classmethod
    def validate(cls, step_input: EchoInput, /) -> Iterable[Problem]:
        if step_input.times < 1:
            yield Problem("times", "Must be at least 1")

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        context.log("echoing")
        return rendered["text"] * rendered.get("times", 1)

    async def aclose(self) -> None:
        self.is_closed = True


class PollInput(LanguageModel):
    polls: int
    note: str = ""


class PollKind(StepKind):
    """A waiting kind: it is over after a number of polls, one each minute."""

    name = "poll"
    description = "Polls each minute."
    input_model = PollInput
    deferred_fields = ("note",)

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait:
        if rendered["polls"] > 100:
            raise StepError("TOO_MANY_POLLS", "Too many polls.", retryable=False)
        note = call.deferred["note"].render({**call.scope, "index": call.position})
        return Wait("Polling", clock.now() + timedelta(minutes=1), journal_input={**rendered, "note": note})

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        polls = (clock.now() - paused.started_at) // timedelta(minutes=1)
        step_input = json_codec.decode(paused.input)
        if polls < step_input["polls"]:
            return StillWaiting("Still polling", clock.now() + timedelta(minutes=1))
        return Resumed({"polls": polls, "note": step_input["note"]})


PLUGGED = StepKinds(*KINDS.values(), EchoKind, PollKind)


def echo(**fields: Any) -> Document:
    return {"name": "echo", "kind": "echo", "input": fields}


def poll(**fields: Any) -> Document:
    return {"name": "poll", "kind": "poll", "input": fields}


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock) -> FakeClock:
    return fake_clock


@pytest.fixture
def executor(worker: WorkerHarness) -> Executor:
    kinds = {name: kind(StepSettings()) for name, kind in PLUGGED.items()}
    return Executor(worker.database, FlowCache(worker.database, kinds=PLUGGED), kinds)


async def publish(worker: WorkerHarness, *steps: Document) -> Flow:
    flow = await worker.publish(transform("placeholder", 1))
    checked = check({"steps": list(steps)}, PLUGGED)
    version_id = await worker.database.write(
        flows.publish, flow.id, worker.project_id, checked.text, checked.step_count
    )
    return Flow(flow.id, version_id)


async def test_working_kind_of_a_test_is_executed(worker: WorkerHarness, executor: Executor) -> None:
    run_id = await worker.start(await publish(worker, transform("a", "x"), echo(text="{{ steps.a.output }}", times=3)))
    await executor.execute(await worker.claim())
    run = await worker.run(run_id)
    assert (run.status, run.output) == ("SUCCEEDED", '"xxx"')
    assert [(row.name, row.kind) for row in await worker.steps(run_id)] == [("a", "transform"), ("echo", "echo")]


async def test_waiting_kind_of_a_test_suspends_and_resumes_the_run(
    worker: WorkerHarness, executor: Executor, still: FakeClock
) -> None:
    run_id = await worker.start(await publish(worker, transform("a", 2), poll(polls=2, note="at {{ index }}")))
    for minutes in (0, 1, 2):
        assert (await worker.run(run_id)).status == ("PAUSED" if minutes else "QUEUED")
        await executor.execute(await worker.claim())
        await still.advance(60)
    run = await worker.run(run_id)
    assert (run.status, json_codec.decode(run.output)) == ("SUCCEEDED", {"polls": 2, "note": "at 1"})
    assert run.finished_at == START + timedelta(minutes=2)
    step = (await worker.steps(run_id))[1]
    assert (step.status, step.attempts_count, json_codec.decode(step.input)["note"]) == ("SUCCEEDED", 1, "at 1")


async def test_waiting_kind_can_refuse_its_rendered_input(worker: WorkerHarness, executor: Executor) -> None:
    run_id = await worker.start(await publish(worker, poll(polls=101, note="")))
    await executor.execute(await worker.claim())
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("FAILED", "TOO_MANY_POLLS", "poll")


@pytest.mark.parametrize(
    ("step", "paths"),
    [
        (echo(), ["steps[0].input.text"]),
        (echo(text="a", times="b"), ["steps[0].input.times"]),
        (echo(text="a", times=0), ["steps[0].input.times"]),
        (echo(text="{{ 1 +"), ["steps[0].input.text"]),
        (poll(polls=1, note="{{ 1 +"), ["steps[0].input.note"]),
    ],
)
def test_definitions_are_validated_by_the_kind(step: Document, paths: list[str]) -> None:
    with pytest.raises(DefinitionInvalidError) as caught:
        check({"steps": [step]}, PLUGGED)
    assert [problem.path for problem in caught.value.problems] == paths


def test_kind_is_unknown_unless_it_is_plugged_in() -> None:
    with pytest.raises(DefinitionInvalidError) as caught:
        check({"steps": [echo(text="a")]})
    (problem,) = caught.value.problems
    assert problem.path == "steps[0].kind"
    assert problem.message.endswith("'http', 'python', 'transform', 'delay', 'humanInput', 'flow'")


def test_json_schema_has_the_kinds() -> None:
    definitions = PLUGGED.language.json_schema()["$defs"]
    assert definitions["EchoStep"]["description"] == "Repeats a text."
    assert definitions["PollStep"]["properties"]["input"] == {"$ref": "#/$defs/PollInput"}
    assert "EchoStep" not in KINDS.language.json_schema()["$defs"]


def test_two_kinds_with_the_same_name_are_refused() -> None:
    class OtherEchoKind(EchoKind):
        pass

    with pytest.raises(ValueError, match="Two step kinds are called 'echo'"):
        StepKinds(EchoKind, OtherEchoKind)


async def test_opened_kinds_are_closed_at_the_end() -> None:
    async with StepKinds(EchoKind, TransformKind).open(StepSettings()) as kinds:
        echo_kind = kinds["echo"]
        assert isinstance(echo_kind, EchoKind)
        assert not echo_kind.is_closed
    assert echo_kind.is_closed


async def test_kind_neither_runs_nor_waits_by_default() -> None:
    class EmptyKind(StepKind):
        name = "empty"
        description = "Does nothing."
        input_model = Any

    kind = EmptyKind(StepSettings())
    with pytest.raises(NotImplementedError, match="Steps of kind empty do not run"):
        await kind.run(None, StepContext("run_1", "a", 1, "run_1:a"))
    with pytest.raises(NotImplementedError, match="Steps of kind empty do not wait"):
        await kind.resume(None, None)  # type: ignore[arg-type]
