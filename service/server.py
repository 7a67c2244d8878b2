"""How the application is served: the settings of uvicorn that it relies on."""

import gc
from typing import Any

import uvicorn
from starlette.applications import Starlette

from service.sockets import SocketProtocol
from service.sse import HttpProtocol

PING_SECONDS = 20.0
"""Between two pings of a WebSocket, and until the pong: a client that vanished is found out within both."""


_YOUNG_OBJECTS = 20_000
"""New objects after which the garbage collector looks for cycles among them. At Python's own 700 it spends, with a
thousand sockets open, more time than telling them something."""


def freeze_gc() -> None:
    """Spare the garbage collector what is there for good; to be called when all is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def server_config(app: Starlette, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration for `app`, with `more` of its arguments."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=SocketProtocol,
        # It costs 40 KiB a connection, for messages of a few hundred bytes.
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        **more,
    )
