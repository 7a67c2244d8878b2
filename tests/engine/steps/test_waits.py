"""Delay and human input steps: the run is suspended without a lease, and resumed once."""

from typing import Any
from uuid import UUID

import pytest

from db.row_types import InputRequestRow
from db.runs import cancellation, claims, step_journal
from db.runs.claims import LeaseLostError
from db.runs.waits import input_requests
from domain import json_codec
from tests.support.clock import FakeClock
from tests.support.worker import LEASE, Document, Flow, WorkerHarness, history, transform

ASK: Document = {"name": "ask", "kind": "humanInput", "input": {"title": "Go on with {{ run.id }}?"}}


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock) -> FakeClock:
    return fake_clock


def delay(**fields: Any) -> Document:
    return {"name": "wait", "kind": "delay", "input": fields}


def human_input(**more: Any) -> Document:
    return ASK | {"input": ASK["input"] | more}


async def work_off(worker: WorkerHarness) -> int:
    """Execute all due runs; returns the number of claims."""
    executor = await worker.executor()
    count = 0
    while claimed := await worker.database.write(claims.claim, 10, LEASE):
        for run in claimed:
            await executor.execute(run)
            count += 1
    return count


async def begin(worker: WorkerHarness, *steps: Document, **definition: Any) -> tuple[Flow, UUID]:
    flow = await worker.publish(*steps, **definition)
    run_id = await worker.start(flow)
    await work_off(worker)
    return flow, run_id


async def request_of(worker: WorkerHarness, run_id: UUID) -> InputRequestRow:
    (request,) = (await worker.database.read(input_requests.pending_by_runs, [run_id]))[run_id]
    return request


async def test_delay_ends_at_its_time_and_not_before(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, delay(**{"for": 60}), transform("after", "{{ steps.wait.output.until }}"))
    paused = await worker.run(run_id)
    assert (paused.status, paused.lease_token) == ("PAUSED", None)
    assert await worker.statuses(run_id) == {"wait": "PAUSED"}

    await still.advance(59.9)
    assert await work_off(worker) == 0
    await still.advance(0.1)
    assert await work_off(worker) == 1
    assert await worker.statuses(run_id) == {"wait": "SUCCEEDED", "after": "SUCCEEDED"}
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]
    assert await worker.tries(run_id) == [("wait", 1, "SUCCEEDED"), ("after", 1, "SUCCEEDED")]


@pytest.mark.parametrize("step_input", [{"for": "{{ 20 + 10 }}"}, {"until": "2026-01-01t00:00:30z"}])
async def test_delay_accepts_templates_and_instants(
    worker: WorkerHarness, still: FakeClock, step_input: Document
) -> None:
    _, run_id = await begin(worker, delay(**step_input))
    assert (await worker.run(run_id)).due_at == still.now().replace(second=30)


async def test_delay_in_the_past_ends_at_the_next_claim(worker: WorkerHarness) -> None:
    _, run_id = await begin(worker, delay(until="2020-01-01T00:00:00+01:00"))
    assert (await worker.run(run_id)).status == "SUCCEEDED"


@pytest.mark.parametrize(
    "step_input",
    [
        {"for": "{{ 'soon' }}"},
        {"for": "{{ none }}"},
        {"for": "{{ [1] }}"},
        {"for": "{{ 10 ** 12 }}"},
        {"until": "{{ 'tomorrow' }}"},
        {"until": "{{ 5 }}"},
        {"until": "2999-01-01T00:00:00Z"},
        {"until": "2026-01-01T00:00:00", "timeZone": "{{ 'Mars/Base' }}"},
    ],
)
async def test_delay_with_an_invalid_time_fails_the_step(worker: WorkerHarness, step_input: Document) -> None:
    _, run_id = await begin(worker, delay(**step_input))
    run = await worker.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("FAILED", "INPUT_INVALID", "wait")
    assert not any(word in run.error_message for word in ("float", "isoformat", "NoneType", "C int"))


async def test_delay_of_a_further_attempt_begins_with_it(worker: WorkerHarness, still: FakeClock) -> None:
    step = delay(**{"for": 10}) | {"timeout": 6, "retry": {"attempts": 2, "delay": 1, "jitter": 0}}
    _, run_id = await begin(worker, step)
    for seconds in (6, 1, 6):
        await still.advance(seconds)
        await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "TIMEOUT")
    assert await worker.tries(run_id) == [("wait", 1, "FAILED"), ("wait", 2, "FAILED")]


async def test_thousand_paused_runs_hold_no_lease(worker: WorkerHarness) -> None:
    flow = await worker.publish(delay(**{"for": 3600}))
    run_ids = await worker.start_many(flow, 200)
    await work_off(worker)
    rows = [await worker.run(run_id) for run_id in run_ids]
    assert {(row.status, row.lease_token) for row in rows} == {("PAUSED", None)}


async def test_response_is_the_output_of_the_step(worker: WorkerHarness) -> None:
    _, run_id = await begin(worker, human_input(assignee="ops"), transform("after", "{{ steps.ask.output.ok }}"))
    request = await request_of(worker, run_id)
    assert (request.title, request.assignee) == (f"Go on with run_{run_id.hex}?", "ops")
    assert (await worker.run(run_id)).due_at is None

    assert await worker.database.write(input_requests.answer, request.id, input_requests.Response('{"ok": true}'))
    await worker.change(run_id, due_at=request.created_at)
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.output) == ("SUCCEEDED", "true")


async def test_long_values_in_texts_of_a_question_are_cut(worker: WorkerHarness) -> None:
    long = transform("long", {"items": ["x" * 50] * 60})
    _, run_id = await begin(worker, long, human_input(title="{{ steps.long.output }}", assignee="{{ 7 }}"))
    request = await request_of(worker, run_id)
    assert (len(request.title), request.title[:14], request.assignee) == (1_000, '{"items":["xxx', "7")


async def test_too_large_schema_of_a_question_fails_the_step(worker: WorkerHarness) -> None:
    asked = human_input(schema={"enum": "{{ [steps.half.output, steps.half.output] }}"})
    _, run_id = await begin(worker, transform("half", ["x" * 1_000] * 400), asked)
    run = await worker.run(run_id)
    assert (run.status, run.error_code, "schema" in run.error_message) == ("FAILED", "INPUT_INVALID", True)


async def test_run_claimed_too_early_is_suspended_again(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, human_input(expiresIn=60))
    request = await request_of(worker, run_id)
    await worker.change(run_id, due_at=still.now())
    assert await work_off(worker) == 1
    assert (await request_of(worker, run_id)).id == request.id
    assert (await worker.run(run_id)).due_at == request.expires_at


async def test_expired_request_fails_the_step(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, human_input(expiresIn=60))
    await still.advance(60)
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "INPUT_EXPIRED")
    assert not await worker.database.read(input_requests.pending_by_runs, [run_id])


async def test_expired_request_can_have_a_default(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, human_input(expiresIn=60, onExpiry="default", default={"ok": False}))
    await still.advance(60)
    await work_off(worker)
    run = await worker.run(run_id)
    assert (run.status, json_codec.decode(run.output)) == ("SUCCEEDED", {"ok": False})


async def test_response_that_arrives_during_expiry_counts(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, human_input(expiresIn=60))
    request = await request_of(worker, run_id)
    assert await worker.database.write(input_requests.answer, request.id, input_requests.Response("1"))
    await still.advance(60)
    await work_off(worker)
    assert (await worker.run(run_id)).output == "1"
    assert not await worker.database.write(input_requests.expire, request.id)


async def test_expired_request_is_repeated_by_the_retry_policy(worker: WorkerHarness, still: FakeClock) -> None:
    requested_twice = human_input(expiresIn=60) | {"retry": {"attempts": 2, "delay": 10, "jitter": 0}}
    _, run_id = await begin(worker, requested_twice)
    first = await request_of(worker, run_id)
    await still.advance(60)
    await work_off(worker)
    await still.advance(10)
    await work_off(worker)
    assert (await request_of(worker, run_id)).id != first.id
    assert await worker.tries(run_id) == [("ask", 1, "FAILED"), ("ask", 2, "RUNNING")]


async def test_suspension_does_not_count_towards_the_run_timeout(worker: WorkerHarness, still: FakeClock) -> None:
    _, run_id = await begin(worker, delay(**{"for": 3600}), transform("after", 1), timeout=5)
    await still.advance(3600)
    await work_off(worker)
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_execution_between_suspensions_counts_towards_the_run_timeout(
    worker: WorkerHarness, still: FakeClock
) -> None:
    failing = {"name": "fail", "kind": "python", "input": {"action": "none"}, "retry": {"attempts": 2}}
    again = failing | {"kind": "transform", "input": "{{ 1 / 0 }}", "continueOnFailure": True}
    slow: Document = {
        "name": "ask",
        "kind": "humanInput",
        "input": {"title": "?", "expiresIn": 4},
        "retry": {"attempts": 2, "delay": 4, "jitter": 0},
        "continueOnFailure": True,
    }
    _, run_id = await begin(worker, again | {"name": "first"}, slow, delay(**{"for": 10}), timeout=5)
    for _ in range(4):
        await still.advance(4)  # requested, expired, back-off of four seconds, requested again
        await work_off(worker)
    await still.advance(10)
    await work_off(worker)
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert (await worker.run(run_id)).ran_ms >= 4_000


async def test_worker_without_the_lease_creates_no_request(worker: WorkerHarness, still: FakeClock) -> None:
    flow = await worker.publish(ASK)
    run_id = await worker.start(flow)
    stale = await worker.claim()
    await still.advance(LEASE.total_seconds())
    await work_off(worker)
    before = await worker.everything(run_id)
    await (await worker.executor()).execute(stale)
    with pytest.raises(LeaseLostError):
        await worker.database.write(step_journal.wait_on, stale.lease, "Still waiting", None)
    assert await worker.everything(run_id) == before


async def test_cancelling_a_paused_run_cancels_its_request(worker: WorkerHarness) -> None:
    _, run_id = await begin(worker, ASK)
    request = await request_of(worker, run_id)
    assert (await worker.database.write(cancellation.stop, run_id, "Cancelled")).run
    assert await worker.statuses(run_id) == {"ask": "STOPPED"}
    assert await worker.tries(run_id) == [("ask", 1, "STOPPED")]
    assert not await worker.database.write(input_requests.answer, request.id, input_requests.Response("1"))
    assert not (await worker.database.write(cancellation.stop, run_id, "Cancelled again")).run
