"""Limits of webhooks: who has a URL that has leaked cannot fill the queue, nor use up what a signing sender has."""

import asyncio
import hmac
from typing import Any

import httpx
import pytest

from domain import ids
from service.http import webhooks as http_webhooks
from tests.service.http.test_webhooks import ECHO, code_of, run_count
from tests.support.app import App, run_app
from tests.support.clock import FakeClock

CREATE = """mutation($flow: ID!, $calls: Int, $header: String, $secret: String, $respond: JSON) {
    result: createWebhook(flowId: $flow, name: "shop", callsPerMinute: $calls, signatureHeader: $header,
        signatureSecret: $secret, respond: $respond) {
        ... on CreateWebhookSuccess { path webhook { id callsPerMinute } }
        ... on WebhookInvalid { problems { path } } } }"""
UPDATE = """mutation($id: ID!, $calls: Int, $name: String) {
    result: updateWebhook(id: $id, callsPerMinute: $calls, name: $name) {
        ... on UpdateWebhookSuccess { webhook { callsPerMinute name } }
        ... on SettingsInvalid { problems { path } } ... on WebhookNotFound { code } } }"""
AUDIT = "{ auditEvents(filter: {actions: [UPDATE_WEBHOOK]}) { nodes { objectId details } } }"


async def create(app: App, **variables: Any) -> dict[str, Any]:
    flow = await app.create_flow(ECHO, f"flow {ids.new_uuid()}")
    created: dict[str, Any] = (await app.query(CREATE, {"flow": flow, **variables}))["result"]
    return created


async def statuses(app: App, path: str, count: int) -> list[int]:
    return [(await app.http.post(path, json=number)).status_code for number in range(count)]


async def test_calls_beyond_the_limit_start_no_run_until_time_has_passed(fake_clock: FakeClock, idle_app: App) -> None:
    webhook = await create(idle_app, calls=3)
    path, webhook_id = webhook["path"], webhook["webhook"]["id"]
    assert await statuses(idle_app, path, 4) == [202] * 3 + [429]
    refused = await idle_app.http.post(path, content=b"{nope", headers={"content-type": "application/json"})
    assert (refused.status_code, code_of(refused)) == (429, "RATE_LIMITED")
    assert "webhook" in refused.json()["error"]["message"]
    assert await run_count(idle_app) == 3
    await fake_clock.advance(int(refused.headers["retry-after"]))
    assert await statuses(idle_app, path, 2) == [202, 429]

    async def update(**variables: Any) -> Any:
        return (await idle_app.query(UPDATE, {"id": webhook_id, **variables}))["result"]

    assert await update(calls=0) == {"problems": [{"path": "callsPerMinute"}]}
    assert await update(calls=600) == {"webhook": {"callsPerMinute": 600, "name": "shop"}}
    await fake_clock.advance(1)
    assert await statuses(idle_app, path, 11) == [202] * 10 + [429]
    assert await update(calls=None, name="store") == {"webhook": {"callsPerMinute": None, "name": "store"}}
    assert await update(name="store") == {"webhook": {"callsPerMinute": None, "name": "store"}}
    events = (await idle_app.query(AUDIT))["auditEvents"]["nodes"]
    assert {event["objectId"] for event in events} == {webhook_id}
    assert [event["details"]["changes"] for event in reversed(events)] == [
        {"callsPerMinute": {"from": 3, "to": 600}},
        {"callsPerMinute": {"from": 600, "to": None}, "name": {"from": "shop", "to": "store"}},
        {},
    ]
    assert await create(idle_app, calls=-1) == {"problems": [{"path": "callsPerMinute"}]}


async def test_calls_without_a_valid_signature_use_up_nothing(fake_clock: FakeClock, idle_app: App) -> None:
    handshake = {"when": "{{ 'challenge' in request.query }}", "body": "{{ request.query.challenge }}"}
    path = (await create(idle_app, calls=2, header="x-sig", secret="s", respond=handshake))["path"]
    signed = {"x-sig": hmac.digest(b"s", b"1", "sha256").hex()}

    async def post(headers: dict[str, str]) -> httpx.Response:
        return await idle_app.http.post(path, content=b"1", headers=headers)

    assert [(await post({})).status_code for _ in range(5)] == [401] * 5
    asked = [(await idle_app.http.get(f"{path}?challenge=c")).status_code for _ in range(3)]
    assert asked == [200, 200, 429]
    assert [(await post(signed)).status_code for _ in range(3)] == [202, 202, 429]


async def test_default_limit_is_that_of_the_service(fake_clock: FakeClock, database_url: str) -> None:
    async with run_app(database_url, with_worker=False, webhook_calls_per_minute=2) as app:
        assert await statuses(app, (await create(app))["path"], 3) == [202, 202, 429]
        assert await statuses(app, (await create(app, calls=3))["path"], 4) == [202] * 3 + [429]


async def test_only_so_many_calls_wait(fake_clock: FakeClock, idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_webhooks, "MAX_WAITING", 1)
    fake_clock.watch(idle_app.database)
    path, at_rest = (await create(idle_app))["path"], fake_clock.timers
    waiting = asyncio.create_task(idle_app.http.post(f"{path}?wait=1000", json=1))
    await fake_clock.waiting(at_rest + 1)
    refused = await idle_app.http.post(f"{path}?wait=1000", json=2)
    assert (refused.status_code, code_of(refused), refused.headers["retry-after"]) == (429, "RATE_LIMITED", "1")
    assert await statuses(idle_app, path, 1) == [202]
    assert (await fake_clock.drive(waiting)).status_code == 504
    assert await run_count(idle_app) == 2
    again = asyncio.create_task(idle_app.http.post(f"{path}?wait=1000", json=3))
    assert (await fake_clock.drive(again)).status_code == 504
