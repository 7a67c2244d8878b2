"""Puts load on an HTTP server over kept connections, and measures requests, seconds and processor time."""

import asyncio
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import cast

_TICKS = os.sysconf("SC_CLK_TCK")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class UnexpectedResponseError(Exception):
    """A server responded with another status than 200, or with errors."""


@dataclass(frozen=True)
class Sample:
    """One round of load."""

    requests: int
    seconds: float
    server_cpu: float
    """Seconds of processor time, user and system, of the server's processes."""
    database_cpu: float
    """Like `server_cpu`, for PostgreSQL; 0 for SQLite, which is inside the server."""

    @property
    def server_ms(self) -> float:
        """Returns the milliseconds of the server's processor time for a request."""
        return self.server_cpu / self.requests * 1_000

    @property
    def all_ms(self) -> float:
        """Returns the milliseconds of processor time for a request, including the database's."""
        return (self.server_cpu + self.database_cpu) / self.requests * 1_000

    @property
    def rate(self) -> float:
        """Returns the number of requests per second."""
        return self.requests / self.seconds


def request(path: str, body: bytes | None, key: str | None) -> bytes:
    """Returns the bytes of a request: GET, or POST with a JSON body."""
    head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: bench", "Accept: application/json"]
    if key is not None:
        head.append(f"Authorization: Bearer {key}")
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


class Client(asyncio.Protocol):
    """One connection, on which requests follow each other. It does as little work as possible, because the load shares
    a processor."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, message: bytes) -> "asyncio.Future[bytes]":
        """Returns the body of the response to `message`.

        Raises:
            UnexpectedResponseError: the status is not 200, or the body holds errors.
            ConnectionError: the server closed the connection.
        """
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Ends the request when its response is complete."""
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0 or self._answer is None:
            return
        length = _LENGTH.search(self._received, 0, head)
        if length is None:
            if not self._received.endswith(b"0\r\n\r\n"):
                return  # The body is sent in chunks; the last chunk is empty.
        elif len(self._received) < head + 4 + int(length[1]):
            return
        status, body = self._received[9:12], bytes(self._received[head + 4 :])
        answer, self._answer = self._answer, None
        self._received.clear()
        if status == b"200" and b'"errors"' not in body[:64] and b'"errors"' not in body[-2_000:]:
            answer.set_result(body)
        else:
            answer.set_exception(UnexpectedResponseError(f"Status {status.decode()}: {body[:500]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the active request."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Client:
    """Returns a connection to the server on `port` of this machine."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def ask(port: int, message: bytes) -> bytes:
    """Returns the body of the response to one request; raises what `Client.ask` raises."""
    client = await connect(port)
    try:
        return await client.ask(message)
    finally:
        client.close()


async def measure(
    port: int, messages: Sequence[bytes], connections: int, seconds: float, server: int, database: int | None
) -> Sample:
    """Returns the cost of sending `messages` again and again, on this number of connections."""
    clients = [await connect(port) for _ in range(connections)]
    numbers = count()
    server_before, database_before, began = cpu_of(server), cpu_of(database), time.monotonic()
    done = await asyncio.gather(*(_repeat(client, messages, numbers, began + seconds) for client in clients))
    took = time.monotonic() - began
    server_cpu, database_cpu = cpu_of(server) - server_before, cpu_of(database) - database_before
    for client in clients:
        client.close()
    return Sample(sum(done), took, server_cpu, database_cpu)


async def _repeat(client: Client, messages: Sequence[bytes], numbers: Iterator[int], end: float) -> int:
    asked = 0
    while time.monotonic() < end:
        await client.ask(messages[next(numbers) % len(messages)])
        asked += 1
    return asked


def cpu_of(process: int | None) -> float:
    """Returns the seconds of processor time that a process and its children, living and ended, have used so far."""
    if process is None:
        return 0.0
    ticks = 0
    for each in _family(process):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # The process has ended in the meantime.
        # utime and stime of each process; for the first one also those of children that have ended.
        ticks += sum(int(field) for field in fields[11 : 15 if each == process else 13])
    return ticks / _TICKS


def _family(process: int) -> Iterable[int]:
    """Returns a process and all its descendants."""
    yield process
    children = Path(f"/proc/{process}/task/{process}/children")
    for child in children.read_text().split() if children.exists() else ():
        yield from _family(int(child))
