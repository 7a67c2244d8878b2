"""The executor: what its rows say after it has executed a claimed run to its end or to a suspension."""

import asyncio
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db.events import log as event_log
from db.runs import claims, step_journal
from db.runs.claims import Claimed
from domain import json_codec
from engine.actions import PermanentError
from engine.compiled_flow import FlowCache
from engine.errors import StepError
from engine.executor import MAX_INTERRUPTIONS, Executor
from engine.step_values import MAX_MESSAGE
from engine.steps import StepContext, StepSettings
from engine.steps.python import PythonKind
from engine.steps.transform import TransformKind
from tests.support.clock import START, FakeClock
from tests.support.factory import encode_run_id
from tests.support.processes.listener import answering
from tests.support.worker import WorkerHarness, history, python, transform


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock, worker: WorkerHarness) -> FakeClock:
    """A clock that stands still unless the test moves it."""
    fake_clock.watch(worker.database)
    return fake_clock


def seconds(count: float) -> datetime:
    """Returns an instant relative to the start of the test."""
    return START + timedelta(seconds=count)


def fail() -> None:
    raise ValueError("bad luck")


def failing(times: int) -> Callable[..., str]:
    """Returns an action that fails `times` times, and then returns the number of the call."""
    calls = iter(range(1, 1000))

    def action() -> str:
        number = next(calls)
        if number <= times:
            raise ValueError(f"no luck at {number}")
        return f"attempt {number}"

    return action


async def error_of(worker: WorkerHarness, run_id: UUID, position: int = 0) -> Any:
    return json_codec.decode((await worker.steps(run_id))[position].error)


async def output_of(worker: WorkerHarness, run_id: UUID) -> Any:
    return json_codec.decode((await worker.run(run_id)).output)


# Success


async def test_run_that_succeeds_leaves_exactly_these_rows(worker: WorkerHarness, still: FakeClock) -> None:
    async def double(number: int) -> int:
        await still.sleep(2)
        return number * 2

    flow = await worker.publish(
        transform("read", "{{ run.input.number }}", displayName="Read it"),
        python("double", args={"number": "{{ steps.read.output }}"}),
    )
    run_id = await worker.start(flow, '{"number":21}')
    executor = await worker.executor(double=double)
    lease = await worker.claim()
    await still.drive(executor.execute(lease))

    run = await worker.run(run_id)
    assert (run.status, run.output, run.duration_ms) == ("SUCCEEDED", "42", 2000)
    assert (run.created_at, run.started_at, run.finished_at) == (START, START, seconds(2))
    assert (run.due_at, run.lease_token, run.interruptions) == (None, None, 0)
    assert (run.failed_step_name, run.error_code, run.error_message, run.error_fingerprint) == (None,) * 4
    common: dict[str, Any] = {
        "run_id": run_id,
        "status": "SUCCEEDED",
        "attempts_count": 1,
        "error": None,
        "reused_from_id": None,
    }
    assert [row._asdict() for row in await worker.steps(run_id)] == [
        common
        | {"position": 0, "name": "read", "display_name": "Read it", "kind": "transform", "input": "21"}
        | {"output": "21", "started_at": START, "finished_at": START, "duration_ms": 0},
        common
        | {"position": 1, "name": "double", "display_name": None, "kind": "python"}
        | {"input": '{"action":"double","args":{"number":21}}', "output": "42"}
        | {"started_at": START, "finished_at": seconds(2), "duration_ms": 2000},
    ]
    assert [tuple(row) for row in await worker.attempts(run_id)] == [
        (run_id, 0, 1, "SUCCEEDED", START, START, None),
        (run_id, 1, 1, "SUCCEEDED", START, seconds(2), None),
    ]
    assert [
        (row.step_name, row.from_status, row.to_status, row.message, row.at) for row in await worker.events(run_id)
    ] == [
        (None, None, "QUEUED", "Created by a test", START),
        (None, "QUEUED", "RUNNING", "Run started", START),
        ("read", "PENDING", "RUNNING", None, START),
        ("read", "RUNNING", "SUCCEEDED", None, START),
        ("double", "PENDING", "RUNNING", None, START),
        ("double", "RUNNING", "SUCCEEDED", None, seconds(2)),
        (None, "RUNNING", "SUCCEEDED", "Run succeeded", seconds(2)),
    ]


async def test_templates_see_the_run_and_earlier_steps(worker: WorkerHarness) -> None:
    flow = await worker.publish(
        transform("one", {"deep": [1, 2]}),
        transform("two", {"last": "{{ steps.one.output.deep[-1] }}", "run": "{{ run.id }} {{ run.metadata.who }}"}),
        transform(
            "three", {"tags": "{{ run.tags }}", "where": "{{ run.environment }}", "attempt": "{{ run.attempt }}"}
        ),
        output="{{ [steps.two.output, steps.three.output] }}",
    )
    run_id = await worker.start(flow, tags=["a"], metadata='{"who":"me"}')
    await (await worker.executor()).execute(await worker.claim())
    assert await output_of(worker, run_id) == [
        {"last": 2, "run": f"{encode_run_id(run_id)} me"},
        {"tags": ["a"], "where": "TESTING", "attempt": 1},
    ]


async def test_context_has_run_attempt_and_timeout(worker: WorkerHarness) -> None:
    contexts: list[StepContext] = []

    async def collect(ctx: StepContext) -> None:
        contexts.append(ctx)

    flow = await worker.publish(python("collect", timeout=70))
    run_id = encode_run_id(await worker.execute(flow, collect=collect))
    assert contexts == [StepContext(run_id, "collect", 1, f"{run_id}:collect", 70)]


async def test_default_output_is_that_of_the_last_succeeded_step(worker: WorkerHarness) -> None:
    flow = await worker.publish(
        transform("one", "kept"),
        python("two", "fail", continueOnFailure=True),
        transform("three", "never", when="{{ false }}"),
    )
    assert await output_of(worker, await worker.execute(flow, fail=fail)) == "kept"


async def test_flow_sets_the_output(worker: WorkerHarness) -> None:
    flow = await worker.publish(transform("one", 20), output={"answer": "{{ steps.one.output + 22 }}"})
    assert await output_of(worker, await worker.execute(flow)) == {"answer": 42}


async def test_flow_can_set_the_output_to_null(worker: WorkerHarness) -> None:
    flow = await worker.publish(transform("one", 20), output=None)
    assert (await worker.run(await worker.execute(flow))).output == "null"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("{{ steps.one.output / 0 }}", "TEMPLATE_ERROR"),
        ("{{ steps.nowhere.output }}", "TEMPLATE_ERROR"),
        ("{{ 'x' * 2000000 }}", "TEMPLATE_LIMIT"),
    ],
)
async def test_error_in_the_flow_output_fails_the_run_and_no_step(
    worker: WorkerHarness, output: str, code: str
) -> None:
    run_id = await worker.execute(await worker.publish(transform("one", 20), output=output))
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code, run.output) == ("FAILED", None, code, None)
    assert await worker.statuses(run_id) == {"one": "SUCCEEDED"}
    assert (await worker.events(run_id))[-1].message == run.error_message


# Conditions


async def test_step_with_false_condition_is_skipped(worker: WorkerHarness) -> None:
    flow = await worker.publish(
        transform("first", 1),
        python("no", "fail", when="{{ run.input.go }}"),
        transform("seen", ["{{ steps.no.status }}", "{{ steps.no.output }}"]),
        transform("yes", "went", when="{{ steps.first.output == 1 }}"),
    )
    run_id = await worker.execute(flow, '{"go":false}', fail=fail)
    assert await worker.statuses(run_id) == {
        "first": "SUCCEEDED",
        "no": "SKIPPED",
        "seen": "SUCCEEDED",
        "yes": "SUCCEEDED",
    }
    rows = await worker.steps(run_id)
    assert (rows[1].attempts_count, rows[1].input, rows[1].output, rows[1].duration_ms) == (0, None, None, 0)
    assert (rows[1].started_at, rows[1].finished_at) == (START, START)
    assert rows[2].output == '["SKIPPED",null]'
    assert [(name, number) for name, number, _ in await worker.tries(run_id)] == [("first", 1), ("seen", 1), ("yes", 1)]


async def test_error_in_a_condition_fails_the_step(worker: WorkerHarness) -> None:
    flow = await worker.publish(transform("a", 1, when="{{ 1 / 0 }}", retry={"attempts": 5}))
    run_id = await worker.execute(flow)
    assert (await worker.run(run_id)).failed_step_name == "a"
    assert (await error_of(worker, run_id))["code"] == "TEMPLATE_ERROR"
    assert await worker.tries(run_id) == [("a", 1, "FAILED")]


async def test_condition_is_evaluated_before_the_first_attempt_only(worker: WorkerHarness) -> None:
    flow = await worker.publish(python("a", "flaky", when="{{ run.input }}", retry={"attempts": 2, "delay": 0}))
    run_id = await worker.start(flow, "true")
    executor = await worker.executor(flaky=failing(1))
    await executor.execute(await worker.claim())
    await worker.change(run_id, input="false")
    await executor.execute(await worker.claim())
    assert await worker.statuses(run_id) == {"a": "SUCCEEDED"}


# Failures and retries


async def test_failed_step_ends_the_run_with_its_error(worker: WorkerHarness) -> None:
    flow = await worker.publish(transform("a", 1), python("b", "fail"), transform("c", 3))
    run_id = await worker.execute(flow, fail=fail)
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("FAILED", "b", "ACTION_FAILED")
    assert run.error_message == "fail raised ValueError: bad luck"
    assert (run.finished_at, run.duration_ms, run.due_at, run.lease_token, run.output) == (START, 0, None, None, None)
    assert await worker.statuses(run_id) == {"a": "SUCCEEDED", "b": "FAILED"}
    error = {"code": "ACTION_FAILED", "message": run.error_message, "details": {"type": "ValueError"}}
    assert await error_of(worker, run_id, 1) == error
    assert json_codec.decode((await worker.attempts(run_id))[1].error) == error
    assert (await worker.events(run_id))[-1].message == "Step 'b': fail raised ValueError: bad luck"
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "FAILED"]


async def test_errors_that_differ_only_in_numbers_share_a_fingerprint(worker: WorkerHarness) -> None:
    flow = await worker.publish(python("a"))
    prints = []
    for message in ("order 17 is gone", "order 4711 is gone", "nothing is gone"):

        def action(message: str = message) -> None:
            raise ValueError(message)

        prints.append((await worker.run(await worker.execute(flow, a=action))).error_fingerprint)
    assert prints[0] is not None
    assert prints[0] == prints[1] != prints[2]


async def test_run_is_snoozed_between_two_attempts(worker: WorkerHarness) -> None:
    flow = await worker.publish(python("a", "flaky", retry={"attempts": 3, "delay": 10, "jitter": 0}))
    run_id = await worker.execute(flow, flaky=failing(1))
    run = await worker.run(run_id)
    assert (run.status, run.due_at, run.lease_token) == ("RUNNING", seconds(10), None)
    (step,) = await worker.steps(run_id)
    assert (step.status, step.attempts_count, step.finished_at, step.duration_ms) == ("PENDING", 1, None, None)
    assert json_codec.decode(step.error)["message"] == "flaky raised ValueError: no luck at 1"
    assert await worker.database.write(claims.claim, 1, timedelta(seconds=15)) == []


async def test_next_attempt_clears_the_error_of_the_previous_one(worker: WorkerHarness, still: FakeClock) -> None:
    flow = await worker.publish(python("a", "flaky", retry={"attempts": 3, "delay": 10, "jitter": 0}))
    run_id = await worker.start(flow)
    executor = await worker.executor(flaky=failing(1))
    await executor.execute(await worker.claim())
    await still.advance(10)
    await executor.execute(await worker.claim())
    (step,) = await worker.steps(run_id)
    assert (step.status, step.attempts_count, step.error, step.output) == ("SUCCEEDED", 2, None, '"attempt 2"')
    assert (step.started_at, step.finished_at, step.duration_ms) == (START, seconds(10), 10_000)
    rows = await worker.attempts(run_id)
    assert [(row.number, row.status, row.started_at) for row in rows] == [
        (1, "FAILED", START),
        (2, "SUCCEEDED", seconds(10)),
    ]
    assert json_codec.decode(rows[0].error)["message"] == "flaky raised ValueError: no luck at 1"
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]


async def waits_between_tries(worker: WorkerHarness, still: FakeClock, **retry: Any) -> list[float]:
    """Returns the seconds between the attempts of a step that always fails."""
    run_id = await worker.start(await worker.publish(python("a", "fail", retry=retry)))
    executor = await worker.executor(fail=fail)
    waits: list[float] = []
    while True:
        await executor.execute(await worker.claim())
        run = await worker.run(run_id)
        if run.due_at is None:
            assert run.status == "FAILED"
            return waits
        waits.append((run.due_at - still.now()).total_seconds())
        await still.advance(waits[-1])


async def test_retry_delay_grows_up_to_its_maximum(worker: WorkerHarness, still: FakeClock) -> None:
    waits = await waits_between_tries(worker, still, attempts=6, delay=2, factor=3, maxDelay=30, jitter=0)
    assert waits == [2, 6, 18, 30, 30]


async def test_jitter_randomizes_a_share_of_the_retry_delay(worker: WorkerHarness, still: FakeClock) -> None:
    waits = await waits_between_tries(worker, still, attempts=20, delay=100, factor=1, jitter=0.25)
    assert all(75 <= wait <= 100 for wait in waits)
    assert len(set(waits)) > 1


async def test_retry_policy_limits_the_attempts(worker: WorkerHarness, still: FakeClock) -> None:
    waits = await waits_between_tries(worker, still, attempts=4, delay=0)
    assert waits == [0, 0, 0]


async def test_step_without_retry_policy_has_one_attempt(worker: WorkerHarness) -> None:
    run_id = await worker.execute(await worker.publish(python("a", "fail")), fail=fail)
    assert await worker.tries(run_id) == [("a", 1, "FAILED")]


async def test_error_that_is_not_retryable_is_final(worker: WorkerHarness) -> None:
    def gone() -> None:
        raise PermanentError("no such customer")

    run_id = await worker.execute(await worker.publish(python("a", "gone", retry={"attempts": 5})), gone=gone)
    assert (await worker.run(run_id)).status == "FAILED"
    assert await worker.tries(run_id) == [("a", 1, "FAILED")]


async def test_run_continues_after_a_failure_if_the_step_allows_it(worker: WorkerHarness) -> None:
    flow = await worker.publish(
        python("a", "fail", continueOnFailure=True),
        transform("b", ["{{ steps.a.status }}", "{{ steps.a.error.code }}", "{{ steps.a.error.details.type }}"]),
    )
    run_id = await worker.execute(flow, fail=fail)
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("SUCCEEDED", None, None)
    assert await worker.statuses(run_id) == {"a": "FAILED", "b": "SUCCEEDED"}
    assert await output_of(worker, run_id) == ["FAILED", "ACTION_FAILED", "ValueError"]


async def test_allowed_failure_comes_after_all_attempts_and_is_visible_in_later_claims(
    worker: WorkerHarness, still: FakeClock
) -> None:
    flow = await worker.publish(
        python("a", "fail", continueOnFailure=True, retry={"attempts": 2, "delay": 1, "jitter": 0}),
        python("b", "flaky", retry={"attempts": 2, "delay": 1, "jitter": 0}),
        transform("c", "{{ steps.a.error.code }} {{ steps.b.output }}"),
    )
    run_id = await worker.start(flow)
    executor = await worker.executor(fail=fail, flaky=failing(1))
    for _ in range(3):
        await executor.execute(await worker.claim())
        await still.advance(1)
    assert await output_of(worker, run_id) == "ACTION_FAILED attempt 2"
    assert await worker.tries(run_id) == [
        ("a", 1, "FAILED"),
        ("a", 2, "FAILED"),
        ("b", 1, "FAILED"),
        ("b", 2, "SUCCEEDED"),
        ("c", 1, "SUCCEEDED"),
    ]


# Timeouts


async def test_attempt_that_exceeds_the_step_timeout_fails(worker: WorkerHarness, still: FakeClock) -> None:
    async def hang() -> None:
        await still.sleep(10_000)

    flow = await worker.publish(python("a", "hang", timeout=3, retry={"attempts": 2, "delay": 1, "jitter": 0}))
    run_id = await worker.start(flow)
    executor = await worker.executor(hang=hang)
    await still.drive(executor.execute(await worker.claim()))
    assert still.now() == seconds(3)
    assert (await error_of(worker, run_id))["code"] == "TIMEOUT"
    await still.advance(1)
    await still.drive(executor.execute(await worker.claim()))
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.error_message) == (
        "FAILED",
        "TIMEOUT",
        "The step took longer than 3 seconds.",
    )
    assert (run.duration_ms, still.now()) == (7000, seconds(7))


async def test_run_times_out_during_a_step(worker: WorkerHarness, still: FakeClock) -> None:
    async def hang() -> None:
        await still.sleep(10_000)

    retry = {"attempts": 5, "delay": 1}
    flow = await worker.publish(python("a", "hang", retry=retry, continueOnFailure=True), timeout=4)
    run_id = await worker.start(flow)
    executor = await worker.executor(hang=hang)
    await still.drive(executor.execute(await worker.claim()))
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("TIMEOUT", "TIMEOUT", "a")
    assert run.error_message == "The run took longer than 4 seconds."
    assert (run.finished_at, run.duration_ms) == (seconds(4), 4000)
    assert await worker.statuses(run_id) == {"a": "FAILED"}
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "TIMEOUT"]


async def test_run_times_out_between_two_attempts(worker: WorkerHarness, still: FakeClock) -> None:
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        raise ValueError("bad luck")

    flow = await worker.publish(python("a", "work", retry={"attempts": 3, "delay": 100, "jitter": 0}), timeout=30)
    run_id = await worker.start(flow)
    executor = await worker.executor(work=work)
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).due_at == seconds(30)
    await still.advance(30)
    await executor.execute(await worker.claim())
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.duration_ms) == ("TIMEOUT", "a", 30_000)
    assert calls == [1]
    (step,) = await worker.steps(run_id)
    assert (step.status, step.attempts_count, step.finished_at) == ("FAILED", 1, seconds(30))
    assert json_codec.decode(step.error)["code"] == "TIMEOUT"
    (attempt,) = await worker.attempts(run_id)
    assert (attempt.status, attempt.finished_at) == ("FAILED", START)
    assert json_codec.decode(attempt.error)["code"] == "ACTION_FAILED"


async def test_overdue_run_starts_no_further_step(worker: WorkerHarness, still: FakeClock) -> None:
    async def slow() -> str:
        await still.sleep(4.9)
        return "done"

    # The action blocks the loop past the deadline, so its timeout comes too late to stop it.
    def overrun() -> str:
        still.block(1)
        return "done too"

    flow = await worker.publish(python("a", "slow"), python("b", "overrun"), transform("c", 1), timeout=5)
    run_id = await worker.start(flow)
    executor = await worker.executor(slow=slow, overrun=overrun)
    await still.drive(executor.execute(await worker.claim()))
    run = await worker.run(run_id)
    assert (run.status, run.failed_step_name, run.error_code) == ("TIMEOUT", None, "TIMEOUT")
    assert await worker.statuses(run_id) == {"a": "SUCCEEDED", "b": "SUCCEEDED"}


# Inputs, outputs and errors


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("{{ steps.nowhere.output }}", "TEMPLATE_ERROR"),
        ("{{ run.input.a + 1 }}", "TEMPLATE_ERROR"),
        ("{{ 9223372036854775807 * 4 }}", "TEMPLATE_ERROR"),
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


def interrupt() -> None:
    raise KeyboardInterrupt


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


async def test_unstorable_parts_of_an_error_are_replaced(worker: WorkerHarness) -> None:
    def strange() -> None:
        raise StepError("ODD\0", "half \ud800 and nothing \0" + "." * MAX_MESSAGE, details={"no": {"JSON"}})

    run_id = await worker.execute(await worker.publish(python("a", "strange")), strange=strange)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "ODD\N{REPLACEMENT CHARACTER}")
    assert run.error_message.startswith("half ? and nothing \N{REPLACEMENT CHARACTER}...")
    assert len(run.error_message) == MAX_MESSAGE
    assert (await error_of(worker, run_id))["details"] is None


# Internal errors


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


async def test_run_that_crashed_too_many_workers_ends(worker: WorkerHarness, still: FakeClock) -> None:
    calls: list[int] = []

    async def deadly() -> None:
        calls.append(1)
        await asyncio.Event().wait()

    run_id = await worker.start(await worker.publish(python("a", "deadly", retry={"attempts": 50})))
    executor = await worker.executor(deadly=deadly)
    for _ in range(MAX_INTERRUPTIONS + 1):
        await lose_worker(executor, worker, still)
    assert (await worker.run(run_id)).status == "RUNNING"
    await executor.execute(await worker.claim())
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("INTERNAL_ERROR", "WORKERS_LOST", "a")
    assert len(calls) == MAX_INTERRUPTIONS + 1
    assert await worker.statuses(run_id) == {"a": "FAILED"}
    assert {status for _, _, status in await worker.tries(run_id)} == {"INTERRUPTED"}


async def lose_worker(executor: Executor, worker: WorkerHarness, still: FakeClock) -> None:
    """Let a worker start an attempt and be lost during it; its lease expires."""
    task = asyncio.create_task(executor.execute(await worker.claim()))
    await still.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await still.advance(15)


async def test_progress_resets_the_count_of_lost_workers(worker: WorkerHarness, still: FakeClock) -> None:
    """A long run survives many restarts if it makes progress in between."""

    async def work(ctx: StepContext) -> None:
        if ctx.attempt <= 4:
            await asyncio.Event().wait()

    run_id = await worker.start(await worker.publish(*(python(name, "work") for name in "abc")))
    executor = await worker.executor(work=work)
    for _ in range(12):
        await lose_worker(executor, worker, still)
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.statuses(run_id) == dict.fromkeys("abc", "SUCCEEDED")


async def test_interrupted_attempt_is_repeated_and_is_no_failure(worker: WorkerHarness, still: FakeClock) -> None:
    calls: list[int] = []

    async def work(ctx: StepContext) -> str:
        calls.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        if ctx.attempt == 2:
            raise ValueError("bad luck")
        return "done"

    flow = await worker.publish(transform("a", 1), python("b", "work", retry={"attempts": 2, "delay": 0}))
    run_id = await worker.start(flow)
    executor = await worker.executor(work=work)
    await lose_worker(executor, worker, still)
    await executor.execute(await worker.claim())
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.tries(run_id) == [
        ("a", 1, "SUCCEEDED"),
        ("b", 1, "INTERRUPTED"),
        ("b", 2, "FAILED"),
        ("b", 3, "SUCCEEDED"),
    ]
    cut_short = (await worker.attempts(run_id))[1]
    assert (cut_short.finished_at, cut_short.error) == (seconds(15), None)
    assert calls == [1, 2, 3]


# Versions and retries


async def test_run_keeps_the_flow_version_it_was_started_with(worker: WorkerHarness, still: FakeClock) -> None:
    old = await worker.publish(
        python("a", "flaky", retry={"attempts": 2, "delay": 1, "jitter": 0}), transform("b", "old")
    )
    run_id = await worker.start(old)
    executor = await worker.executor(flaky=failing(1))
    await executor.execute(await worker.claim())
    new = await worker.publish_again(old.id, transform("a", "new"))
    await still.advance(1)
    other = await worker.start(new)
    await executor.execute(await worker.claim())
    await executor.execute(await worker.claim())
    assert await output_of(worker, run_id) == "old"
    assert await output_of(worker, other) == "new"


async def test_retry_executes_from_the_failed_step(worker: WorkerHarness) -> None:
    calls: list[str] = []

    async def record(name: str, bad: bool = False) -> str:
        calls.append(name)
        if bad:
            raise ValueError("bad luck")
        return f"{name} {len(calls)}"

    flow = await worker.publish(
        python("a", "record", args={"name": "a"}),
        python("skipped", "record", args={"name": "skipped"}, when="{{ false }}"),
        python("allowed", "record", args={"name": "allowed", "bad": True}, continueOnFailure=True),
        python("b", "record", args={"name": "b", "bad": "{{ run.attempt == 1 }}"}),
        python(
            "c", "record", args={"name": "c {{ steps.a.output }} {{ steps.allowed.status }} {{ steps.skipped.status }}"}
        ),
    )
    old = await worker.execute(flow, record=record)
    before = await worker.everything(old)
    new = await worker.retry(old)
    await (await worker.executor(record=record)).execute(await worker.claim())
    assert calls == ["a", "allowed", "b", "b", "c a 1 FAILED SKIPPED"]
    assert (await worker.run(new)).status == "SUCCEEDED"
    rows = await worker.steps(new)
    assert [(row.name, row.status, row.reused_from_id == old) for row in rows] == [
        ("a", "SUCCEEDED", True),
        ("skipped", "SKIPPED", True),
        ("allowed", "FAILED", True),
        ("b", "SUCCEEDED", False),
        ("c", "SUCCEEDED", False),
    ]
    assert [name for name, _, _ in await worker.tries(new)] == ["b", "c"]
    assert (await worker.run(old)).recovered_by_id == new
    await worker.change(old, recovered_by_id=None)
    *unchanged, last_event = await worker.everything(old)
    assert unchanged == before
    assert event_log.RUN_RECOVERED in last_event


async def test_successful_retry_marks_the_whole_chain_as_recovered(worker: WorkerHarness) -> None:
    flow = await worker.publish(transform("a", "{{ 1 / (run.attempt // 3) }}"))
    first = await worker.execute(flow)
    executor = await worker.executor()
    second = await worker.retry(first)
    await executor.execute(await worker.claim())
    assert (await worker.run(first)).recovered_by_id is None
    third = await worker.retry(second)
    await executor.execute(await worker.claim())
    assert [(await worker.run(run_id)).recovered_by_id for run_id in (first, second, third)] == [third, third, None]


async def test_retry_of_a_run_that_timed_out_between_steps_keeps_finished_steps(
    worker: WorkerHarness, still: FakeClock
) -> None:
    flow = await worker.publish(
        transform("a", 1), python("b", "flaky", retry={"attempts": 2, "delay": 60, "jitter": 0}), timeout=10
    )
    executor = await worker.executor(flaky=failing(1))
    old = await worker.start(flow)
    await executor.execute(await worker.claim())
    await still.advance(10)
    await executor.execute(await worker.claim())
    new = await worker.retry(old)
    await executor.execute(await worker.claim())
    assert (await worker.run(new)).status == "SUCCEEDED"
    assert await worker.tries(new) == [("b", 1, "SUCCEEDED")]


async def test_most_recently_used_versions_stay_compiled(worker: WorkerHarness) -> None:
    cache = FlowCache(worker.database, size=2)
    one, two, three = [(await worker.publish(transform("a", n))).version_id for n in range(3)]
    compiled = await cache.get(one)
    dropped = await cache.get(two)
    assert await cache.get(one) is compiled
    await cache.get(three)
    assert await cache.get(one) is compiled
    assert await cache.get(two) is not dropped


# Lost leases


class StealingDatabase:
    """A database on which another worker claims the run just before the first call of one journal function."""

    def __init__(self, worker: WorkerHarness, run_id: UUID, point: str) -> None:
        self._engine = worker
        self._run_id = run_id
        self._point = point
        self.after_theft: list[tuple[Any, ...]] | None = None
        self.other: Claimed

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._maybe_steal(work, args)
        return await self._engine.database.read(work, *args, **kwargs)

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._maybe_steal(work, args)
        return await self._engine.database.write(work, *args, **kwargs)

    async def write_together(self, work: Callable[..., Any], key: Any, change: Any) -> bool:
        point = step_journal.advance if isinstance(change, step_journal.Advance) else step_journal.finish
        await self._maybe_steal(point, (change.lease,))
        return await self._engine.database.write_together(work, key, change)

    async def _maybe_steal(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        journal_function = args[2] if work is step_journal.with_output else work
        if journal_function.__name__ == self._point and self.after_theft is None:
            await self._engine.change(self._run_id, due_at=START)
            self.other = await self._engine.claim()
            self.after_theft = await self._engine.everything(self._run_id)


@pytest.mark.parametrize("point", ["interrupt", "advance", "skip", "snooze", "finish"])
async def test_worker_without_the_lease_changes_nothing(worker: WorkerHarness, still: FakeClock, point: str) -> None:
    flaky = failing(1)

    async def work(ctx: StepContext) -> str:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return "done"

    steps = {
        "interrupt": [python("a", "work")],
        "skip": [transform("a", 1), transform("b", 2, when="{{ false }}")],
        "snooze": [transform("a", 1), python("b", "flaky", retry={"attempts": 2, "delay": 0})],
    }
    flow = await worker.publish(*steps.get(point, [transform("a", 1)]))
    run_id = await worker.start(flow)
    actions: dict[str, Callable[..., Any]] = {"work": work, "flaky": flaky}
    if point == "interrupt":
        await lose_worker(await worker.executor(**actions), worker, still)
    stealing = StealingDatabase(worker, run_id, point)
    executor = Executor(stealing, worker.flows, await worker.kinds(**actions))  # type: ignore[arg-type]
    await executor.execute(await worker.claim())
    assert stealing.after_theft is not None
    assert await worker.everything(run_id) == stealing.after_theft
    # The worker that has the lease completes the run.
    await (await worker.executor(**actions)).execute(stealing.other)
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_worker_without_the_lease_does_not_report_its_internal_error(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    other: list[Any] = []

    class LeaseLosingKind(TransformKind):
        async def run(self, rendered: Any, context: StepContext, /) -> Any:
            await worker.change(run_id, due_at=START)
            other.append(await worker.claim())
            other.append(await worker.everything(run_id))
            raise RuntimeError("bug")

    await Executor(worker.database, worker.flows, {"transform": LeaseLosingKind(StepSettings())}).execute(
        await worker.claim()
    )
    assert await worker.everything(run_id) == other[1]


async def test_lost_lease_can_be_neither_renewed_nor_released(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    lost = await worker.claim()
    await worker.change(run_id, due_at=START)
    held = await worker.claim()
    before = await worker.everything(run_id)
    hour = timedelta(hours=1)
    assert await worker.database.write(claims.renew, [lost.lease], hour) == set()
    await worker.database.write(claims.release, [lost.lease])
    assert await worker.everything(run_id) == before
    assert await worker.database.write(claims.renew, [held.lease, lost.lease], hour) == {run_id}
    assert (await worker.run(run_id)).due_at == START + hour


async def test_run_that_was_ended_by_another_worker_is_not_changed(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    lease = await worker.claim()
    executor = await worker.executor()
    await executor.execute(lease)
    before = await worker.everything(run_id)
    await executor.execute(lease)
    assert await worker.everything(run_id) == before


async def test_unavailable_database_leaves_the_run_to_the_next_claim(
    worker: WorkerHarness, still: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise OperationalError("gone", None, Exception("gone"))

    run_id = await worker.start(await worker.publish(transform("a", 1), transform("b", 2)))
    executor = await worker.executor()
    with monkeypatch.context() as away:
        away.setattr(step_journal, "_record", gone)
        await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "RUNNING"
    await still.advance(15)
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.tries(run_id) == [("a", 1, "INTERRUPTED"), ("a", 2, "SUCCEEDED"), ("b", 1, "SUCCEEDED")]


# An unreliable server


class Flaky:
    """Refuses the first two requests and accepts all others. Records the idempotency keys."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def answer(self, request: Request) -> Response:
        self.keys.append(request.headers["idempotency-key"])
        if len(self.keys) <= 2:
            return JSONResponse({"detail": "busy"}, 503)
        return JSONResponse({"order": request.path_params["number"], "total": 42})


async def test_five_steps_against_a_server_that_fails_twice(worker: WorkerHarness, still: FakeClock) -> None:
    flaky = Flaky()
    retry = {"attempts": 3, "delay": 1, "factor": 2, "jitter": 0}
    call = {"method": "POST", "url": "{{ run.input.server }}/orders/{{ steps.order.output }}", "json": {"n": 1}}
    flow = await worker.publish(
        transform("order", "{{ run.input.order }}"),
        {"name": "call", "kind": "http", "input": call, "retry": retry},
        python("check", "double", args={"total": "{{ steps.call.output.body.total }}"}),
        transform("never", 1, when="{{ steps.call.output.status != 200 }}"),
        transform("summary", "Order {{ steps.call.output.body.order }}: {{ steps.check.output }}"),
    )
    executor = await worker.executor(double=lambda total: total * 2)
    app = Starlette(routes=[Route("/orders/{number:int}", flaky.answer, methods=["POST"])])
    async with answering(app) as url:
        run_id = await worker.start(flow, json_codec.encode({"server": url, "order": 7}, limit=1000, what="input"))
        for wait in (1, 2, 0):
            await executor.execute(await worker.claim())
            await still.advance(wait)
    assert await output_of(worker, run_id) == "Order 7: 84"
    assert flaky.keys == [f"{encode_run_id(run_id)}:call"] * 3
    assert await worker.tries(run_id) == [
        ("order", 1, "SUCCEEDED"),
        ("call", 1, "FAILED"),
        ("call", 2, "FAILED"),
        ("call", 3, "SUCCEEDED"),
        ("check", 1, "SUCCEEDED"),
        ("summary", 1, "SUCCEEDED"),
    ]
    assert json_codec.decode((await worker.attempts(run_id))[1].error)["details"]["status"] == 503
    assert (await worker.run(run_id)).duration_ms == 3000
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]
