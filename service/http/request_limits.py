"""Limits the size of request bodies."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from domain.errors import PayloadTooLargeError


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Returns the body of a request.

    For endpoints that render errors in a form of their own. The application limits all other requests.

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
