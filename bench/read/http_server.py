"""Serves an ASGI application with the server of the service: the same event loop, HTTP parser and garbage
collection."""

import uvicorn
from starlette.applications import Starlette

from service.server import freeze_gc, server_config


class _Server(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        freeze_gc()


async def serve(app: Starlette, port: int) -> None:
    """Serves until the process is stopped."""
    await _Server(server_config(app, port=port, log_level="error", access_log=False)).serve()
