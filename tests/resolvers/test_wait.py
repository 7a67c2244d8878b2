"""`waitMs`: the response is sent at the end of the run, or when the time is over. Time stands still unless a test moves
it."""

import asyncio
from datetime import timedelta

import pytest

from domain.time import clock
from resolvers.flow_runs.waiting import POLL_SECONDS
from service.http import graphql, webhooks
from tests.support.app import App
from tests.support.clock import START, FakeClock
from tests.support.query import query

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
BROKEN = {"steps": [{"name": "break", "kind": "transform", "input": "{{ 1 // 0 }}"}]}


@pytest.mark.parametrize(("definition", "status"), [(ECHO, "SUCCEEDED"), (BROKEN, "FAILED")])
async def test_response_is_sent_when_the_run_has_ended(
    fake_clock: FakeClock, app: App, definition: dict[str, object], status: str
) -> None:
    flow = await app.create_flow(definition)
    answer = await app.start(flow, input=7, waitMs=60_000, select="status finishedAt")
    assert answer["run"] == {"status": status, "finishedAt": "2026-01-01T00:00:00.000000Z"}


async def test_response_is_sent_when_the_time_is_over(fake_clock: FakeClock, idle_app: App) -> None:
    fake_clock.watch(idle_app.database)
    flow = await idle_app.create_flow(ECHO)
    at_rest = fake_clock.timers
    started = asyncio.create_task(idle_app.start(flow, waitMs=2_500, select="status"))
    await fake_clock.waiting(at_rest + 1)
    answer = await fake_clock.drive(started)
    assert answer["run"]["status"] == "QUEUED"
    assert (clock.now() - START).total_seconds() == 2.5


async def test_answer_does_not_wait_unless_asked(fake_clock: FakeClock, idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    for wait in (None, 0):
        assert (await idle_app.start(flow, waitMs=wait, select="status"))["run"]["status"] == "QUEUED"


async def test_a_run_that_ended_before_is_not_waited_for(fake_clock: FakeClock, app: App) -> None:
    flow = await app.create_flow(ECHO)
    for _ in range(2):
        answer = await app.start(flow, idempotencyKey="k", waitMs=60_000, select="status")
        assert answer["run"]["status"] == "SUCCEEDED"


async def test_an_end_written_by_another_process_is_seen_within_a_second(
    fake_clock: FakeClock, idle_app: App, database_url: str
) -> None:
    fake_clock.watch(idle_app.database)
    flow = await idle_app.create_flow(ECHO)
    at_rest = fake_clock.timers
    started = asyncio.create_task(idle_app.start(flow, waitMs=60_000, select="status"))
    await fake_clock.waiting(at_rest + 1)
    # A write that bypasses this process's Database publishes nothing.
    await query(database_url, "UPDATE flow_run SET status = 'STOPPED'")
    answer = await fake_clock.drive(started)
    assert answer["run"]["status"] == "STOPPED"
    assert (clock.now() - START).total_seconds() == POLL_SECONDS <= 1


async def test_a_clock_that_is_set_back_prolongs_no_wait(fake_clock: FakeClock, idle_app: App) -> None:
    fake_clock.watch(idle_app.database)
    flow = await idle_app.create_flow(ECHO)
    at_rest = fake_clock.timers
    text = "mutation($flow: ID!) { startRun(input: {flowId: $flow, waitMs: 60000}) { __typename } }"
    waiting = asyncio.create_task(idle_app.query(text, {"flow": flow}))
    await fake_clock.waiting(at_rest + 1)
    fake_clock.jump(-3600)
    assert await fake_clock.drive(waiting) == {"startRun": {"__typename": "StartRunSuccess"}}
    assert clock.now() - START == timedelta(hours=-1, seconds=POLL_SECONDS)


async def test_waiting_request_ends_with_its_key(fake_clock: FakeClock, idle_app: App) -> None:
    """The holder of a revoked key is not to see the results of runs that they started before."""
    created = await idle_app.query(
        """mutation { result: createApiKey(name: "leaked", role: OPERATOR) {
            ... on CreateApiKeySuccess { secret apiKey { id } } } }"""
    )
    secret, key_id = created["result"]["secret"], created["result"]["apiKey"]["id"]
    fake_clock.watch(idle_app.database)
    flow = await idle_app.create_flow(ECHO)
    at_rest = fake_clock.timers
    text = "mutation($flow: ID!) { startRun(input: {flowId: $flow, waitMs: 60000}) { __typename } }"
    waiting = asyncio.create_task(idle_app.error_code(text, {"flow": flow}, key=secret))
    await fake_clock.waiting(at_rest + 1)
    await idle_app.query("mutation($id: ID!) { revokeApiKey(id: $id) { __typename } }", {"id": key_id})
    assert await fake_clock.drive(waiting) == "UNAUTHENTICATED"
    assert (clock.now() - START).total_seconds() == POLL_SECONDS <= 1


@pytest.mark.parametrize("change", ["rotateWebhook", "deleteWebhook"])
async def test_waiting_call_ends_with_the_token_of_its_webhook(
    fake_clock: FakeClock, idle_app: App, change: str
) -> None:
    flow = await idle_app.create_flow(ECHO)
    created = await idle_app.query(
        """mutation($flow: ID!) { result: createWebhook(flowId: $flow, name: "calls") {
            ... on CreateWebhookSuccess { token webhook { id } } } }""",
        {"flow": flow},
    )
    token, webhook_id = created["result"]["token"], created["result"]["webhook"]["id"]
    fake_clock.watch(idle_app.database)
    at_rest = fake_clock.timers
    waiting = asyncio.create_task(idle_app.http.post(f"/hooks/{token}?wait=60000", json={}))
    await fake_clock.waiting(at_rest + 1)
    await idle_app.query(f"mutation($id: ID!) {{ {change}(id: $id) {{ __typename }} }}", {"id": webhook_id})
    answer = await fake_clock.drive(waiting)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")
    assert (clock.now() - START).total_seconds() == POLL_SECONDS <= 1


async def test_wait_ends_when_the_server_stops(
    fake_clock: FakeClock, idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = asyncio.Event()
    for module in (graphql, webhooks):
        monkeypatch.setattr(module, "stopping_function", lambda _: stopping.is_set)
    flow = await idle_app.create_flow(ECHO)
    made = """mutation($flow: ID!) { it: createWebhook(flowId: $flow, name: "a") {
        ... on CreateWebhookSuccess { path } } }"""
    path = (await idle_app.query(made, {"flow": flow}))["it"]["path"]
    fake_clock.watch(idle_app.database)
    at_rest = fake_clock.timers
    text = "mutation($flow: ID!) { startRun(input: {flowId: $flow, waitMs: 60000}) { __typename } }"
    waiting = asyncio.gather(idle_app.query(text, {"flow": flow}), idle_app.http.post(f"{path}?wait=60000", json={}))
    await fake_clock.waiting(at_rest + 2)
    stopping.set()
    answer, called = await fake_clock.drive(waiting)
    assert answer == {"startRun": {"__typename": "StartRunSuccess"}}
    assert (called.status_code, called.json()["status"]) == (504, "QUEUED")
    assert (clock.now() - START).total_seconds() == POLL_SECONDS
