"""The uvicorn settings that the application relies on."""

import gc
from typing import Any

import uvicorn
from starlette.applications import Starlette

from service.streams.sockets import SocketProtocol
from service.streams.sse import HttpProtocol

PING_SECONDS = 20.0
"""Seconds between two pings of a WebSocket, and until a pong must arrive. A lost client is detected within twice as
many."""


_YOUNG_OBJECTS = 20_000
"""New objects after which the garbage collector searches for cycles. At Python's default of 700, that takes more time
than delivering events when a thousand sockets are open."""


def freeze_gc() -> None:
    """Exempts the objects of the start from garbage collection. Call it when the process is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def server_config(app: Starlette, **more: Any) -> uvicorn.Config:
    """Returns uvicorn's configuration for `app`; `more` are further arguments of it."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=SocketProtocol,
        # Compression costs 40 KiB per connection and gains little on messages of a few hundred bytes.
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        **more,
    )
