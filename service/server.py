"""How the application is served: the settings of uvicorn that it relies on."""

from typing import Any

import uvicorn
from starlette.applications import Starlette

from service.sockets import SocketProtocol

PING_SECONDS = 20.0
"""Between two pings of a WebSocket, and until the pong: a client that vanished is found out within both."""


def server_config(app: Starlette, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration for `app`, with `more` of its arguments."""
    return uvicorn.Config(
        app,
        ws=SocketProtocol,
        # It costs 40 KiB a connection, for messages of a few hundred bytes.
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        **more,
    )
