"""Servers on ports of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self.url.set_result(f"http://{host}:{port}")


@asynccontextmanager
async def listening_with(config: uvicorn.Config) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """The URL of a server of this configuration, and the server; it stops at the end."""
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    started: list[asyncio.Future[Any]] = [serving, server.url]
    await asyncio.wait(started, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not server.url.done():
            await serving  # This raises the reason if it did not start.
        yield await server.url, server
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def answering(app: Any, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The URL of a server whose application is `app`, for steps to call."""
    config = uvicorn.Config(
        app,
        host=host,
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    async with listening_with(config) as (url, _):
        yield url
