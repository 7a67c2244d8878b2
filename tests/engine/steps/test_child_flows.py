"""Flow steps: child runs, alone and in loops."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from db.models import FlowRun
from db.models.types import table
from db.runs import cancellation, claims
from db.sql.rows import AnyRow
from domain import json_codec
from domain.errors import DefinitionInvalidError
from domain.flows.definition import MAX_RUN_DEPTH
from engine.compiled_flow import check
from tests.support.clock import FakeClock
from tests.support.worker import LEASE, Document, Flow, WorkerHarness, history, transform

_RUN = table(FlowRun).c
DOUBLE = transform("double", "{{ run.input.n * 2 }}")
FAIL_AT_3 = transform("maybe", "{{ 1 / 0 }}", when="{{ run.input.n == 3 }}")


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock) -> FakeClock:
    return fake_clock


def nested(flow: Flow, **more: Any) -> Document:
    return {"name": "nested", "kind": "flow", "input": {"flow": f"flow_{flow.id.hex}", **more}}


async def work_off(worker: WorkerHarness, most: int = 10) -> None:
    """Execute all due runs."""
    executor = await worker.executor()
    while claimed := await worker.database.write(claims.claim, most, LEASE):
        for run in claimed:
            await executor.execute(run)


async def children(worker: WorkerHarness, run_id: UUID) -> list[AnyRow]:
    query = select(table(FlowRun)).where(_RUN.parent_run_id == run_id).order_by(_RUN.item_index, _RUN.id)
    return list(await worker.database.read(lambda conn: conn.execute(query).all()))


async def test_output_of_the_child_run_is_the_output_of_the_step(worker: WorkerHarness) -> None:
    child = await worker.publish(DOUBLE)
    run_id = await worker.start(await worker.publish(nested(child, input={"n": 21})))
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.output) == ("SUCCEEDED", "42")
    (row,) = await children(worker, run_id)
    assert (row.status, row.root_run_id, row.depth, row.trigger_method) == ("SUCCEEDED", run_id, 1, "PARENT")
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]


async def test_loop_has_one_child_run_for_each_item_in_order(worker: WorkerHarness) -> None:
    child = await worker.publish(DOUBLE)
    loop = nested(child, forEach="{{ range(25) }}", concurrency=4, input={"n": "{{ item }}", "at": "{{ index }}"})
    run_id = await worker.start(await worker.publish(loop))
    await work_off(worker)
    assert json_codec.decode((await worker.run(run_id)).output) == [2 * n for n in range(25)]
    assert [row.item_index for row in await children(worker, run_id)] == list(range(25))
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]


async def test_concurrency_limits_live_child_runs(worker: WorkerHarness) -> None:
    child = await worker.publish(DOUBLE)
    loop = nested(child, forEach="{{ range(10) }}", concurrency=3, input={"n": 1})
    run_id = await worker.start(await worker.publish(loop))
    executor = await worker.executor()
    while claimed := await worker.database.write(claims.claim, 1, LEASE):
        await executor.execute(claimed[0])
        live = [row for row in await children(worker, run_id) if row.status not in {"SUCCEEDED", "FAILED"}]
        assert len(live) <= 3
    assert (await worker.run(run_id)).status == "SUCCEEDED"


def test_flow_name_with_nul_is_refused_at_publication() -> None:
    with pytest.raises(DefinitionInvalidError):
        check({"steps": [DOUBLE | {"displayName": "a\0b"}]})


async def test_empty_loop_starts_no_child_runs(worker: WorkerHarness) -> None:
    child = await worker.publish(DOUBLE)
    run_id = await worker.start(await worker.publish(nested(child, forEach=[])))
    await work_off(worker)
    assert (await worker.run(run_id)).output == "[]"


async def test_failed_child_run_ends_the_loop_and_its_step(worker: WorkerHarness) -> None:
    child = await worker.publish(FAIL_AT_3, DOUBLE)
    loop = nested(child, forEach="{{ range(100) }}", concurrency=2, input={"n": "{{ item }}"})
    run_id = await worker.start(await worker.publish(loop))
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("FAILED", "CHILD_FAILED", "nested")
    rows = await children(worker, run_id)
    assert len(rows) < 8
    assert {row.status for row in rows} == {"SUCCEEDED", "FAILED"}


async def test_failed_child_run_can_be_tolerated(worker: WorkerHarness) -> None:
    child = await worker.publish(FAIL_AT_3, DOUBLE)
    loop = nested(child, forEach="{{ range(5) }}", failParentOnFailure=False, input={"n": "{{ item }}"})
    run_id = await worker.start(await worker.publish(loop))
    await work_off(worker)
    assert json_codec.decode((await worker.run(run_id)).output) == [0, 2, 4, None, 8]


async def test_step_that_does_not_wait_returns_run_ids(worker: WorkerHarness) -> None:
    child = await worker.publish(DOUBLE)
    run_id = await worker.start(await worker.publish(nested(child, wait=False, input={"n": 1})))
    await work_off(worker)
    (row,) = await children(worker, run_id)
    assert json_codec.decode((await worker.run(run_id)).output) == [f"run_{row.id.hex}"]
    assert row.status == "SUCCEEDED"


async def test_flows_that_start_each_other_end_at_the_depth_limit(worker: WorkerHarness) -> None:
    flow = await worker.publish(DOUBLE)
    again = await worker.publish_again(flow.id, nested(flow))
    run_id = await worker.start(again)
    await work_off(worker)
    assert (await worker.run(run_id)).status == "FAILED"
    query = select(_RUN.depth).where(_RUN.root_run_id == run_id).order_by(_RUN.depth)
    depths = await worker.database.read(lambda conn: conn.execute(query).scalars().all())
    assert list(depths) == list(range(MAX_RUN_DEPTH + 1))


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"flow": "no such flow"}, "FLOW_NOT_FOUND"),
        ({"flow": "{{ 5 }}"}, "INPUT_INVALID"),
        ({"flow": "{{ run.input.child }}", "forEach": "{{ run.id }}"}, "INPUT_INVALID"),
        ({"flow": "{{ run.input.child }}", "forEach": "{{ range(1001) }}"}, "INPUT_INVALID"),
        ({"flow": "{{ run.input.child }}", "input": "{{ nothing }}"}, "INPUT_INVALID"),
    ],
)
async def test_child_runs_that_cannot_be_started_fail_the_step(
    worker: WorkerHarness, step: Document, code: str
) -> None:
    child = await worker.publish(DOUBLE, inputSchema={"type": "object", "required": ["n"]})
    if step.get("input") == "{{ nothing }}":
        step = step | {"input": {}}
    flow = await worker.publish({"name": "nested", "kind": "flow", "input": step})
    run_id = await worker.start(flow, json_codec.encode({"child": f"flow_{child.id.hex}"}, limit=1_000, what="input"))
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", code)
    assert await children(worker, run_id) == []


async def test_cancelling_a_parent_cancels_all_descendants(worker: WorkerHarness) -> None:
    leaf = await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 3600}})
    middle = await worker.publish(nested(leaf, forEach=[1, 2]))
    run_id = await worker.start(await worker.publish(nested(middle)))
    await work_off(worker)
    assert (await worker.database.write(cancellation.stop, run_id, "Cancelled")).run
    query = select(_RUN.status, _RUN.finished_at.is_not(None)).where(_RUN.root_run_id == run_id)
    rows = await worker.database.read(lambda conn: conn.execute(query).all())
    assert [tuple(row) for row in rows] == [("STOPPED", True)] * 4


async def test_parent_does_not_wait_for_a_cancelled_child_run(worker: WorkerHarness) -> None:
    child = await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 3600}})
    run_id = await worker.start(await worker.publish(nested(child)))
    await work_off(worker)
    (row,) = await children(worker, run_id)
    await worker.database.write(cancellation.stop, row.id, "Cancelled")
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "CHILD_FAILED")


async def test_child_run_started_by_the_api_can_fail_its_parent(worker: WorkerHarness) -> None:
    waiting = await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 3600}})
    failing = await worker.publish(transform("fail", "{{ 1 / 0 }}"))
    parent = await worker.start(waiting)
    await work_off(worker)
    calm = await worker.start(failing, parent_run_id=parent, root_run_id=parent)
    await work_off(worker)
    assert ((await worker.run(calm)).status, (await worker.run(parent)).status) == ("FAILED", "PAUSED")

    await worker.start(failing, parent_run_id=parent, root_run_id=parent, fail_parent_on_failure=True)
    await work_off(worker)
    run = await worker.run(parent)
    assert (run.status, run.error_code) == ("FAILED", "CHILD_FAILED")
    assert await worker.statuses(parent) == {"wait": "STOPPED"}


async def test_parent_claimed_too_early_is_suspended_again(worker: WorkerHarness, still: FakeClock) -> None:
    child = await worker.publish({"name": "wait", "kind": "delay", "input": {"for": 60}})
    run_id = await worker.start(await worker.publish(nested(child)))
    await work_off(worker)
    await worker.change(run_id, due_at=still.now())
    await work_off(worker)
    assert (await worker.run(run_id)).status == "PAUSED"
    await still.advance(60)
    await work_off(worker)
    assert (await worker.run(run_id)).status == "SUCCEEDED"
