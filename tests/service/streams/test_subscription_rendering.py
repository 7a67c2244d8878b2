"""Rendering for many subscribers at once, visibility of events, and clients that do not read."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar
from uuid import UUID

import pytest
import websockets
from sqlalchemy import update
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from db import api_keys
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from domain import ids
from domain.enums import Role
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.time import clock
from service.streams import subscription_rendering
from service.streams.connection_registry import MAX_STALLED_CHECKS
from tests.service.streams.test_socket import close_code, connect, receive, subscribe
from tests.support.app import PATIENCE, App, statements
from tests.support.processes.server import AppServer, run_server

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
WATCH = """subscription($after: String, $filter: FlowRunFilter) {
    told: flowRunStatusChanged(after: $after, filter: $filter) {
        __typename ... on FlowRunStatusChanged { cursor runId status matches %s } ... on CaughtUp { cursor }
        ... on FlowRunUpdated { cursor runId kind matches run { archivedAt } } } }"""
PLAIN = WATCH % ""
NESTED = WATCH % "run { id flow { name project { name } } steps { name } }"


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[AppServer]:
    async with run_server(database_url) as served:
        yield served


@asynccontextmanager
async def let_in(server: AppServer, key: str | None = None) -> AsyncIterator[ClientConnection]:
    shown = {"Authorization": f"Bearer {key or server.app.keys.admin}"}
    async with connect(server, shown) as socket:
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


async def next_event(socket: ClientConnection, name: str = "1") -> Any:
    async with asyncio.timeout(PATIENCE):
        message = await receive(socket)
    assert (message["id"], message["type"]) == (name, "next"), message
    return message["payload"]["data"]["told"]


async def subscribed(stack: AsyncExitStack, server: AppServer, query: str, **more: Any) -> ClientConnection:
    """A client that has caught up."""
    socket = await stack.enter_async_context(let_in(server, more.pop("key", None)))
    await subscribe(socket, query, **more)
    assert (await next_event(socket))["__typename"] == "CaughtUp"
    return socket


async def test_equal_selections_of_many_subscribers_read_each_row_once(server: AppServer) -> None:
    flow = await server.app.create_flow(ECHO)
    # One selects the same by another document. It shares the reads too.
    others = NESTED.replace("flow { name", "ofFlow: flow { name")
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, NESTED) for _ in range(9)]
        clients.append(await subscribed(stack, server, others))
        clients.append(await subscribed(stack, server, NESTED, filter={"flowIds": [flow]}))
        clients.append(await subscribed(stack, server, NESTED, key=server.app.keys.all_projects))
        with statements() as found:
            run = await server.app.start(flow)
            heard = [await next_event(client) for client in clients]
    assert {each["runId"] for each in heard} == {run["run"]["id"]}
    assert all(one == heard[0] for one in heard[:9])
    assert heard[9]["run"]["ofFlow"] == heard[0]["run"]["flow"]
    reads = [text for text in found.texts if text.startswith("SELECT")]
    for source in ("FROM step_result", "FROM project"):
        # The mutation reads the project too.
        assert sum(source in text for text in reads) <= 2, [text for text in reads if source in text]


async def test_subscriber_receives_no_events_of_another_project(server: AppServer) -> None:
    keys = server.app.keys
    mine = await server.app.create_flow(ECHO)
    theirs = await server.app.create_flow(ECHO, key=keys.other_admin)
    async with AsyncExitStack() as stack:
        own = await subscribed(stack, server, NESTED)
        viewer = await subscribed(stack, server, NESTED, key=keys.viewer)
        other = await subscribed(stack, server, NESTED, key=keys.other_viewer)
        everybody = await subscribed(stack, server, NESTED, key=keys.all_projects)
        foreign = await subscribed(stack, server, NESTED, filter={"projectIds": [server.app.other_project]})
        first = (await server.app.start(theirs, key=keys.other_operator))["run"]["id"]
        second = (await server.app.start(mine))["run"]["id"]
        assert [(await next_event(client))["runId"] for client in (own, viewer, other)] == [second, second, first]
        assert {(await next_event(everybody))["runId"], (await next_event(everybody))["runId"]} == {first, second}
        # If `foreign` received an event, it would be one of these, before this answer.
        await subscribe(foreign, "{ viewer { role } }", "2")
        assert (await receive(foreign))["id"] == "2"


async def test_renderings_differ_by_variables_of_the_selection_and_not_by_cursors(server: AppServer) -> None:
    query = """subscription($after: String, $full: Boolean!) { told: flowRunStatusChanged(after: $after)
        { __typename ... on FlowRunStatusChanged { cursor runId @include(if: $full) } } }"""
    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        full = await subscribed(stack, server, query, full=True)
        short = await subscribed(stack, server, query, full=False)
        cursor = (await next_event_after(server, short, flow))["cursor"]
        await next_event(full)
        late = await subscribed(stack, server, query, full=False, after=cursor)
        renderers = server.endpoint.streams._renderers
        assert len(renderers) == 2
        heard = await next_event_after(server, late, flow)
        assert (heard, await next_event(short)) == (heard, heard)
        assert set(heard) == {"__typename", "cursor"}
        assert set(await next_event(full)) == {"__typename", "cursor", "runId"}


async def next_event_after(server: AppServer, client: ClientConnection, flow: str) -> Any:
    await server.app.start(flow)
    return await next_event(client)


async def test_run_that_leaves_the_filter_is_delivered_and_does_not_match(database_url: str) -> None:
    async with run_server(database_url, with_worker=True) as server, AsyncExitStack() as stack:
        flow = await server.app.create_flow(ECHO)
        running = await subscribed(stack, server, PLAIN, filter={"statuses": ["RUNNING"]})
        queued = await subscribed(stack, server, NESTED, filter={"statuses": ["QUEUED"]})
        await server.app.start(flow)
        heard = [await next_event(running) for _ in range(2)]
        assert [(each["status"], each["matches"]) for each in heard] == [("RUNNING", True), ("SUCCEEDED", False)]
        heard = [await next_event(queued) for _ in range(2)]
        assert [(each["status"], each["matches"]) for each in heard] == [("QUEUED", True), ("RUNNING", False)]


def archive(uow: UnitOfWork, key: UUID) -> None:
    (row,) = run_reads.by_ids(uow.conn, [key], {"flow_id"}).values()
    now = clock.now()
    uow.conn.execute(update(table(FlowRun)).where(table(FlowRun).c.id == key).values(archived_at=now))
    event = {"run_id": key, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_ARCHIVED}
    event_log.append(uow, [{**event, "message": "Archived", "at": now}])


async def test_other_changes_of_runs_are_delivered_in_the_same_stream(server: AppServer) -> None:
    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        lists = [await subscribed(stack, server, PLAIN, filter={"archived": how}) for how in ("EXCLUDE", "ONLY")]
        run_id = (await server.app.start(flow))["run"]["id"]
        assert (await next_event(lists[0]))["matches"] is True
        await server.app.database.write(archive, ids.decode(IdKind.RUN, run_id))
        for client, matches in zip(lists, (False, True), strict=True):
            heard = await next_event(client)
            assert heard["__typename"] == "FlowRunUpdated"
            assert (heard["runId"], heard["kind"], heard["matches"]) == (run_id, "ARCHIVED", matches)
            assert heard["run"]["archivedAt"] is not None


async def test_event_is_not_delivered_without_its_selected_fields(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the event and the fields of its run."""
    monkeypatch.setattr(subscription_rendering, "RETRY_SECONDS", 0.0)
    read, failures = server.app.database.read, 0

    async def fails_thrice(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        if query is run_reads.steps_by_runs and failures < 3:
            failures += 1
            raise DatabaseUnavailableError
        return await read(query, *args, **kwargs)

    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, NESTED) for _ in range(2)]
        monkeypatch.setattr(server.app.database, "read", fails_thrice)
        await server.app.start(flow)
        heard = [await next_event(client) for client in clients]
        assert heard[0] == heard[1]
        assert heard[0]["run"]["flow"]["name"] == "flow"
    assert failures == 3


def with_a_bad_one(uow: UnitOfWork, run_id: str) -> None:
    """Append three events that are read together. The second has a status that does not exist."""
    (row,) = run_reads.by_ids(uow.conn, [ids.decode(IdKind.RUN, run_id)], {"flow_id"}).values()
    event = {"run_id": row.id, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_STATUS}
    change = {"from_status": "QUEUED", "message": "Changed", "at": clock.now()}
    event_log.append(uow, [{**event, **change, "to_status": status} for status in ("RUNNING", "MELTED", "PAUSED")])


@pytest.mark.parametrize("query", [PLAIN, NESTED], ids=["plain", "nested"])
async def test_event_that_cannot_be_rendered_is_an_error_in_its_position_alone(server: AppServer, query: str) -> None:
    async def heard(client: ClientConnection) -> list[str]:
        """Return the statuses of the next events, and of an event with an error the path of that."""
        found = []
        for _ in range(3):
            payload = (await receive(client))["payload"]
            found.append(payload["data"]["told"]["status"] if "errors" not in payload else payload["errors"][0]["path"])
        return found

    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, query) for _ in range(3)]
        blind = await subscribed(stack, server, query.replace("status", "__typename"))
        run_id = (await server.app.start(await server.app.create_flow(ECHO)))["run"]["id"]
        started = [await next_event(client) for client in (*clients, blind)]
        await server.app.database.write(with_a_bad_one, run_id)
        expected = ["RUNNING", ["told", "status"], "PAUSED"]
        for client in clients:
            assert await heard(client) == expected
        assert [(await next_event(blind))["runId"] for _ in range(3)] == [run_id] * 3
        late = await stack.enter_async_context(let_in(server))
        await subscribe(late, query, after=started[0]["cursor"])
        assert await heard(late) == expected
        assert (await next_event(late))["__typename"] == "CaughtUp"
        # All subscriptions go on.
        other = (await server.app.start(await server.app.create_flow(ECHO, name="other")))["run"]["id"]
        assert {(await next_event(client))["runId"] for client in (*clients, blind, late)} == {other}


# Clients that do not read


class Deaf:
    """A client that reads when the test says so: its buffers are small."""

    def __init__(self, raw: sockets.socket) -> None:
        self._raw = raw
        self._data = b""

    @classmethod
    async def connect(cls, server: AppServer) -> Self:
        raw = sockets.socket()
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.setblocking(False)
        port = int(server.url.rsplit(":", 1)[1])
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        return cls(raw)

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._raw, data)

    async def _more(self) -> bytes:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._raw, 1 << 20)
        except ConnectionError:
            data = b""
        self._data += data
        return data

    async def _headers(self) -> bytes:
        while b"\r\n\r\n" not in self._data:
            assert await self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head

    def close(self) -> None:
        self._raw.close()


class DeafClient(Deaf):
    """On a WebSocket; nobody answers pings."""

    @classmethod
    async def on(cls, server: AppServer) -> Self:
        client = await cls.connect(server)
        await client._send(
            b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
            + f"Authorization: Bearer {server.app.keys.admin}\r\n\r\n".encode()
        )
        await client._headers()
        await client.send({"type": "connection_init"})
        assert await client.message() == {"type": "connection_ack"}
        await client.send({"id": "1", "type": "subscribe", "payload": {"query": LOUD}})
        assert (await client.message())["payload"]["data"]["told"]["__typename"] == "CaughtUp"
        return client

    async def send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        await self._send(b"\x81\xfe" + len(data).to_bytes(2, "big") + b"\0\0\0\0" + data)

    async def message(self) -> Any:
        """The next one; None when the connection has ended."""
        async with asyncio.timeout(PATIENCE):
            while (frame := self._frame()) is None:
                if not await self._more():
                    return None
        assert frame[0] == 0x81  # text
        return json.loads(frame[1])

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 4:
            return None
        length, head = data[1], 2
        if length == 126:
            length, head = int.from_bytes(data[2:4], "big"), 4
        if len(data) < head + length:
            return None
        self._data = data[head + length :]
        return data[0], data[head : head + length]


class DeafStream(Deaf):
    """On server-sent events."""

    def __init__(self, raw: sockets.socket) -> None:
        super().__init__(raw)
        self._text = b""

    @classmethod
    async def on(cls, server: AppServer, after: str | None = None) -> Self:
        client = await cls.connect(server)
        body = json.dumps({"query": LOUD, "variables": {"after": after}}).encode()
        await client._send(
            b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
            + f"Content-Length: {len(body)}\r\nAuthorization: Bearer {server.app.keys.admin}\r\n\r\n".encode()
            + body
        )
        assert b"transfer-encoding: chunked" in await client._headers()
        if after is None:
            assert (await client.event())["data"]["told"]["__typename"] == "CaughtUp"
        return client

    async def event(self) -> Any:
        """What the next one tells; None when the stream has ended."""
        async with asyncio.timeout(PATIENCE):
            while (end := self._text.find(b"\n\n")) < 0:
                if not await self._chunk():
                    return None
        event, self._text = self._text[:end], self._text[end + 2 :]
        if event.startswith((b":", b"event: complete")):
            return await self.event()
        return json.loads(event.partition(b"data: ")[2])

    async def _chunk(self) -> bytes:
        """Take one more; none at the end of the response, or of the connection."""
        while b"\r\n" not in self._data:
            if not await self._more():
                return b""
        size, _, _ = self._data.partition(b"\r\n")
        start, length = len(size) + 2, int(size, 16)
        while len(self._data) < start + length + 2:
            if not await self._more():
                return b""
        chunk, self._data = self._data[start : start + length], self._data[start + length + 2 :]
        self._text += chunk
        return chunk


LONG = "x" * 4_000
MANY = 6_000


def fill_the_log(uow: UnitOfWork, app: App, run_id: str) -> None:
    """More than all buffers between the service and a client hold."""
    (row,) = run_reads.by_ids(uow.conn, [ids.decode(IdKind.RUN, run_id)], {"flow_id"}).values()
    event = {"run_id": row.id, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_STATUS}
    change = {"from_status": "RUNNING", "to_status": "PAUSED", "message": LONG, "at": clock.now()}
    event_log.append(uow, [{**event, **change}] * MANY)


D = TypeVar("D", bound=Deaf)


@asynccontextmanager
async def deaf(
    server: AppServer, monkeypatch: pytest.MonkeyPatch, connect: Callable[[AppServer], Awaitable[D]]
) -> AsyncIterator[D]:
    """A client that has taken nothing of more than it can be sent, and for which too many events wait."""
    left = asyncio.Event()
    hub = server.endpoint._hub
    leave = hub.leave

    def noted(feed: Any) -> None:
        leave(feed)
        left.set()

    monkeypatch.setattr(hub, "leave", noted)
    flow = await server.app.create_flow(ECHO)
    client = await connect(server)
    try:
        run_id = (await server.app.start(flow))["run"]["id"]
        await server.app.database.write(fill_the_log, server.app, run_id)
        await asyncio.wait_for(left.wait(), PATIENCE)
        yield client
    finally:
        client.close()


LOUD = """subscription($after: String) { told: flowRunStatusChanged(after: $after) { __typename
    ... on CaughtUp { cursor } ... on FlowRunStatusChanged { cursor change { message } } } }"""


async def test_socket_that_is_not_read_ends_with_the_cursor_to_resume_from(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deaf(server, monkeypatch, DeafClient.on) as client:
        heard: list[str] = []
        while (message := await client.message())["type"] == "next":
            heard.append(message["payload"]["data"]["told"]["cursor"])
        (error,) = message["payload"]
        assert (message["id"], message["type"]) == ("1", "error")
        assert error["extensions"] == {"code": "SLOW_CONSUMER", "cursor": heard[-1]}
        assert 1 < len(heard) < MANY
        await client.send(
            {"id": "2", "type": "subscribe", "payload": {"query": LOUD, "variables": {"after": heard[-1]}}}
        )
        while (item := (await client.message())["payload"]["data"]["told"])["__typename"] != "CaughtUp":
            heard.append(item["cursor"])
        assert len(heard) == len(set(heard)) == MANY + 1


async def test_event_stream_that_is_not_read_ends_with_the_cursor_to_resume_from(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deaf(server, monkeypatch, DeafStream.on) as client:
        assert server.endpoint._hub.subscribers == 0
        heard: list[str] = []
        while "errors" not in (result := await client.event()):
            heard.append(result["data"]["told"]["cursor"])
        (error,) = result["errors"]
        assert error["extensions"] == {"code": "SLOW_CONSUMER", "cursor": heard[-1]}
        assert 1 < len(heard) < MANY
        assert await client.event() is None
    again = await DeafStream.on(server, after=heard[-1])
    while (item := (await again.event())["data"]["told"])["__typename"] != "CaughtUp":
        heard.append(item["cursor"])
    again.close()
    assert len(heard) == len(set(heard)) == MANY + 1


@pytest.mark.parametrize("connect", [DeafClient.on, DeafStream.on], ids=["socket", "stream"])
async def test_client_that_stops_reading_is_aborted(
    server: AppServer, monkeypatch: pytest.MonkeyPatch, connect: Callable[[AppServer], Awaitable[Deaf]]
) -> None:
    connections = server.endpoint.connections
    gone = asyncio.Event()
    remove = connections.remove

    def noted(connection: Any) -> None:
        remove(connection)
        gone.set()

    monkeypatch.setattr(connections, "remove", noted)
    async with deaf(server, monkeypatch, connect) as client:
        for _ in range(MAX_STALLED_CHECKS + 1):
            assert not gone.is_set()
            connections._abort_stalled()
        await asyncio.wait_for(gone.wait(), PATIENCE)
        assert server.endpoint._hub.subscribers == 0
        while await client._more():
            pass


# Keys


async def test_subscriptions_of_revoked_key_end(server: AppServer) -> None:
    secret = await server.app.database.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.VIEWER, name="to be revoked")
    )
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, PLAIN, key=secret) for _ in range(3)]
        other = await subscribed(stack, server, PLAIN)
        await server.endpoint.connections._close_revoked()
        row = await server.app.database.read(api_keys.by_secret, secret)
        assert row is not None
        await server.app.database.write(api_keys.revoke, row.id)
        with statements() as found:
            await server.endpoint.connections._close_revoked()
        # The log's reader may look at the log just then.
        assert len([text for text in found.texts if "api_key" in text]) == 1
        for client in clients:
            assert await close_code(client) == 4403
        await server.app.start(await server.app.create_flow(ECHO))
        assert (await next_event(other))["status"] == "QUEUED"


async def test_subscriptions_of_a_key_are_limited(database_url: str) -> None:
    async with (
        run_server(database_url, max_subscriptions_per_key=2) as server,
        let_in(server) as one,
        let_in(server) as two,
        let_in(server, server.app.keys.viewer) as other,
    ):
        for socket, name in ((one, "a"), (two, "b"), (other, "a")):
            await subscribe(socket, PLAIN, name)
            assert (await next_event(socket, name))["__typename"] == "CaughtUp"
        await subscribe(one, PLAIN, "c")
        message = await receive(one)
        assert (message["id"], message["type"]) == ("c", "error")
        assert message["payload"][0]["extensions"] == {"code": "TOO_MANY_SUBSCRIPTIONS"}
        await one.send(json.dumps({"id": "a", "type": "complete"}))
        # The end of the stream takes its course; a query finds room when it has.
        async with asyncio.timeout(PATIENCE):
            while True:
                await subscribe(one, PLAIN, "c")
                message = await receive(one)
                if message["type"] == "next":
                    break


async def test_connections_of_a_key_are_limited(database_url: str) -> None:
    async with run_server(database_url, max_connections_per_key=1) as server:
        shown = {"Authorization": f"Bearer {server.app.keys.admin}"}
        async with let_in(server), let_in(server, server.app.keys.viewer):
            async with connect(server, shown) as second:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await second.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4429, "TOO_MANY_CONNECTIONS")


async def test_socket_without_connection_init_is_closed(server: AppServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.endpoint, "connection_init_wait_timeout", timedelta(milliseconds=1))
    url = server.url.replace("http", "ws") + "/graphql"
    async with websockets.connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        assert await close_code(socket) == 4408
