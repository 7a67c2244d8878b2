"""Costs and rate limits as clients meet them: over HTTP, sockets and server-sent events, by keys and by tokens."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from resolvers.rates.budgets import REFUSED_COST
from schema.cost import MAX_COST
from service.http.downloads import BYTES_OF_COST, DOWNLOAD_COST
from tests.service.streams.test_socket import connect, receive
from tests.support.app import App, run_app
from tests.support.clock import FakeClock
from tests.support.processes.server import run_server

RUNS = "{ flowRuns(first: 10) { nodes { id status } } }"
"""Costs 31: three fields for each of ten runs, and the one above them."""
GENERAL = "{ flowRuns(first: 10) { nodes { id status } } viewer { role } }"
"""Costs 33."""
COST = 31
LIMIT = 100
WATCH = """subscription { flowRunStatusChanged { __typename } }"""
CREATE = """mutation($limit: Int) { it: createApiKey(name: "limited", role: ADMIN, costPerMinute: $limit) {
    ... on CreateApiKeySuccess { secret apiKey { id costPerMinute } } ... on UserError { code } } }"""
UPDATE = """mutation($id: ID!, $limit: Int) { it: updateApiKey(id: $id, costPerMinute: $limit) {
    ... on UpdateApiKeySuccess { apiKey { costPerMinute name } } ... on UserError { code }
    ... on SettingsInvalid { problems { path } } } }"""


async def limited_key(app: App, limit: int | None = LIMIT, key: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = (await app.query(CREATE, {"limit": limit}, key=key))["it"]
    return made


async def ask(app: App, query: str = RUNS, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key or app.keys.admin}"}
    return await app.http.post("/graphql", json={"query": query, **more}, headers=headers)


def reported(body: Any) -> Any:
    return body["extensions"]["cost"]


async def available(app: App, key: str) -> int:
    response = await ask(app, "{ __typename }", key, extensions={"cost": True})
    left: int = reported(response.json())["throttleStatus"]["currentlyAvailable"]
    return left


async def test_cost_is_reported_to_who_asks(either_app: App) -> None:
    assert "extensions" not in (await ask(either_app)).json()
    for asking in ({"cost": True}, {"cost": True, "other": 1}):
        body = (await ask(either_app, extensions=asking)).json()
        assert reported(body) == {"requestedQueryCost": COST, "maxQueryCost": MAX_COST, "throttleStatus": None}
        assert body["data"]["flowRuns"]["nodes"] == []
    assert "extensions" not in (await ask(either_app, extensions={"cost": "yes"})).json()
    general = (await ask(either_app, GENERAL, extensions={"cost": True})).json()
    assert reported(general)["requestedQueryCost"] == 33
    parameters = {"query": RUNS, "extensions": json.dumps({"cost": True})}
    headers = {"authorization": f"Bearer {either_app.keys.admin}"}
    got = await either_app.http.get("/graphql", params=parameters, headers=headers)
    assert reported(got.json())["requestedQueryCost"] == COST
    invalid = (await ask(either_app, "{ nonsense }", extensions={"cost": True})).json()
    assert invalid.keys() == {"errors"}


async def test_key_is_refused_beyond_its_limit_until_time_has_passed(fake_clock: FakeClock, either_app: App) -> None:
    key = (await limited_key(either_app))["secret"]
    limits = "{ viewer { limits { costPerMinute } } }"  # costs 3
    assert (await ask(either_app, limits, key)).json()["data"]["viewer"]["limits"] == {"costPerMinute": LIMIT}
    for number in range(3):
        body = (await ask(either_app, key=key, extensions={"cost": True})).json()
        throttle = reported(body)["throttleStatus"]
        remaining = LIMIT - 3 - COST * (number + 1)
        assert throttle | {"restoreRate": 0} == {
            "maximumAvailable": LIMIT,
            "currentlyAvailable": remaining,
            "restoreRate": 0,
        }
        assert throttle["restoreRate"] == pytest.approx(LIMIT / 60)
    for query in (RUNS, GENERAL):
        for accepted in ("application/json", "application/graphql-response+json"):
            headers = {"authorization": f"Bearer {key}", "accept": accepted}
            refused = await either_app.http.post("/graphql", json={"query": query}, headers=headers)
            assert refused.status_code == 429
            assert refused.headers["content-type"].startswith(accepted)
            (error,) = refused.json()["errors"]
            assert error["extensions"]["code"] == "RATE_LIMITED"
            assert int(refused.headers["retry-after"]) == error["extensions"]["retryAfter"] in (1, 19)
            assert "data" not in refused.json()
    # With nothing left, no document is read.
    assert (await ask(either_app, "{ nonsense }", key)).status_code == 429
    assert (await ask(either_app, key=either_app.keys.admin)).status_code == 200
    await fake_clock.advance(19)
    assert (await ask(either_app, key=key)).status_code == 200
    # More than the whole limit never succeeds, and says so.
    await fake_clock.advance(60)
    greedy = (await ask(either_app, RUNS.replace("10", "100"), key)).json()
    assert greedy["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"


async def test_default_limit_serves_keys_without_their_own_and_tokens_count_for_their_key(
    fake_clock: FakeClock, database_url: str
) -> None:
    async with run_app(database_url, with_worker=False, cost_per_minute=LIMIT, report_costs=True) as app:
        made = await app.execute(
            """mutation { it: createAccessToken(filter: {tags: ["mine"]}) {
            ... on CreateAccessTokenSuccess { token } } }""",
            key=app.keys.operator,
        )
        assert reported(made)["throttleStatus"]["maximumAvailable"] == LIMIT
        token = made["data"]["it"]["token"]
        statuses = [(await ask(app, key=each)).status_code for each in (app.keys.operator, token) * 3]
        assert statuses == [200] * 3 + [429] * 3
        assert (await ask(app, key=app.keys.viewer)).status_code == 200
        await fake_clock.advance(2)
        assert (await ask(app, "{ viewer { limits { costPerMinute } } }", token)).status_code == 200


async def test_limits_are_given_and_changed_within_ones_own(idle_app: App) -> None:
    made = await limited_key(idle_app, 1_000)
    key, key_id = made["secret"], made["apiKey"]["id"]
    assert made["apiKey"]["costPerMinute"] == 1_000
    # By default a key has the limit of the one that creates it, and none gets more.
    inherited = await limited_key(idle_app, None, key)
    assert inherited["apiKey"]["costPerMinute"] == 1_000
    assert (await limited_key(idle_app, 1_001, key))["code"] == "PRIVILEGE_EXCEEDED"
    for limit in (None, 2_000):
        result = (await idle_app.query(UPDATE, {"id": key_id, "limit": limit}, key=key))["it"]
        assert result["code"] == "PRIVILEGE_EXCEEDED"
    unlimited = (await limited_key(idle_app, None))["apiKey"]["id"]
    rotate = "mutation($id: ID!) { it: rotateApiKey(id: $id) { __typename ... on UserError { code } } }"
    assert (await idle_app.query(rotate, {"id": unlimited}, key=key))["it"]["code"] == "PRIVILEGE_EXCEEDED"
    lowered = (await idle_app.query(UPDATE, {"id": key_id, "limit": 900}, key=key))["it"]
    assert lowered["apiKey"]["costPerMinute"] == 900
    for limit in (0, 2_000_000_000):
        refused = (await idle_app.query(UPDATE, {"id": key_id, "limit": limit}))["it"]
        assert refused["problems"] == [{"path": "costPerMinute"}]
    removed = (await idle_app.query(UPDATE, {"id": key_id, "limit": None}))["it"]
    assert removed["apiKey"] == {"costPerMinute": None, "name": "limited"}
    (event, *_) = (
        await idle_app.query("{ auditEvents(filter: {actions: [UPDATE_API_KEY]}) { nodes { objectId details } } }")
    )["auditEvents"]["nodes"]
    assert event == {"objectId": key_id, "details": {"changes": {"costPerMinute": {"from": 900, "to": None}}}}
    # It holds in this process at once.
    renamed = """mutation($id: ID!) { it: updateApiKey(id: $id, name: "other", costPerMinute: 3) {
        ... on UpdateApiKeySuccess { apiKey { name } } } }"""
    assert (await idle_app.query(renamed, {"id": key_id}))["it"]["apiKey"] == {"name": "other"}
    assert (await ask(idle_app, key=key)).json()["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"


REFUSED: dict[str, dict[str, Any]] = {
    "parse error": {"query": "{"},
    "validation error": {"query": "{ nonsense }"},
    "too deep": {"query": "{ flowRuns { nodes " + "{ parent " * 40 + "{ id }" + " }" * 42},
    "too complex": {"query": "{ flowRuns(first: 1000) { nodes { children(first: 1000) { nodes { id } } } } }"},
    "too long": {"query": "#" * 100_001},
    "unknown hash": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
    "invalid variable": {"query": "query($first: Int!) { flowRuns(first: $first) { nodes { id } } }"},
    "no document": {},
    "too large": {"query": RUNS, "variables": {"text": "x" * 5_000_000}},
}


@pytest.mark.parametrize("accepted", ["application/json", "text/event-stream"])
async def test_refused_requests_have_a_price(fake_clock: FakeClock, either_app: App, accepted: str) -> None:
    key = (await limited_key(either_app, 1_000))["secret"]
    headers = {"authorization": f"Bearer {key}", "accept": accepted}
    before, spent = await available(either_app, key), {}
    for name, body in REFUSED.items():
        sent = await either_app.http.post("/graphql", json=body, headers=headers)
        assert "errors" in sent.text, name
        after = await available(either_app, key)
        spent[name] = before - after
        before = after
    # The variables of an operation are checked after it was charged.
    assert spent.pop("invalid variable") > REFUSED_COST
    of_query = before - await available(either_app, key)
    assert set(spent.values()) == {REFUSED_COST + of_query}, spent


async def test_refused_requests_end_with_the_budget(fake_clock: FakeClock, either_app: App) -> None:
    key = (await limited_key(either_app, 5 * REFUSED_COST))["secret"]
    statuses = [(await ask(either_app, "{ nonsense }", key)).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    refused = await ask(either_app, "{ __typename }", key)
    assert refused.status_code == 429
    await fake_clock.advance(int(refused.headers["retry-after"]))
    assert (await ask(either_app, "{ __typename }", key)).status_code == 200


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_streams_report_and_refuse_too(database_url: str, compiled: bool) -> None:
    async with run_server(database_url, compiled_reads=compiled) as served:
        key = (await limited_key(served.app, 40))["secret"]
        async with connect(served, {"Authorization": f"Bearer {key}"}) as socket:
            assert (await receive(socket))["type"] == "connection_ack"

            async def subscribe(name: str, query: str, **more: Any) -> Any:
                await socket.send(json.dumps({"id": name, "type": "subscribe", "payload": {"query": query, **more}}))
                return await receive(socket)

            first = await subscribe("1", WATCH, extensions={"cost": True})
            assert first["payload"]["data"] == {"flowRunStatusChanged": {"__typename": "CaughtUp"}}
            assert reported(first["payload"])["requestedQueryCost"] == 2
            assert reported(first["payload"])["throttleStatus"]["currentlyAvailable"] == 38
            second = await subscribe("2", RUNS, extensions={"cost": True})
            assert reported(second["payload"])["requestedQueryCost"] == COST
            assert (await receive(socket))["type"] == "complete"
            silent = await subscribe("3", WATCH)
            assert silent["payload"].keys() == {"data"}
            refused = await subscribe("4", RUNS)
            assert refused["type"] == "error"
            assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
            assert refused["payload"][0]["extensions"]["retryAfter"] >= 1
            # The socket is alive, and so are its streams.
            await socket.send(json.dumps({"type": "ping"}))
            assert (await receive(socket))["type"] == "pong"
        headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
            answer = await http.post("/graphql", json={"query": RUNS})
            assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (429, True)
            assert "RATE_LIMITED" in answer.text


LOG_LINES = 2_500
TEXT = "x" * 10 * BYTES_OF_COST
OUTPUT = {
    "steps": [
        {"name": "count", "kind": "python", "input": {"action": "notes.count", "args": {"to": LOG_LINES}}},
        {
            "name": "store",
            "kind": "python",
            "input": {"action": "notes.store", "args": {"name": "a.txt", "text": TEXT}},
        },
    ]
}


async def store_is_away(*_: Any, **__: Any) -> None:
    raise PermissionError


async def test_downloads_are_charged(fake_clock: FakeClock, database_url: str, tmp_path: Path) -> None:
    actions, files = "tests.support.output_actions", str(tmp_path / "files")
    async with run_app(database_url, with_worker=True, actions=actions, files_url=files) as app:
        run_id = (await app.start(await app.create_flow(OUTPUT, "flow")))["run"]["id"]
        run = await app.wait_until_final(run_id, "id status files { url }")
        key = (await limited_key(app, 10_000))["secret"]
        small = (await limited_key(app, LOG_LINES))["secret"]
        log, file, unknown = f"/runs/{run_id}/log", run["files"][0]["url"], f"/files/file_{'0' * 32}"

        async def get(path: str, secret: str = key, method: str = "GET", **headers: str) -> httpx.Response:
            return await app.http.request(method, path, headers={"authorization": f"Bearer {secret}", **headers})

        async def spent_by(*args: str, **headers: str) -> int:
            before = await available(app, key)
            await get(*args, **headers)
            return before - await available(app, key)

        of_query = await available(app, key) - await available(app, key)
        assert await spent_by(log) == DOWNLOAD_COST + LOG_LINES + of_query
        assert await spent_by(file) == DOWNLOAD_COST + 10 + of_query
        assert await spent_by(file, range=f"bytes=0-{2 * BYTES_OF_COST - 1}") == DOWNLOAD_COST + 2 + of_query
        assert await spent_by(file, key, "HEAD") == DOWNLOAD_COST + of_query
        for refused, headers in ((unknown, {}), ("/files/passwd", {}), (file, {"range": "bytes=200000-"})):
            assert await spent_by(refused, **headers) == REFUSED_COST + of_query
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("obstore.get_async", store_is_away)
            assert await spent_by(file) == REFUSED_COST + of_query
        for stored in (path for path in (tmp_path / "files").rglob("*") if path.is_file()):
            stored.rename(stored.with_suffix(".gone"))
            assert await spent_by(file) == REFUSED_COST + of_query
            stored.with_suffix(".gone").rename(stored)
        # A log that costs more than the whole limit costs the whole limit.
        assert (await get(log, small)).status_code == 200
        for path in (log, file, unknown):
            answer = await get(path, small)
            assert answer.status_code == 429
            assert answer.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        # The first refusal comes before anything is read, so it does not know the cost.
        for _ in range(2):
            await fake_clock.advance(int((await get(log, small)).headers["retry-after"]))
        assert (await get(log, small)).status_code == 200
