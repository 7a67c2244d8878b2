"""The setting `compiled_reads`: clients get the same messages whether it is on or off."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from domain import ids
from domain.ids import IdKind
from service.asgi import create_service
from service.server import server_config
from service.settings import Settings
from service.streams.sockets import SocketProtocol
from tests.service.streams.rendering.test_selections import with_a_bad_one
from tests.service.streams.test_socket import answer, receive, signed_in, subscribe
from tests.support.app import PATIENCE
from tests.support.processes.listener import listening_with
from tests.support.processes.server import AppServer, Server, run_server

CORRELATION_ID = re.compile(r"\b[0-9a-f]{16}\b")
FLOW = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
CHANGES = """subscription($after: String) { flowRunStatusChanged(after: $after) { __typename
    ... on FlowRunStatusChanged { cursor runId status matches change { from to message at } %s }
    ... on FlowRunUpdated { cursor runId kind matches %s } ... on CaughtUp { cursor } } }"""
PLAIN = CHANGES % ("", "")
NESTED = CHANGES % (("run { id status flow { name project { name } } steps { name } }",) * 2)
NOT_COMPILED = CHANGES % ('run { step(name: "echo") { name } }', "run { retries { totalCount } }")
PROGRESS = """subscription($run: ID!, $after: String) { flowRunProgressed(runId: $run, after: $after) { __typename
    ... on FlowRunStatusChanged { cursor status run { status } } ... on StepChanged { cursor stepName }
    ... on LogLinesAppended { cursor } ... on CaughtUp { cursor } } }"""
STATS = "subscription { flowRunStatsChanged { total byStatus { status count } } }"
BULK = """subscription($id: ID!) { bulkOperationProgressed(id: $id) {
    cursor counts { status matched processed succeeded } operation { status } } }"""
CANCEL = """mutation($run: ID!) { cancel(runId: $run) { __typename } }"""
ARCHIVE = """mutation { bulkArchive(filter: {createdAfter: "2000-01-01"}) {
    ... on BulkOperationSuccess { operation { id } } } }"""


@asynccontextmanager
async def without_fast_path(server: AppServer, database_url: str) -> AsyncIterator[Server]:
    """Another service on the same database, with the setting turned off."""
    settings = Settings(database_url=database_url, compiled_reads=False)
    project_id = ids.decode(IdKind.PROJECT, server.app.project)
    service = create_service(settings, server.app.database, project_id, with_worker=False)
    config = server_config(service.app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    async with listening_with(config) as (url, _):
        try:
            yield Server(url, server.admin_key, "")
        finally:
            await service.hub.close()


@pytest.fixture
async def servers(database_url: str) -> AsyncIterator[tuple[AppServer, Server]]:
    """One service with the fast path, and one without."""
    async with run_server(database_url) as server, without_fast_path(server, database_url) as plain_server:
        yield server, plain_server


async def same_message(sockets: Sequence[ClientConnection]) -> Any:
    """Return the next message of both sockets, which is the same text but for the correlation ID of an error."""
    async with asyncio.timeout(PATIENCE):
        texts = [CORRELATION_ID.sub("ID", str(await socket.recv())) for socket in sockets]
    assert texts[0] == texts[1]
    return json.loads(texts[0])


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Messages written right to the transport, by the port of the server."""
    counts: dict[int, int] = {}
    write_now = SocketProtocol.write_now

    def count(self: SocketProtocol, texts: Sequence[bytes]) -> int:
        written = write_now(self, texts)
        port = self.transport.get_extra_info("sockname")[1]
        counts[port] = counts.get(port, 0) + written
        return written

    monkeypatch.setattr(SocketProtocol, "write_now", count)
    return counts


@pytest.mark.parametrize("query", [PLAIN, NESTED, NOT_COMPILED], ids=["plain", "nested", "not compiled"])
async def test_status_changes_are_the_same_live_and_replayed(
    servers: tuple[AppServer, Server], writes: dict[int, int], query: str
) -> None:
    app = servers[0].app
    flow = await app.create_flow(FLOW)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(signed_in(server)) for server in servers]
        for socket in sockets:
            await subscribe(socket, query)
        start = (await same_message(sockets))["payload"]["data"]["flowRunStatusChanged"]
        assert start["__typename"] == "CaughtUp"
        run_id = (await app.start(flow))["run"]["id"]
        live = [await same_message(sockets)]
        await app.query(CANCEL, {"run": run_id})
        live.append(await same_message(sockets))
        await app.database.write(with_a_bad_one, run_id)
        live += [await same_message(sockets) for _ in range(3)]
        # Last: the filter does not match archived runs, so no event follows.
        await app.query(ARCHIVE)
        live.append(await same_message(sockets))
        assert ["errors" in message["payload"] for message in live] == [False, False, False, True, False, False]
        for socket in sockets:
            await subscribe(socket, query, "2", after=start["cursor"])
        replayed = [await same_message(sockets) for _ in live]
        # Fields of the run have their present values; the fields of the events themselves are the same.
        assert [message["payload"]["data"] and cursor(message) for message in replayed] == [
            message["payload"]["data"] and cursor(message) for message in live
        ]
        assert (await same_message(sockets))["payload"]["data"]["flowRunStatusChanged"]["__typename"] == "CaughtUp"
    ports = [urlsplit(server.url).port for server in servers]
    assert [writes.get(port or 0, 0) > 0 for port in ports] == [True, False]


def cursor(message: Any) -> str:
    text: str = message["payload"]["data"]["flowRunStatusChanged"]["cursor"]
    return text


async def test_progress_statistics_and_bulk_progress_are_the_same(servers: tuple[AppServer, Server]) -> None:
    app = servers[0].app
    flow = await app.create_flow(FLOW)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(signed_in(server)) for server in servers]
        for socket in sockets:
            await subscribe(socket, STATS, "stats")
        assert (await same_message(sockets))["payload"]["data"]["flowRunStatsChanged"]["total"] == 0
        run_id = (await app.start(flow))["run"]["id"]
        assert (await same_message(sockets))["payload"]["data"]["flowRunStatsChanged"]["total"] == 1
        for socket in sockets:
            await socket.send(json.dumps({"id": "stats", "type": "complete"}))
            await subscribe(socket, PROGRESS, "progress", run=run_id)
        assert (await same_message(sockets))["payload"]["data"]["flowRunProgressed"]["__typename"] == "CaughtUp"
        await app.query(CANCEL, {"run": run_id})
        assert (await same_message(sockets))["payload"]["data"]["flowRunProgressed"]["run"] == {"status": "STOPPED"}
        assert await same_message(sockets) == {"id": "progress", "type": "complete"}
        operation = (await app.query(ARCHIVE))["bulkArchive"]["operation"]["id"]
        for socket in sockets:
            await subscribe(socket, BULK, "bulk", id=operation)
        progress = (await same_message(sockets))["payload"]["data"]["bulkOperationProgressed"]
        assert progress["counts"] == {"status": "COMPLETED", "matched": 1, "processed": 1, "succeeded": 1}
        assert await same_message(sockets) == {"id": "bulk", "type": "complete"}


async def test_server_sent_events_and_queries_are_the_same(servers: tuple[AppServer, Server]) -> None:
    app = servers[0].app
    async with signed_in(servers[0]) as socket:
        await subscribe(socket, PLAIN)
        start = cursor(await receive(socket))
    run_id = (await app.start(await app.create_flow(FLOW)))["run"]["id"]
    await app.query(CANCEL, {"run": run_id})
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {app.keys.admin}"}
    body = {"query": PROGRESS, "variables": {"run": run_id, "after": start}}
    texts = []
    for server in servers:
        async with httpx.AsyncClient(base_url=server.url) as http:
            texts.append((await http.post("/graphql", json=body, headers=headers)).text)
    assert texts[0] == texts[1]
    assert texts[0].count("event: next") == 3
    roles = []
    for server in servers:
        async with signed_in(server) as socket:
            roles.append(await answer(socket, "{ viewer { role } }"))
    assert roles == [{"viewer": {"role": "ADMIN"}}] * 2
