"""A proxy in front of a service, whose connections a test can reset."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes between clients and a service, until a test resets the connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname, parts.port)
        self._transports: set[asyncio.WriteTransport] = set()
        self.disconnects = 0
        """The number of resets that closed at least one connection."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.reset()

    def reset(self) -> None:
        """Resets every connection, on both sides."""
        self.disconnects += bool(self._transports)
        for transport in self._transports:
            transport.abort()
        self._transports.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._upstream)
        transports = {writer.transport, back.transport}
        self._transports |= transports
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, back))
                tasks.create_task(_copy(there, writer))
        finally:
            self._transports -= transports


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.transport.abort()
