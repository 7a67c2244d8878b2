"""Failed steps: errors, attempts, delays and timeouts."""

from datetime import timedelta
from typing import Any

from db.runs import claims
from domain import json_codec
from engine.actions import PermanentError
from tests.engine.executor.harness import error_of, fail, failing, output_of, seconds
from tests.support.clock import START, FakeClock
from tests.support.worker import WorkerHarness, history, python, transform


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
