"""Limits the size of request bodies."""

from starlette.types import Message, Receive

from domain.errors import PayloadTooLargeError


def bounded(receive: Receive, max_bytes: int) -> Receive:
    """Returns `receive` with a limit: it raises PayloadTooLargeError for a body of more than `max_bytes`.

    For endpoints that render errors in a form of their own. The application limits all other requests.
    """
    received = 0

    async def receive_within() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise PayloadTooLargeError(f"The body must have at most {max_bytes:,} bytes.")
        return message

    return receive_within
