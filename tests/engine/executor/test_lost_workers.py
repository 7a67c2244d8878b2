"""Runs whose worker was lost."""

import asyncio

from engine.executor import MAX_INTERRUPTIONS
from engine.steps import StepContext
from tests.engine.executor.harness import lose_worker, seconds
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness, python, transform


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
