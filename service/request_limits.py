"""Bodies of requests, within bounds."""

from starlette.types import Message, Receive

from domain.errors import PayloadTooLargeError


def bounded(receive: Receive, max_bytes: int) -> Receive:
    """`receive`, of at most `max_bytes` of a body; what is more raises PayloadTooLargeError.

    For endpoints that tell errors in a form of their own; the others have the application's limit.
    """
    received = 0

    async def receive_within() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise PayloadTooLargeError(f"The body may have at most {max_bytes:,} bytes.")
        return message

    return receive_within
