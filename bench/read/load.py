"""Load on an HTTP server over kept connections, and what it costs: requests, seconds, processor time."""

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """One round of load."""

    requests: int
    seconds: float
    server_cpu: float
    """Seconds of processor time of the server's processes."""
    database_cpu: float
    """The same of PostgreSQL's; 0 for SQLite, which is inside the server."""

    @property
    def server_ms(self) -> float:
        """Milliseconds of the server's processor time for a request."""
        return self.server_cpu / self.requests * 1_000

    @property
    def all_ms(self) -> float:
        """The same with the database's."""
        return (self.server_cpu + self.database_cpu) / self.requests * 1_000

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def request(path: str, body: bytes | None, key: str | None) -> bytes:
    """The bytes of a request: GET, or POST with a JSON body."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: bench", "Accept: application/json"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


async def measure(port: int, message: bytes, seconds: float, server: int, database: int | None) -> Sample:
    """Send `message` over all connections for some seconds; `server` and `database` are process IDs."""
    end = time.monotonic() + seconds
    server_before, database_before = cpu_of(server), cpu_of(database)
    began = time.monotonic()
    counts = await asyncio.gather(*(_repeat(port, message, end) for _ in range(CONNECTIONS)))
    elapsed = time.monotonic() - began
    return Sample(sum(counts), elapsed, cpu_of(server) - server_before, cpu_of(database) - database_before)


async def _repeat(port: int, message: bytes, end: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    count = 0
    try:
        while time.monotonic() < end:
            writer.write(message)
            status, body = await receive(reader)
            if status != 200 or b'"errors"' in body:
                raise RuntimeError(f"Status {status}: {body[:500]!r}")
            count += 1
    finally:
        writer.close()
    return count


async def ask(port: int, message: bytes) -> bytes:
    """The body of the answer to one request.

    Raises:
        RuntimeError: the status is not 200, or the answer holds errors.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        writer.write(message)
        status, body = await receive(reader)
        if status != 200 or b'"errors"' in body:
            raise RuntimeError(f"Status {status}: {body[:500]!r}")
        return body
    finally:
        writer.close()


async def receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split()[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "content-length" in headers:
        return status, await reader.readexactly(int(headers["content-length"]))
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return status, b"".join(parts)


def cpu_of(process: int | None) -> float:
    """Seconds of processor time that a process and its children, living and ended, have used so far."""
    if process is None:
        return 0.0
    ticks = 0
    for each in family(process):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended in the meantime
        # utime and stime of itself; of the first also those of children that have ended.
        ticks += sum(int(field) for field in fields[11 : 15 if each == process else 13])
    return ticks / _TICKS


def family(process: int) -> Iterable[int]:
    """A process and all below it."""
    yield process
    children = Path(f"/proc/{process}/task/{process}/children")
    for child in children.read_text().split() if children.exists() else ():
        yield from family(int(child))
