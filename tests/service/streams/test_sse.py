"""Operations over server-sent events, by HTTP clients on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from starlette.routing import WebSocketRoute

from db import api_keys
from live.events import QueueFullError
from live.subscription import Subscription
from resolvers.subscriptions import decode_position, encode_position
from service.http.graphql import GraphQLEndpoint
from service.streams import sse
from tests.support.app import App
from tests.support.processes.server import AppServer, run_server

PATIENCE = 30.0
WATCH = """subscription($after: String) { flowRunStatusChanged(after: $after) {
    __typename
    ... on FlowRunStatusChanged { cursor runId status }
    ... on CaughtUp { cursor } } }"""
PROGRESS = (
    """subscription($run: ID!, $after: String) { flowRunProgressed(runId: $run, after: $after) { __typename } }"""
)
BULK = """subscription($operation: ID!, $after: String) {
    bulkOperationProgressed(id: $operation, after: $after) { cursor } }"""
ARCHIVE = """mutation { bulkArchive(filter: {createdAfter: "2000-01-01"}) {
    ... on BulkOperationSuccess { operation { id } } } }"""
FLOW = {"steps": [{"name": "only", "kind": "transform", "input": 1}]}
STREAM = "text/event-stream"

Event = dict[str, Any]


class Client:
    """Speaks to a service over HTTP."""

    def __init__(self, served: AppServer, http: httpx.AsyncClient) -> None:
        self.app: App = served.app
        self.http = http
        self.served = served

    def headers(self, key: str | None = None, **more: str) -> dict[str, str]:
        return {"accept": STREAM, "authorization": f"Bearer {key or self.app.keys.admin}", **more}

    @asynccontextmanager
    async def stream(
        self, query: str, *, headers: dict[str, str] | None = None, **variables: Any
    ) -> AsyncIterator[Any]:
        """The response to a POST, unchanged."""
        body = {"query": query, "variables": variables}
        async with self.http.stream("POST", "/graphql", json=body, headers=headers or self.headers()) as response:
            yield response

    async def all(self, query: str, **more: Any) -> list[Event]:
        """The events of a stream that ends."""
        async with asyncio.timeout(PATIENCE), self.stream(query, **more) as response:
            assert (response.status_code, response.headers["content-type"]) == (200, f"{STREAM}; charset=utf-8")
            return [event async for event in events(response)]


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Yields the events of a stream, comments as `{"comment": …}`."""
    event: Event = {}
    async for line in response.aiter_lines():
        if line.startswith(":"):
            event["comment"] = line[1:]
        elif line:
            name, _, value = line.partition(":")
            event[name] = orjson.loads(value) if name == "data" and value.strip() else value.strip()
        else:
            if "event" in event:
                yield event
            event = {}


async def next_event(stream: AsyncIterator[Event]) -> Event:
    """Returns the next event, which must be a result without errors."""
    event = await asyncio.wait_for(anext(stream), PATIENCE)
    assert event["event"] == "next"
    assert "errors" not in event["data"], event["data"]
    data: Event = event["data"]["data"]["flowRunStatusChanged"]
    return data | {"id": event["id"]}


@pytest.fixture
async def client(app_server: AppServer) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=app_server.url) as http:
        yield Client(app_server, http)


async def test_events_arrive_live_and_a_cursor_resumes(client: Client) -> None:
    flow_id = await client.app.create_flow(FLOW)
    async with client.stream(WATCH) as response:
        stream = events(response)
        assert (await next_event(stream))["__typename"] == "CaughtUp"
        run = await client.app.start(flow_id)
        seen = [await next_event(stream) for _ in range(3)]
        assert [(each["runId"], each["status"]) for each in seen] == [
            (run["run"]["id"], status) for status in ("QUEUED", "RUNNING", "SUCCEEDED")
        ]
        assert all(each["id"] == each["cursor"] for each in seen)
    async with client.stream(WATCH, after=seen[0]["cursor"]) as response:
        stream = events(response)
        assert [await next_event(stream) for _ in range(2)] == seen[1:]


async def test_browser_resumes_by_last_event_id(client: Client) -> None:
    """It sends the ID of the last event, and has only the URL that it began with."""
    flow_id = await client.app.create_flow(FLOW)
    async with client.stream(WATCH) as response:
        start = await next_event(events(response))
    await client.app.wait_until_final((await client.app.start(flow_id))["run"]["id"])
    parameters = {"query": WATCH, "variables": orjson.dumps({"after": None}).decode()}
    headers = client.headers(**{"last-event-id": start["id"]})
    async with client.http.stream("GET", "/graphql", params=parameters, headers=headers) as response:
        stream = events(response)
        # The reader may still be the one of the first stream, and not have come so far: then they follow CaughtUp.
        received = [
            event for event in [await next_event(stream) for _ in range(4)] if event["__typename"] != "CaughtUp"
        ]
        assert [event["status"] for event in received] == ["QUEUED", "RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize("by", ["after", "last-event-id"])
async def test_cursor_ahead_of_the_log_is_expired_in_every_stream(client: Client, by: str) -> None:
    app = client.app
    run = (await app.start(await app.create_flow(FLOW)))["run"]["id"]
    operation = (await app.query(ARCHIVE))["bulkArchive"]["operation"]["id"]
    async with client.stream(WATCH) as response:
        newest = (await next_event(events(response)))["cursor"]
    ahead = encode_position(decode_position(newest) + 1_000)
    given = {"after": ahead} if by == "after" else {}
    headers = client.headers() if by == "after" else client.headers(**{"last-event-id": ahead})
    for query, variables in ((WATCH, {}), (PROGRESS, {"run": run}), (BULK, {"operation": operation})):
        failure, _ = await client.all(query, headers=headers, **variables, **given)
        (error,) = failure["data"]["errors"]
        assert error["extensions"]["code"] == "CURSOR_EXPIRED"


async def test_session_cookie_authenticates_a_stream(client: Client) -> None:
    headers = {"accept": STREAM, "cookie": f"flow_runs_session={client.app.keys.viewer}"}
    async with client.stream(WATCH, headers=headers) as response:
        assert (await next_event(events(response)))["__typename"] == "CaughtUp"


async def test_stream_without_a_key_is_unauthenticated(client: Client) -> None:
    async with client.stream(WATCH, headers={"accept": STREAM}) as response:
        assert response.status_code == 401
        assert orjson.loads(await response.aread())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_queries_and_mutations_are_streams_of_one_result(client: Client) -> None:
    assert await client.all("{ viewer { role } }") == [
        {"event": "next", "data": {"data": {"viewer": {"role": "ADMIN"}}}},
        {"event": "complete", "data": ""},
    ]
    result, end = await client.all('mutation { createFlow(name: "x") { __typename } }')
    assert result["data"] == {"data": {"createFlow": {"__typename": "CreateFlowSuccess"}}}
    assert end["event"] == "complete"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "BAD_REQUEST"),
        ("subscription { nothing }", "BAD_REQUEST"),
        ('subscription { flowRunStatusChanged(after: "x") { __typename } }', "INVALID_CURSOR"),
        ('subscription { flowRunProgressed(runId: "x") { __typename } }', "INVALID_ID"),
    ],
)
async def test_errors_of_a_document_are_sent_in_the_stream(client: Client, query: str, code: str) -> None:
    result, end = await client.all(query)
    assert [error["extensions"]["code"] for error in result["data"]["errors"]] == [code]
    assert "data" not in result["data"]
    assert end["event"] == "complete"


async def test_malformed_requests_are_rejected_by_status(client: Client) -> None:
    broken = await client.http.post(
        "/graphql", content=b"{", headers=client.headers(**{"content-type": "application/json"})
    )
    assert broken.status_code == 400
    by_get = {"query": 'mutation { createFlow(name: "y") { __typename } }'}
    refused = await client.http.get("/graphql", params=by_get, headers=client.headers())
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*", "text/plain"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_subscription_needs_a_stream(idle_app: App, accept: str, method: str) -> None:
    asked: dict[str, Any] = {"params" if method == "GET" else "json": {"query": WATCH}}
    headers = {"accept": accept, "authorization": f"Bearer {idle_app.keys.viewer}"}
    response = await idle_app.http.request(method, "/graphql", headers=headers, **asked)
    assert response.status_code == 406
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "NOT_ACCEPTABLE"
    assert "text/event-stream" in error["message"]
    assert "graphql-transport-ws" in error["message"]


async def test_client_that_accepts_both_gets_json_for_single_results(client: Client) -> None:
    headers = client.headers(accept=f"application/graphql-response+json, application/json, {STREAM}, multipart/mixed")
    response = await client.http.post("/graphql", json={"query": "{ viewer { role } }"}, headers=headers)
    assert response.json() == {"data": {"viewer": {"role": "ADMIN"}}}
    async with client.stream(WATCH, headers=headers) as response:
        assert (await next_event(events(response)))["__typename"] == "CaughtUp"


async def test_end_of_a_run_completes_its_stream(client: Client) -> None:
    run = await client.app.start(await client.app.create_flow(FLOW))
    query = f'subscription {{ flowRunProgressed(runId: "{run["run"]["id"]}") {{ __typename }} }}'
    assert (await client.all(query))[-1] == {"event": "complete", "data": ""}


async def test_disconnect_ends_the_subscription(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, gone = client.app.service.hub, asyncio.Event()

    def leave(feed: Subscription, really: Callable[[Subscription], None] = hub.leave) -> None:
        really(feed)
        gone.set()

    monkeypatch.setattr(hub, "leave", leave)
    async with client.stream(WATCH) as response:
        stream = events(response)
        await next_event(stream)
        assert hub.subscribers == 1
    await asyncio.wait_for(gone.wait(), PATIENCE)
    assert hub.subscribers == 0


async def test_revoked_key_ends_its_streams(client: Client) -> None:
    async with client.stream(WATCH, headers=client.headers(client.app.keys.viewer)) as response:
        stream = events(response)
        await next_event(stream)
        row = await client.app.database.read(api_keys.by_secret, client.app.keys.viewer)
        assert row is not None
        await client.app.database.write(api_keys.revoke, row.id)
        failed = await asyncio.wait_for(anext(stream), PATIENCE)
        assert failed["data"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert (await asyncio.wait_for(anext(stream), PATIENCE))["event"] == "complete"


async def test_revoked_token_ends_its_streams(client: Client) -> None:
    made = await client.app.query(
        'mutation { it: createAccessToken(filter: {tags: ["mine"]}) { ... on CreateAccessTokenSuccess { token } } }'
    )
    token = made["it"]["token"]
    async with client.stream(WATCH, headers=client.headers(token)) as response:
        stream = events(response)
        await next_event(stream)
        revoke = "mutation($token: String!) { revokeAccessToken(token: $token) { __typename } }"
        await client.app.query(revoke, {"token": token})
        failed = await asyncio.wait_for(anext(stream), PATIENCE)
        assert failed["data"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_connections_of_a_key_are_limited(database_url: str) -> None:
    async with (
        run_server(database_url, with_worker=True, max_connections_per_key=1) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        client = Client(served, http)
        async with client.stream(WATCH) as response:
            stream = events(response)
            await next_event(stream)
            async with client.stream(WATCH) as refused:
                assert refused.status_code == 429
                assert orjson.loads(await refused.aread())["errors"][0]["extensions"]["code"] == "TOO_MANY_CONNECTIONS"
            async with client.stream(WATCH, headers=client.headers(client.app.keys.viewer)) as other:
                await next_event(events(other))


async def test_slow_client_receives_the_cursor_to_resume_from(client: Client) -> None:
    async with client.stream(WATCH) as response:
        stream = events(response)
        start = await next_event(stream)
        for feed in list(client.app.service.hub._subscriptions):
            assert feed.position is not None
            feed.fail(QueueFullError(feed.position))
        failed = await asyncio.wait_for(anext(stream), PATIENCE)
        assert failed["data"]["errors"][0]["extensions"] == {"code": "SLOW_CONSUMER", "cursor": start["cursor"]}
        assert (await asyncio.wait_for(anext(stream), PATIENCE))["event"] == "complete"


async def test_aborted_connection_drops_its_client(client: Client) -> None:
    (endpoint,) = {route.endpoint for route in client.app.service.app.routes if isinstance(route, WebSocketRoute)}
    assert isinstance(endpoint, GraphQLEndpoint)
    async with client.stream(WATCH) as response:
        stream = events(response)
        await next_event(stream)
        ((connection,),) = endpoint.connections._connections.values()
        connection.abort()
        with pytest.raises(httpx.TransportError):
            await asyncio.wait_for(anext(stream), PATIENCE)


async def test_silent_stream_is_kept_alive(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.01)
    async with asyncio.timeout(PATIENCE), client.stream(WATCH) as response:
        comments = 0
        async for line in response.aiter_lines():
            comments += line == ":"
            if comments == 3:
                return


async def test_stopping_server_ends_streams_with_an_error(client: Client) -> None:
    async with client.stream(WATCH) as response:
        stream = events(response)
        await next_event(stream)
        client.served.uvicorn.should_exit = True
        failed = await asyncio.wait_for(anext(stream), PATIENCE)
        assert failed["data"]["errors"][0]["extensions"]["code"] == "SERVICE_STOPPING"
        assert (await asyncio.wait_for(anext(stream), PATIENCE))["event"] == "complete"
