"""Subscriptions over `graphql-transport-ws`.

Strawberry's handler keeps the protocol; what is executed and how it is written is ours. Payloads are rendered once for
all subscribers that receive the same (service/streams/subscription_rendering.py): here the subscription's ID goes in
front.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

import orjson
from graphql import GraphQLError
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import Operation as ProtocolOperation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from domain.errors import (
    DatabaseUnavailableError,
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from resolvers.context import Context
from schema.errors import to_client_error
from service.streams.connection_registry import Connection
from service.streams.subscription_rendering import Failure, Operation, Payload

if TYPE_CHECKING:
    from service.http.graphql import GraphQLEndpoint

_ABORTED = "flow_runs.abort"
"""The extension of an ASGI scope that drops the connection."""
_WRITE = "flow_runs.write"
"""The extension of an ASGI scope that writes messages at once, as far as the connection takes them."""
_WRITTEN_AT_ONCE = 65_536
"""Bytes from which on messages that come together are another write."""
_CLOSE_SECONDS = 10.0
"""Until a connection that was closed is dropped, although its client has not taken all that was written."""
_TRY_AGAIN_LATER = 1013
"""The code with which a WebSocket is closed that cannot be served for the moment."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket, but a client that takes nothing cannot keep a connection alive by that."""

    _has_room = True
    """Whether the client takes what is written, or at least its buffers do."""

    def pause_writing(self) -> None:
        """Hear from the transport that its buffer is full."""
        super().pause_writing()
        self._has_room = False

    def resume_writing(self) -> None:
        """Hear from the transport that there is room again."""
        super().resume_writing()
        self._has_room = True

    async def run_asgi(self) -> None:
        """Run the application, which may drop the connection."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[_ABORTED] = self.transport.abort
        extensions[_WRITE] = self.write_now
        try:
            await super().run_asgi()
        finally:
            self._drop_later()

    async def send(self, message: Any) -> None:
        """Send what the application tells."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The handshake is over; its headers take more room than all that a subscription needs.
            del self.request, self.response

    def write_now(self, texts: Sequence[bytes]) -> int:
        """Write text messages, as far as that is possible without waiting: how many were written, from the first one.

        It takes a third of the way through ASGI, and one call of the system for what comes together.
        """
        written = 0
        while written < len(texts) and self._has_room and not self.close_sent and not self.transport.is_closing():
            frames: list[bytes] = []
            size = 0
            while written < len(texts) and size < _WRITTEN_AT_ONCE:
                text = texts[written]
                frames += (_frame_head(len(text)), text)
                size += len(text)
                written += 1
            self.transport.write(b"".join(frames))
        return written

    def keepalive_timeout(self) -> None:
        """No pong came: close."""
        super().keepalive_timeout()
        self._drop_later()

    def _drop_later(self) -> None:
        # A transport that is closed waits until its buffer is written, without an end.
        self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)


def _nothing_written(_: Sequence[bytes]) -> int:
    # Of a server that knows of no other way than ASGI's.
    return 0


def _frame_head(length: int) -> bytes:
    # A whole message in one frame, of text, unmasked.
    if length < 126:
        return bytes((0x81, length))
    return b"\x81\x7e" + length.to_bytes(2, "big") if length < 65_536 else b"\x81\x7f" + length.to_bytes(8, "big")


class TextSocket(ASGIWebSocketAdapter):
    """Sends text frames: the protocol knows no binary ones. Tells of its writes."""

    def __init__(self, view: Any, request: WebSocket, response: WebSocket) -> None:
        super().__init__(view, request, response)
        extensions = self.ws.scope.get("extensions", {})
        self.connection: Connection | None = None
        self.abort: Callable[[], None] | None = extensions.get(_ABORTED)
        """Drops the connection, where the server knows how."""
        self.write_now: Callable[[Sequence[bytes]], int] = extensions.get(_WRITE, _nothing_written)
        """Sends messages as far as that needs no waiting: how many, from the first one."""

    async def send_texts(self, texts: Sequence[bytes]) -> None:
        """Send messages, in their order."""
        while texts:
            texts = texts[self.write_now(texts) :]
            if texts:
                await self._send(texts[0])  # that waits until there is room again
                texts = texts[1:]

    async def _send(self, text: bytes) -> None:
        if self.connection is not None:
            self.connection.is_writing = True
        try:
            await self.ws.send({"type": "websocket.send", "text": text.decode()})
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette's RuntimeError: the socket was closed meanwhile.
            raise WebSocketDisconnected from error
        if self.connection is not None:
            self.connection.is_writing = False
            self.connection.written += 1

    async def send_json(self, message: Mapping[str, object]) -> None:
        await self.send_texts([orjson.dumps(message)])


class _Messages:
    """The way of what one subscription is told: each payload with the subscription's ID around it."""

    __slots__ = ("_head", "_socket")

    def __init__(self, socket: TextSocket, name: str) -> None:
        self._socket = socket
        self._head = b'{"id":' + orjson.dumps(name) + b',"type":"next","payload":'

    def write_now(self, payloads: Sequence[Payload]) -> int:
        head = self._head
        return self._socket.write_now([head + payload.body + b"}" for payload in payloads])

    async def send(self, payloads: Sequence[Payload]) -> None:
        head = self._head
        await self._socket.send_texts([head + payload.body + b"}" for payload in payloads])


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One socket."""

    view: "GraphQLEndpoint"
    websocket: TextSocket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closing: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        """Serve the socket to its end."""
        try:
            await super().handle()
        finally:
            if self.websocket.connection is not None:
                self.websocket.connection.close()

    async def handle_message(self, message: Message) -> None:
        """Answer a message; the socket of one that is none of the protocol is closed."""
        if _is_message(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("Not a message of graphql-transport-ws")

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Let the socket in, when its key is in force and may have one more."""
        if self.connection_timed_out:
            return
        if self.connection_init_received:
            await self.websocket.close(code=4429, reason="Too many initialisation requests")
            return
        self.connection_init_received = True
        if self.connection_init_timeout_task:
            self.connection_init_timeout_task.cancel()
            self.connection_init_timeout_task = None
        self.context.connection_params = message.get("payload")
        try:
            await self.view.on_ws_connect(self.context)
            self.websocket.connection = self.view.connections.open(
                self.context.viewer.key_id, end=self._end, abort=self._abort()
            )
        except ConnectionRejectionError:
            await self.websocket.close(code=4403, reason="Forbidden")
        except TooManyConnectionsError as error:
            await self.websocket.close(code=4429, reason=error.code)
        except DatabaseUnavailableError as error:
            await self.websocket.close(code=_TRY_AGAIN_LATER, reason=error.code)
        else:
            await self.send_message({"type": "connection_ack"})
            self.connection_acknowledged = True

    async def run_operation(self, operation: ProtocolOperation[Context, None]) -> None:
        """Execute an operation, and send what it tells."""
        connection = self.websocket.connection
        assert connection is not None  # it was let in
        try:
            with connection.subscription():
                await self._send_results(operation)
        except TooManySubscriptionsError as error:
            await self._end_by(operation, Failure([to_client_error(GraphQLError(error.message, original_error=error))]))
        except WebSocketDisconnected:
            pass  # whoever reads from the socket finds out too

    async def _send_results(self, operation: ProtocolOperation[Context, None]) -> None:
        asked = Operation(operation.query, operation.variables, operation.operation_name)
        messages = _Messages(self.websocket, operation.id)
        async with aclosing(self.view.streams.results(asked, self.context, messages.write_now)) as results:
            async for result in results:
                if isinstance(result, Failure):
                    await self._end_by(operation, result)
                    return
                await messages.send(result)
        await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def _end_by(self, operation: ProtocolOperation[Context, None], failure: Failure) -> None:
        await operation.send_operation_message(
            {"id": operation.id, "type": "error", "payload": [error.formatted for error in failure.errors]}
        )

    def _end(self, error: UnauthenticatedError) -> None:
        self._closing = asyncio.ensure_future(self._close(error))

    async def _close(self, error: UnauthenticatedError) -> None:
        assert self.websocket.connection is not None  # that is where this comes from
        self.websocket.connection.is_writing = True
        with suppress(WebSocketDisconnect, RuntimeError):  # it was closed meanwhile
            await self.websocket.close(code=4403, reason=error.message)

    def _abort(self) -> Callable[[], None]:
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            # A server that cannot drop a connection ends it when the application ends.
            task.cancel()

        return self.websocket.abort or cancel


def _is_message(message: object) -> bool:
    match message:
        case {"type": "connection_init"}:
            return isinstance(cast("dict[str, Any]", message).get("payload"), dict | None)
        case {"type": "ping" | "pong"}:
            return True
        case {"type": "complete", "id": str()}:
            return True
        case {"type": "subscribe", "id": str() as name, "payload": {"query": str()} as payload}:
            variables, operation = payload.get("variables"), payload.get("operationName")
            return bool(name) and isinstance(variables, dict | None) and isinstance(operation, str | None)
    return False
