"""Steps whose input, output or action is unusable."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from domain import json_codec
from engine.errors import StepError
from engine.executor import Executor
from engine.step_values import MAX_MESSAGE
from engine.steps import StepContext, StepSettings
from engine.steps.python import PythonKind
from engine.steps.transform import TransformKind
from tests.engine.executor.harness import error_of, interrupt, output_of
from tests.support.clock import START, FakeClock
from tests.support.worker import WorkerHarness, history, python, transform


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("{{ steps.nowhere.output }}", "TEMPLATE_ERROR"),
        ("{{ run.input.a + 1 }}", "TEMPLATE_ERROR"),
        ("{{ 9223372036854775807 * 4 }}", "NUMBER_OUT_OF_RANGE"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", "TEMPLATE_LIMIT"),
    ],
)
async def test_error_in_a_template_fails_the_step_without_retry(worker: WorkerHarness, value: str, code: str) -> None:
    flow = await worker.publish(transform("a", value, retry={"attempts": 5}), transform("b", 1))
    run_id = await worker.execute(flow, '{"a":"text"}')
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("FAILED", "a", code)
    (step,) = await worker.steps(run_id)
    assert (step.status, step.input, step.attempts_count) == ("FAILED", None, 1)
    assert await worker.tries(run_id) == [("a", 1, "FAILED")]


async def test_input_over_the_limit_fails_the_step(worker: WorkerHarness) -> None:
    def large() -> str:
        return "x" * (json_codec.MAX_INPUT_BYTES - 100)

    both = {"one": "{{ steps.a.output }}", "two": "y" * 200}
    flow = await worker.publish(python("a", "large"), transform("b", both, retry={"attempts": 5}))
    run_id = await worker.execute(flow, large=large)
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("FAILED", "b", "INPUT_TOO_LARGE")
    assert (await worker.steps(run_id))[1].input is None
    assert await worker.tries(run_id) == [("a", 1, "SUCCEEDED"), ("b", 1, "FAILED")]


def leave() -> None:
    sys.exit(3)


async def leave_the_loop() -> None:
    raise SystemExit


async def interrupt_the_loop() -> None:
    raise KeyboardInterrupt


def return_no_json() -> object:
    return {"when": {1, 2}}


def return_much() -> str:
    return "x" * json_codec.MAX_INPUT_BYTES


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (leave, "ACTION_EXITED"),
        (leave_the_loop, "ACTION_EXITED"),
        (interrupt, "ACTION_EXITED"),
        (interrupt_the_loop, "ACTION_EXITED"),
        (return_no_json, "OUTPUT_NOT_JSON"),
        (return_much, "OUTPUT_TOO_LARGE"),
    ],
)
async def test_misbehaving_action_fails_only_its_step(
    worker: WorkerHarness, action: Callable[[], Any], code: str
) -> None:
    flow = await worker.publish(python("a", "bad", continueOnFailure=True), transform("b", "{{ steps.a.error.code }}"))
    assert await output_of(worker, await worker.execute(flow, bad=action)) == code


@pytest.mark.parametrize(
    ("output", "code"), [(object(), "OUTPUT_NOT_JSON"), (return_much(), "OUTPUT_TOO_LARGE")], ids=["object", "large"]
)
async def test_output_that_cannot_be_stored_fails_the_step_without_retry(
    worker: WorkerHarness, output: Any, code: str
) -> None:
    class UnstorableKind(TransformKind):
        async def run(self, rendered: Any, context: StepContext, /) -> Any:
            return output

    run_id = await worker.start(await worker.publish(transform("a", 1, retry={"attempts": 5})))
    await Executor(worker.database, worker.flows, {"transform": UnstorableKind(StepSettings())}).execute(
        await worker.claim()
    )
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("FAILED", "a", code)
    assert await worker.tries(run_id) == [("a", 1, "FAILED")]


async def test_blocking_action_does_not_block_other_runs(worker: WorkerHarness, still: FakeClock) -> None:
    released, blocked = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        released.wait(30)

    executor = await worker.executor(block=block)
    stuck = await worker.start(await worker.publish(python("a", "block", timeout=5)))
    executing = asyncio.create_task(executor.execute(await worker.claim()))
    await asyncio.to_thread(blocked.wait, 30)
    other = await worker.start(await worker.publish(transform("a", 1)))
    await executor.execute(await worker.claim())
    assert (await worker.run(other)).status == "SUCCEEDED"
    await still.advance(5)
    await executing
    released.set()
    assert (await worker.run(stuck)).error_code == "TIMEOUT"


@pytest.mark.parametrize("details", [{"no": {"JSON"}}, {1: 2}])
@pytest.mark.parametrize("redact", [[], ["input.args.key"]])
async def test_unstorable_parts_of_an_error_are_replaced(
    worker: WorkerHarness, details: Any, redact: list[str]
) -> None:
    """Also if there are values that are masked in errors."""

    def strange(key: str) -> None:
        raise StepError("ODD\0", "half \ud800 and nothing \0" + "." * MAX_MESSAGE, details=details)

    step = python("a", "strange", args={"key": "a key of an API"}, redact=redact)
    run_id = await worker.execute(await worker.publish(step), strange=strange)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "ODD\N{REPLACEMENT CHARACTER}")
    assert run.error_message.startswith("half ? and nothing \N{REPLACEMENT CHARACTER}...")
    assert len(run.error_message) == MAX_MESSAGE
    assert (await error_of(worker, run_id))["details"] is None


class BrokenKind(PythonKind):
    """A step kind with a bug."""

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        raise RuntimeError("secret of the service")


async def test_internal_error_ends_the_run_masked_and_the_executor_continues(
    worker: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    runners = await worker.kinds() | {"python": BrokenKind(StepSettings())}
    executor = Executor(worker.database, worker.flows, runners)
    broken = await worker.start(await worker.publish(transform("a", 1), python("b"), transform("c", 3)))
    fine = await worker.start(await worker.publish(transform("a", 1)))
    await executor.execute(await worker.claim())
    await executor.execute(await worker.claim())
    run = await worker.run(broken)
    assert (run.status, run.error_code, run.failed_step_name) == ("INTERNAL_ERROR", "INTERNAL_ERROR", "b")
    assert (run.finished_at, run.duration_ms, run.due_at) == (START, 0, None)
    assert await worker.tries(broken) == [("a", 1, "SUCCEEDED"), ("b", 1, "FAILED")]
    assert await worker.statuses(broken) == {"a": "SUCCEEDED", "b": "FAILED"}
    assert await history(worker, broken) == ["QUEUED", "RUNNING", "INTERNAL_ERROR"]
    assert "secret of the service" not in str(await worker.everything(broken))
    assert "secret of the service" in caplog.text
    assert (await worker.run(fine)).status == "SUCCEEDED"


async def test_step_kind_without_instance_is_an_internal_error(worker: WorkerHarness) -> None:
    executor = Executor(worker.database, worker.flows, {})
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "INTERNAL_ERROR"
