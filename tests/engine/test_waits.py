"""Delay and human input steps: the run is suspended without a lease, and resumed once."""

from typing import Any
from uuid import UUID

import pytest

from db.runs import input_requests, step_journal
from db.runs.step_journal import LeaseLostError
from db.sql.rows import AnyRow
from domain import json_codec
from tests.support.clock import FakeClock
from tests.support.engine import LEASE, Document, Engine, Flow, history, transform

ASK: Document = {"name": "ask", "kind": "humanInput", "input": {"title": "Go on with {{ run.id }}?"}}


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock) -> FakeClock:
    return fake_clock


def delay(**fields: Any) -> Document:
    return {"name": "wait", "kind": "delay", "input": fields}


def human_input(**more: Any) -> Document:
    return ASK | {"input": ASK["input"] | more}


async def work_off(engine: Engine) -> int:
    """Execute all due runs; returns the number of claims."""
    executor = await engine.executor()
    count = 0
    while claimed := await engine.database.write(step_journal.claim, 10, LEASE):
        for run in claimed:
            await executor.execute(run)
            count += 1
    return count


async def begin(engine: Engine, *steps: Document, **definition: Any) -> tuple[Flow, UUID]:
    flow = await engine.publish(*steps, **definition)
    run_id = await engine.start(flow)
    await work_off(engine)
    return flow, run_id


async def request_of(engine: Engine, run_id: UUID) -> AnyRow:
    (request,) = (await engine.database.read(input_requests.pending_by_runs, [run_id]))[run_id]
    return request


async def test_delay_ends_at_its_time_and_not_before(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, delay(**{"for": 60}), transform("after", "{{ steps.wait.output.until }}"))
    paused = await engine.run(run_id)
    assert (paused.status, paused.lease_token) == ("PAUSED", None)
    assert await engine.statuses(run_id) == {"wait": "PAUSED"}

    await still.advance(59.9)
    assert await work_off(engine) == 0
    await still.advance(0.1)
    assert await work_off(engine) == 1
    assert await engine.statuses(run_id) == {"wait": "SUCCEEDED", "after": "SUCCEEDED"}
    assert await history(engine, run_id) == ["QUEUED", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]
    assert await engine.tries(run_id) == [("wait", 1, "SUCCEEDED"), ("after", 1, "SUCCEEDED")]


@pytest.mark.parametrize("step_input", [{"for": "{{ 20 + 10 }}"}, {"until": "2026-01-01T00:00:30Z"}])
async def test_delay_accepts_templates_and_instants(engine: Engine, still: FakeClock, step_input: Document) -> None:
    _, run_id = await begin(engine, delay(**step_input))
    assert (await engine.run(run_id)).due_at == still.now().replace(second=30)


async def test_delay_in_the_past_ends_at_the_next_claim(engine: Engine) -> None:
    _, run_id = await begin(engine, delay(until="2020-01-01T00:00:00+01:00"))
    assert (await engine.run(run_id)).status == "SUCCEEDED"


@pytest.mark.parametrize(
    "step_input", [{"for": "soon"}, {"for": "{{ 10 ** 12 }}"}, {"until": "tomorrow"}, {"until": "2999-01-01T00:00:00Z"}]
)
async def test_delay_with_an_invalid_time_fails_the_step(engine: Engine, step_input: Document) -> None:
    _, run_id = await begin(engine, delay(**step_input))
    run = await engine.run(run_id)
    assert (run.status, run.error_code, run.failed_step_name) == ("FAILED", "INPUT_INVALID", "wait")


async def test_thousand_paused_runs_hold_no_lease(engine: Engine) -> None:
    flow = await engine.publish(delay(**{"for": 3600}))
    run_ids = await engine.start_many(flow, 200)
    await work_off(engine)
    rows = [await engine.run(run_id) for run_id in run_ids]
    assert {(row.status, row.lease_token) for row in rows} == {("PAUSED", None)}


async def test_response_is_the_output_of_the_step(engine: Engine) -> None:
    _, run_id = await begin(engine, human_input(assignee="ops"), transform("after", "{{ steps.ask.output.ok }}"))
    request = await request_of(engine, run_id)
    assert (request.title, request.assignee) == (f"Go on with run_{run_id.hex}?", "ops")
    assert (await engine.run(run_id)).due_at is None

    assert await engine.database.write(input_requests.answer, request.id, '{"ok": true}')
    await engine.change(run_id, due_at=request.created_at)
    await work_off(engine)
    run = await engine.run(run_id)
    assert (run.status, run.output) == ("SUCCEEDED", "true")


async def test_run_claimed_too_early_is_suspended_again(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, human_input(expiresIn=60))
    request = await request_of(engine, run_id)
    await engine.change(run_id, due_at=still.now())
    assert await work_off(engine) == 1
    assert (await request_of(engine, run_id)).id == request.id
    assert (await engine.run(run_id)).due_at == request.expires_at


async def test_expired_request_fails_the_step(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, human_input(expiresIn=60))
    await still.advance(60)
    await work_off(engine)
    run = await engine.run(run_id)
    assert (run.status, run.error_code) == ("FAILED", "INPUT_EXPIRED")
    assert not await engine.database.read(input_requests.pending_by_runs, [run_id])


async def test_expired_request_can_have_a_default(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, human_input(expiresIn=60, onExpiry="default", default={"ok": False}))
    await still.advance(60)
    await work_off(engine)
    run = await engine.run(run_id)
    assert (run.status, json_codec.decode(run.output)) == ("SUCCEEDED", {"ok": False})


async def test_response_that_arrives_during_expiry_counts(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, human_input(expiresIn=60))
    request = await request_of(engine, run_id)
    assert await engine.database.write(input_requests.answer, request.id, "1")
    await still.advance(60)
    await work_off(engine)
    assert (await engine.run(run_id)).output == "1"
    assert not await engine.database.write(input_requests.expire, request.id)


async def test_expired_request_is_repeated_by_the_retry_policy(engine: Engine, still: FakeClock) -> None:
    requested_twice = human_input(expiresIn=60) | {"retry": {"attempts": 2, "delay": 10, "jitter": 0}}
    _, run_id = await begin(engine, requested_twice)
    first = await request_of(engine, run_id)
    await still.advance(60)
    await work_off(engine)
    await still.advance(10)
    await work_off(engine)
    assert (await request_of(engine, run_id)).id != first.id
    assert await engine.tries(run_id) == [("ask", 1, "FAILED"), ("ask", 2, "RUNNING")]


async def test_suspension_does_not_count_towards_the_run_timeout(engine: Engine, still: FakeClock) -> None:
    _, run_id = await begin(engine, delay(**{"for": 3600}), transform("after", 1), timeout=5)
    await still.advance(3600)
    await work_off(engine)
    assert (await engine.run(run_id)).status == "SUCCEEDED"


async def test_execution_between_suspensions_counts_towards_the_run_timeout(engine: Engine, still: FakeClock) -> None:
    failing = {"name": "fail", "kind": "python", "input": {"action": "none"}, "retry": {"attempts": 2}}
    again = failing | {"kind": "transform", "input": "{{ 1 / 0 }}", "continueOnFailure": True}
    slow: Document = {
        "name": "ask",
        "kind": "humanInput",
        "input": {"title": "?", "expiresIn": 4},
        "retry": {"attempts": 2, "delay": 4, "jitter": 0},
        "continueOnFailure": True,
    }
    _, run_id = await begin(engine, again | {"name": "first"}, slow, delay(**{"for": 10}), timeout=5)
    for _ in range(4):
        await still.advance(4)  # requested, expired, back-off of four seconds, requested again
        await work_off(engine)
    await still.advance(10)
    await work_off(engine)
    assert (await engine.run(run_id)).status == "SUCCEEDED"
    assert (await engine.run(run_id)).ran_ms >= 4_000


async def test_worker_without_the_lease_creates_no_request(engine: Engine, still: FakeClock) -> None:
    flow = await engine.publish(ASK)
    run_id = await engine.start(flow)
    stale = await engine.claim()
    await still.advance(LEASE.total_seconds())
    await work_off(engine)
    before = await engine.everything(run_id)
    await (await engine.executor()).execute(stale)
    with pytest.raises(LeaseLostError):
        await engine.database.write(step_journal.wait_on, stale.lease, "Still waiting", None)
    assert await engine.everything(run_id) == before


async def test_cancelling_a_paused_run_cancels_its_request(engine: Engine) -> None:
    _, run_id = await begin(engine, ASK)
    request = await request_of(engine, run_id)
    assert await engine.database.write(step_journal.stop, run_id, "Cancelled")
    assert await engine.statuses(run_id) == {"ask": "STOPPED"}
    assert await engine.tries(run_id) == [("ask", 1, "STOPPED")]
    assert not await engine.database.write(input_requests.answer, request.id, "1")
    assert not await engine.database.write(step_journal.stop, run_id, "Cancelled again")
