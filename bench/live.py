"""Measures the latency and the cost of live events: `python -m bench.live [DATABASE_URL]`.

Takes an empty database, by default a new SQLite file. A process serves it; this one holds the subscribers, each on a
WebSocket of its own, read by a few lines over bare sockets so that the server dominates the measurement. Prints the
time from the beginning of a status change's transaction until each of 1,000 subscribers has the event, the processor
time of the server per delivered message, its memory per subscriber, whether 200 changes a second reach 100 subscribers,
and how fast one subscriber gets 100,000 missed events (10,000 with their runs).
"""

import asyncio
import base64
import gc
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from bench.engine import NO_OP, Flow, enqueue, make_flow
from db import api_keys, projects
from db.assembly import open_database
from db.core.database import Database
from db.events import log as event_log
from db.migrate import upgrade
from domain.enums import Role
from domain.time import clock
from resolvers import subscriptions
from service.asgi import create_service
from service.server import freeze_gc, server_config
from service.settings import Settings

SUBSCRIBERS = 1_000
CHANGES = 20
PAUSE = 0.2
"""Seconds between two changes, in which every subscriber gets the previous one."""
STREAM_SUBSCRIBERS = 100
STREAM_RATE = 200
STREAM_SECONDS = 10
MISSED = 100_000
CHUNK = 1_000
PATIENCE = 120.0

DOCUMENT = """subscription($after: String) { flowRunStatusChanged(after: $after) { __typename
    ... on FlowRunStatusChanged { cursor runId matches status change { from to at message } %s }
    ... on CaughtUp { cursor } } }"""
PLAIN = DOCUMENT % ""
NESTED = DOCUMENT % "run { id status startedAt flow { name } }"

# The server's process


class Server(uvicorn.Server):
    """A server that reports when it listens, and where."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.port = 0

    async def startup(self, sockets: Any = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self.port = self.servers[0].sockets[0].getsockname()[1]
        self.listening.set()


Commands = Mapping[str, Callable[..., Awaitable[Any]]]
"""What a server's process does when it is asked: functions of its database, its flow, and arguments."""


async def serve(url: str, pipe: Any, commands: Commands, *, with_worker: bool = False) -> None:
    """Serves until asked to stop, and executes commands that arrive through `pipe`."""
    database = open_database(url)
    project_id = await database.write(projects.create, "default")
    flow = await database.write(make_flow, project_id, "bench", NO_OP)
    key = await database.write(lambda uow: api_keys.create(uow, project_id=None, role=Role.ADMIN, name="bench"))
    settings = Settings(database_url=url, max_connections_per_key=10_000, max_subscriptions_per_key=10_000)
    service = create_service(settings, database, project_id, with_worker=with_worker)
    server = Server(server_config(service.app, port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    freeze_gc()
    pipe.send((server.port, key))
    while (asked := await asyncio.to_thread(pipe.recv)) != "stop":
        name, *arguments = asked
        pipe.send(await commands[name](database, flow, *arguments))
    server.should_exit = True
    await serving


async def usage(_: Database, __: Flow) -> tuple[float, int]:
    """Returns the seconds of processor time, and the bytes of memory, that the process has used."""
    gc.collect()
    with open("/proc/self/statm") as file:  # noqa: ASYNC230, PTH123
        pages = int(file.read().split()[1])
    return time.process_time(), pages * os.sysconf("SC_PAGE_SIZE")


async def change(database: Database, flow: Flow) -> list[float]:
    """Writes one change after the other; returns the time at which each began."""
    began = []
    for _ in range(CHANGES):
        began.append(time.monotonic())
        await database.write(enqueue, flow, 1)
        await asyncio.sleep(PAUSE)
    return began


async def stream(database: Database, flow: Flow) -> list[float]:
    """Writes changes at a steady rate; returns the time at which each began."""
    start, began = time.monotonic(), []
    writes = []
    for number in range(STREAM_RATE * STREAM_SECONDS):
        await asyncio.sleep(max(0.0, start + number / STREAM_RATE - time.monotonic()))
        began.append(time.monotonic())
        writes.append(asyncio.create_task(database.write(enqueue, flow, 1)))
    await asyncio.gather(*writes)
    return began


async def miss(database: Database, flow: Flow) -> tuple[str, str]:
    """Writes events without subscribers; returns the cursor before them, and the one before the last tenth."""
    positions = [(await database.read(event_log.end)).until]
    (run_id,) = await database.write(enqueue, flow, 1)
    event = {
        "run_id": run_id,
        "project_id": flow.project_id,
        "flow_id": flow.flow_id,
        "kind": event_log.RUN_STATUS,
        "from_status": "RUNNING",
        "to_status": "PAUSED",
        "message": "Waits",
        "at": clock.now(),
    }
    for number in range(MISSED // CHUNK):
        if number == MISSED // CHUNK * 9 // 10:
            positions.append((await database.read(event_log.end)).until)
        await database.write(event_log.append, [event] * CHUNK)
    return subscriptions.encode_position(positions[0]), subscriptions.encode_position(positions[1])


COMMANDS: Commands = {
    "usage": usage,
    "change": change,
    "stream": stream,
    "miss": miss,
}


def be_server(url: str, pipe: Any) -> None:
    """The function of the server's process."""
    uvloop.run(serve(url, pipe, COMMANDS))


# The subscribers


class Subscriber(asyncio.Protocol):
    """One WebSocket with one subscription. Records when each message arrived."""

    def __init__(self, port: int, key: str, query: str, after: str | None) -> None:
        self._port = port
        self._key = key
        self._subscription = {
            "id": "1",
            "type": "subscribe",
            "payload": {"query": query, "variables": {"after": after}},
        }
        self._buffer = bytearray()
        self._is_open = False
        self.caught_up = asyncio.get_running_loop().create_future()
        self.came: list[float] = []

    def connection_made(self, transport: Any) -> None:
        """Sends the handshake."""
        self._transport = transport
        nonce = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: graphql-transport-ws\r\nAuthorization: Bearer {self._key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Reads the messages that arrived."""
        self._buffer += data
        if not self._is_open:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head, head
            self._is_open, self._buffer = True, bytearray(rest)
            self._send({"type": "connection_init"})
        now, start = time.monotonic(), 0
        while (end := self._frame_end(start)) is not None:
            self._take(self._buffer, start, end, now)
            start = end
        del self._buffer[:start]

    def _frame_end(self, start: int) -> int | None:
        buffer = self._buffer
        if len(buffer) < start + 4:
            return None
        length, head = buffer[start + 1] & 0x7F, 2
        if length == 126:
            length, head = int.from_bytes(buffer[start + 2 : start + 4], "big"), 4
        end = start + head + length
        return end if len(buffer) >= end else None

    def _take(self, buffer: bytearray, start: int, end: int, now: float) -> None:
        if buffer[start] == 0x89:  # This is a ping.
            self._transport.write(b"\x8a\x84\0\0\0\0" + bytes(buffer[end - 4 : end]))
            return
        if not self.caught_up.done():
            if buffer.find(b'"connection_ack"', start, end) >= 0:
                self._send(self._subscription)
                return
            assert buffer.find(b'"next"', start, end) >= 0, bytes(buffer[start:end])
            if buffer.find(b'"CaughtUp"', start, end) >= 0:
                self.caught_up.set_result(now)
                return
        self.came.append(now)

    def _send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
        self._transport.write(head + b"\0\0\0\0" + data)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.abort()


@dataclass
class Measured:
    """One line of the table."""

    what: str
    figure: str
    target: str


class Bench:
    """The server behind a pipe, and the subscribers."""

    def __init__(self, pipe: Any, port: int, key: str) -> None:
        self._pipe = pipe
        self._port = port
        self._key = key

    async def ask(self, command: str) -> Any:
        """Returns the server's response to a command."""
        self._pipe.send((command,))
        return await asyncio.to_thread(self._pipe.recv)

    async def subscribe(self, count: int, query: str, after: str | None = None) -> list[Subscriber]:
        """Returns subscribers that have caught up."""
        made = []
        for start in range(0, count, 50):
            some = await asyncio.gather(*(self._connect(query, after) for _ in range(min(50, count - start))))
            await asyncio.wait_for(asyncio.gather(*(each.caught_up for each in some)), PATIENCE)
            made += some
        return made

    async def _connect(self, query: str, after: str | None) -> Subscriber:
        loop = asyncio.get_running_loop()
        _, subscriber = await loop.create_connection(
            lambda: Subscriber(self._port, self._key, query, after), "127.0.0.1", self._port
        )
        return subscriber

    async def one_change(self, query: str, name: str) -> list[Measured]:
        """Measures single changes to many subscribers."""
        # The one-time costs of the first connections do not count.
        for each in await self.subscribe(50, query):
            each.close()
        await asyncio.sleep(1)
        _, empty = await self.ask("usage")
        subscribers = await self.subscribe(SUBSCRIBERS, query)
        _, full = await self.ask("usage")
        for each in subscribers:
            each.came.clear()
        cpu, _ = await self.ask("usage")
        began = await self.ask("change")
        after, _ = await self.ask("usage")
        idle = await self._idle_cost(CHANGES * PAUSE)
        await arrived(subscribers, CHANGES)
        delays = [each.came[number] - began[number] for each in subscribers for number in range(CHANGES)]
        for each in subscribers:
            each.close()
        micros = (after - cpu - idle) / (CHANGES * SUBSCRIBERS) * 1e6
        found = [
            Measured(f"{name}: delivery p50 / p99, ms", f"{spread(delays)}", "99%: 30"),
            Measured(f"{name}: processor time a message, µs", f"{micros:.1f}", "30"),
        ]
        if query is PLAIN:  # The memory of earlier subscribers is used again.
            kib = (full - empty) / SUBSCRIBERS / 1024
            found.append(Measured(f"{name}: memory a subscriber, KiB", f"{kib:.1f}", "35"))
        return found

    async def _idle_cost(self, seconds: float) -> float:
        before, _ = await self.ask("usage")
        await asyncio.sleep(seconds)
        after, _ = await self.ask("usage")
        return float(after - before)

    async def steady(self) -> list[Measured]:
        """Measures changes at a steady rate."""
        subscribers = await self.subscribe(STREAM_SUBSCRIBERS, PLAIN)
        began = await self.ask("stream")
        await arrived(subscribers, len(began))
        delays = [each.came[number] - at for each in subscribers for number, at in enumerate(began)]
        last = max(each.came[-1] for each in subscribers) - began[-1]
        for each in subscribers:
            each.close()
        name = f"{STREAM_RATE} changes/s to {STREAM_SUBSCRIBERS}"
        return [
            Measured(f"{name}: delivery p50 / p99, ms", spread(delays), "sustained"),
            Measured(f"{name}: the last one, ms", f"{last * 1e3:.0f}", "no backlog"),
        ]

    async def catch_up(self) -> list[Measured]:
        """Measures one subscriber that missed many events."""
        first, later = await self.ask("miss")
        found = []
        for query, cursor, missed in ((PLAIN, first, MISSED), (NESTED, later, MISSED // 10)):
            start = time.monotonic()
            (subscriber,) = await self.subscribe(1, query, cursor)
            took = subscriber.caught_up.result() - start
            assert missed <= len(subscriber.came) <= missed + 1, len(subscriber.came)
            subscriber.close()
            name = f"catch-up of {missed:,} events{', with run and flow' if query is NESTED else ''}, s"
            found.append(Measured(name, f"{took:.1f}", "5" if query is PLAIN else "none yet"))
        return found


async def arrived(subscribers: Sequence[Subscriber], count: int) -> None:
    """Waits until every subscriber has `count` messages."""
    async with asyncio.timeout(PATIENCE):
        while any(len(each.came) < count for each in subscribers):
            await asyncio.sleep(0.05)


def spread(delays: Sequence[float]) -> str:
    """Returns the median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(delays, n=100)
    return f"{cuts[49] * 1e3:.1f} / {cuts[98] * 1e3:.1f}"


async def measure(pipe: Any, port: int, key: str) -> None:
    """Prints the table."""
    bench = Bench(pipe, port, key)
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} processors")
    for part in (
        bench.one_change(PLAIN, f"1 change to {SUBSCRIBERS:,}"),
        bench.one_change(NESTED, f"1 change to {SUBSCRIBERS:,}, with run and flow"),
        bench.steady(),
        bench.catch_up(),
    ):
        for line in await part:
            print(f"{line.what:<60} {line.figure:>14}   target {line.target}", flush=True)
    pipe.send("stop")


def main(url: str) -> None:
    """Measures on the empty database at `url`."""
    upgrade(url)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=be_server, args=(url, theirs), daemon=True)
    server.start()
    port, key = ours.recv()
    gc.freeze()
    uvloop.run(measure(ours, port, key))
    server.join(10)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() if len(sys.argv) < 2 else nullcontext() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite+aiosqlite:///{folder}/bench.db")
