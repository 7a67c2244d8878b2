"""Retries and the versions that they execute."""

from db.events import log as event_log
from engine.compiled_flow import FlowCache
from tests.engine.executor.harness import failing, output_of
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness, python, transform


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
    # A failed step is no kept success, although its flow continued after it: it is executed again.
    assert calls == ["a", "allowed", "b", "allowed", "b", "c a 1 FAILED SKIPPED"]
    assert (await worker.run(new)).status == "SUCCEEDED"
    rows = await worker.steps(new)
    assert [(row.name, row.status, row.reused_from_id == old) for row in rows] == [
        ("a", "SUCCEEDED", True),
        ("skipped", "SKIPPED", True),
        ("allowed", "FAILED", False),
        ("b", "SUCCEEDED", False),
        ("c", "SUCCEEDED", False),
    ]
    assert [name for name, _, _ in await worker.tries(new)] == ["allowed", "b", "c"]
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
