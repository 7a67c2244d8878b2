"""Limits the size of request bodies."""

from collections.abc import Collection

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import PayloadTooLargeError


class BodyLimit(RequestBodyLimitMiddleware):
    """Middleware that limits the size of request bodies, except on paths whose endpoints use `read_body`."""

    def __init__(self, app: ASGIApp, max_body_size: int, other_paths: Collection[str]) -> None:
        super().__init__(app, max_body_size)
        self._other_paths = other_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") in self._other_paths:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Returns the body of a request, for endpoints that render errors in a form of their own.

    Raises:
        PayloadTooLargeError: the body has more than `max_bytes`.
        ClientDisconnect: the client has disconnected.
    """
    parts: list[bytes] = []
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        received += len(part)
        if received > max_bytes:
            raise PayloadTooLargeError(f"The body must have at most {max_bytes:,} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
