"""Runs that succeed: rows, templates, outputs and conditions."""

from typing import Any

import pytest

from engine.steps import StepContext
from tests.engine.executor.harness import error_of, fail, failing, output_of, seconds
from tests.support.clock import START, FakeClock
from tests.support.factory import encode_run_id
from tests.support.worker import WorkerHarness, python, transform


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
        "completed_by": None,
        "completion_note": None,
        "sealed": None,
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
