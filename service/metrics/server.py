"""The port where the metrics of a process are read.

It is a port of its own, on the loopback address by default: Prometheus sends no API key, and the metrics name flows and
count their runs, which the port of the API shows to nobody without a key.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.metrics.collector import Metrics

_logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 32
"""Requests at a time. Prometheus needs one."""


class _Server(uvicorn.Server):
    """A server beside the one that handles the signals of the process."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and log where."""
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()[:2]
            _logger.info("metrics served", extra={"host": host, "port": port})

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def metrics_app(metrics: Metrics) -> Starlette:
    """Returns the application of the port."""

    async def show(request: Request) -> Response:
        body, media_type = await metrics.text(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/metrics", show), Route("/healthz", healthz)])


@asynccontextmanager
async def serving(metrics: Metrics | None, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve the metrics at these sockets while the block lasts; None: nothing is measured."""
    if metrics is None:
        yield
        return
    server = _Server(
        uvicorn.Config(
            metrics_app(metrics),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server.serve(list(sockets)))
    try:
        yield
    finally:
        server.should_exit = True
        await task
