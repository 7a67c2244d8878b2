"""Clients that do not read are bounded, and end with the cursor to resume from."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import pytest

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.runs import reads as run_reads
from domain import ids
from domain.ids import IdKind
from domain.time import clock
from service.streams.connection_registry import MAX_STALLED_CHECKS
from tests.service.streams.rendering.harness import ECHO
from tests.support.app import PATIENCE, App
from tests.support.processes.server import AppServer


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
    """A client on a WebSocket that answers no pings."""

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
        assert (await client.message())["payload"]["data"]["event"]["__typename"] == "CaughtUp"
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
            assert (await client.event())["data"]["event"]["__typename"] == "CaughtUp"
        return client

    async def event(self) -> Any:
        """Returns the next event; None when the stream has ended."""
        async with asyncio.timeout(PATIENCE):
            while (end := self._text.find(b"\n\n")) < 0:
                if not await self._chunk():
                    return None
        event, self._text = self._text[:end], self._text[end + 2 :]
        if event.startswith((b":", b"event: complete")):
            return await self.event()
        return json.loads(event.partition(b"data: ")[2])

    async def _chunk(self) -> bytes:
        """Takes one more event; None at the end of the response, or of the connection."""
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
    """More than the capacity of all buffers between the service and a client."""
    (row,) = run_reads.by_ids(uow.conn, [ids.decode(IdKind.RUN, run_id)], {"flow_id"}).values()
    event = {"run_id": row.id, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_STATUS}
    change = {"from_status": "RUNNING", "to_status": "PAUSED", "message": LONG, "at": clock.now()}
    event_log.append(uow, [{**event, **change}] * MANY)


D = TypeVar("D", bound=Deaf)


@asynccontextmanager
async def deaf(
    server: AppServer, monkeypatch: pytest.MonkeyPatch, connect: Callable[[AppServer], Awaitable[D]]
) -> AsyncIterator[D]:
    """A client that has taken nothing of what was sent, and for which too many events wait."""
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


LOUD = """subscription($after: String) { event: flowRunStatusChanged(after: $after) { __typename
    ... on CaughtUp { cursor } ... on FlowRunStatusChanged { cursor change { message } } } }"""


async def test_socket_that_is_not_read_ends_with_the_cursor_to_resume_from(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deaf(server, monkeypatch, DeafClient.on) as client:
        received: list[str] = []
        while (message := await client.message())["type"] == "next":
            received.append(message["payload"]["data"]["event"]["cursor"])
        (error,) = message["payload"]
        assert (message["id"], message["type"]) == ("1", "error")
        assert error["extensions"] == {"code": "SLOW_CONSUMER", "cursor": received[-1]}
        assert 1 < len(received) < MANY
        await client.send(
            {"id": "2", "type": "subscribe", "payload": {"query": LOUD, "variables": {"after": received[-1]}}}
        )
        while (item := (await client.message())["payload"]["data"]["event"])["__typename"] != "CaughtUp":
            received.append(item["cursor"])
        assert len(received) == len(set(received)) == MANY + 1


async def test_event_stream_that_is_not_read_ends_with_the_cursor_to_resume_from(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deaf(server, monkeypatch, DeafStream.on) as client:
        assert server.endpoint._hub.subscribers == 0
        received: list[str] = []
        while "errors" not in (result := await client.event()):
            received.append(result["data"]["event"]["cursor"])
        (error,) = result["errors"]
        assert error["extensions"] == {"code": "SLOW_CONSUMER", "cursor": received[-1]}
        assert 1 < len(received) < MANY
        assert await client.event() is None
    again = await DeafStream.on(server, after=received[-1])
    while (item := (await again.event())["data"]["event"])["__typename"] != "CaughtUp":
        received.append(item["cursor"])
    again.close()
    assert len(received) == len(set(received)) == MANY + 1


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
