"""Operations over WebSockets, by the protocol `graphql-transport-ws`.

Strawberry's handler implements the protocol. `subscription_rendering` executes and renders results, once for all
subscribers that get equal payloads. This module puts the operation's ID in front of each payload, and writes it.

With the setting `compiled_reads`, messages are written as frames right to the transport (`SocketProtocol.write_now`).
Without it, they go through ASGI, as everything else does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

import orjson
from graphql import GraphQLError
from starlette.types import Message as ASGIMessage
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import Operation as ProtocolOperation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from db.core.database import UNREADABLE
from domain.errors import (
    PayloadTooLargeError,
    RequestError,
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from resolvers.context import Context
from schema.charging import admit, asks_for_cost, refusals_charged
from schema.errors import to_client_error
from service.streams.connection_registry import Connection
from service.streams.subscription_rendering import Failure, Operation, Payload

if TYPE_CHECKING:
    from service.http.graphql import GraphQLEndpoint

_ABORT = "flow_runs.abort"
"""ASGI extension: drops the connection without waiting for its client."""
_WRITE_NOW = "flow_runs.write_now"
"""ASGI extension: writes messages without waiting, as far as the connection accepts them."""
_MAX_WRITE_BYTES = 65_536
"""Bytes of one write to the transport, after which further messages go into the next write."""
_CLOSE_SECONDS = 10.0
"""Seconds after which a closed connection is dropped, even if its client has not read everything that was written."""
_TRY_AGAIN_LATER = 1013
"""Close code: the service cannot serve the socket for now."""
_TOO_LARGE = 1009
"""Close code: a message was larger than FLOWRUNS_MAX_BODY_BYTES."""
_WRONG_SUBPROTOCOL = 4406
"""Close code: the client offered no subprotocol that the service speaks."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket protocol, with a way to write without waiting, and an end for connections that are never
    read."""

    _is_writable = True
    """False while the transport's buffer is full."""

    def pause_writing(self) -> None:
        """Called by the transport when its buffer is full."""
        super().pause_writing()
        self._is_writable = False

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has space again."""
        super().resume_writing()
        self._is_writable = True

    async def run_asgi(self) -> None:
        """Runs the application, with our ASGI extensions."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[_ABORT] = self.transport.abort
        extensions[_WRITE_NOW] = self.write_now
        try:
            await super().run_asgi()
        finally:
            self._abort_later()

    async def send(self, message: Any) -> None:
        """Sends an ASGI message of the application."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The headers of the handshake are not needed any more, and take more memory than a whole subscription.
            del self.request, self.response

    def write_now(self, texts: Sequence[bytes]) -> int:
        """Writes text messages without waiting. Returns how many were written, from the first one.

        Takes a third of the time that ASGI takes, and one system call for messages that arrive together.
        """
        written = 0
        while written < len(texts) and self._is_writable and not self.close_sent and not self.transport.is_closing():
            frames: list[bytes] = []
            size = 0
            while written < len(texts) and size < _MAX_WRITE_BYTES:
                text = texts[written]
                frames += (_frame_head(len(text)), text)
                size += len(text)
                written += 1
            self.transport.write(b"".join(frames))
        return written

    def keepalive_timeout(self) -> None:
        """Called when no pong arrived in time: closes the connection."""
        super().keepalive_timeout()
        self._abort_later()

    def _abort_later(self) -> None:
        # A closed transport waits until its buffer is written. A client that reads nothing would prevent that for ever.
        self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)


def _write_nothing(_: Sequence[bytes]) -> int:
    """Replaces `write_now`: every message goes through ASGI."""
    return 0


def _frame_head(length: int) -> bytes:
    """Returns the head of an unmasked text frame that holds a whole message."""
    if length < 126:
        return bytes((0x81, length))
    return b"\x81\x7e" + length.to_bytes(2, "big") if length < 65_536 else b"\x81\x7f" + length.to_bytes(8, "big")


class TextSocket(ASGIWebSocketAdapter):
    """Sends text frames: the protocol has no binary ones. Reports its writes to the connection registry."""

    def __init__(self, view: Any, request: WebSocket, response: WebSocket) -> None:
        super().__init__(view, request, response)
        endpoint: GraphQLEndpoint = view
        extensions = self.ws.scope.get("extensions", {})
        self.connection: Connection | None = None
        """The watched connection; set when the socket was admitted."""
        self.abort: Callable[[], None] | None = extensions.get(_ABORT)
        """Drops the connection; None if the server cannot."""
        self.write_now: Callable[[Sequence[bytes]], int] = _write_nothing
        """Writes messages without waiting. Returns how many were written, from the first one."""
        if endpoint.streams.is_compiled:
            self.write_now = extensions.get(_WRITE_NOW, _write_nothing)

    async def send_texts(self, texts: Sequence[bytes]) -> None:
        """Sends messages in order."""
        while texts:
            texts = texts[self.write_now(texts) :]
            if texts:
                await self._send(texts[0])  # This waits until the connection accepts more.
                texts = texts[1:]

    async def _send(self, text: bytes) -> None:
        if self.connection is not None:
            self.connection.is_writing = True
        try:
            await self.ws.send({"type": "websocket.send", "text": text.decode()})
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette raises RuntimeError if the socket was closed.
            raise WebSocketDisconnected from error
        if self.connection is not None:
            self.connection.is_writing = False
            self.connection.written += 1

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """Yields the client's messages; closes the socket after one that is larger than a request may be."""
        endpoint = cast("GraphQLEndpoint", self.view)
        receive = self.ws.receive

        async def receive_within_limit() -> ASGIMessage:
            message = await receive()
            text = message.get("text")
            # A character has up to four bytes, so most messages need not be encoded to be measured.
            if text is not None and len(text) * 4 > endpoint.max_body_bytes < len(text.encode()):
                await self.close(code=_TOO_LARGE, reason=PayloadTooLargeError.code)
                raise WebSocketDisconnect(_TOO_LARGE)
            return message

        self.ws.receive = receive_within_limit  # type: ignore[method-assign]
        async for message in super().iter_json(ignore_parsing_errors=ignore_parsing_errors):
            yield message

    async def close(self, code: int, reason: str) -> None:
        """Closes the socket. The reason for a client of another subprotocol names the right one."""
        if code == _WRONG_SUBPROTOCOL:
            reason = f"Use the subprotocol {GRAPHQL_TRANSPORT_WS_PROTOCOL}"
        await super().close(code, reason)

    async def send_json(self, message: Mapping[str, object]) -> None:
        await self.send_texts([orjson.dumps(message)])


class _Messages:
    """Sends the payloads of one operation as messages `next`."""

    __slots__ = ("_head", "_socket")

    def __init__(self, socket: TextSocket, operation_id: str) -> None:
        self._socket = socket
        self._head = b'{"id":' + orjson.dumps(operation_id) + b',"type":"next","payload":'

    def write_now(self, payloads: Sequence[Payload]) -> int:
        head = self._head
        return self._socket.write_now([head + payload.body + b"}" for payload in payloads])

    async def send(self, payloads: Sequence[Payload]) -> None:
        head = self._head
        await self._socket.send_texts([head + payload.body + b"}" for payload in payloads])


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """The protocol of one socket."""

    view: "GraphQLEndpoint"
    websocket: TextSocket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closing: asyncio.Task[None] | None = None
        self._ask_for_cost: set[str] = set()
        """IDs of operations that are about to start, whose first result is to report what they cost."""

    async def handle(self) -> None:
        """Serves the socket until it is closed."""
        try:
            await super().handle()
        finally:
            if self.websocket.connection is not None:
                self.websocket.connection.release()

    async def handle_message(self, message: Message) -> None:
        """Handles a message. Closes the socket if it is not a message of the protocol."""
        if _is_message(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("Not a message of graphql-transport-ws")

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Admits the socket, if its key is active and has not reached its limit of connections."""
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
                self.context.viewer, close=self._close, abort=self._abort()
            )
        except ConnectionRejectionError:
            await self.websocket.close(code=4403, reason="Forbidden")
        except TooManyConnectionsError as error:
            await self.websocket.close(code=4429, reason=error.code)
        except UNREADABLE as error:
            await self.websocket.close(code=_TRY_AGAIN_LATER, reason=error.code)
        else:
            await self.send_message({"type": "connection_ack"})
            self.connection_acknowledged = True

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Starts an operation, whose document the message sends or names."""
        if self.connection_acknowledged:
            payload = message["payload"]
            if asks_for_cost(payload.get("extensions")):
                self._ask_for_cost.add(message["id"])
            try:
                await admit(self.context)
                with refusals_charged(self.context):
                    payload["query"] = self.view.documents.text_of(payload) or ""
            except RequestError as error:
                failure = to_client_error(GraphQLError(error.message, original_error=error))
                await self.send_message({"id": message["id"], "type": "error", "payload": [failure.formatted]})
                return
        await super().handle_subscribe(message)

    async def run_operation(self, operation: ProtocolOperation[Context, None]) -> None:
        """Executes an operation, and sends its results."""
        connection = self.websocket.connection
        assert connection is not None  # The socket was admitted.
        try:
            with connection.subscription():
                await self._send_results(operation)
        except TooManySubscriptionsError as error:
            await self._fail(operation, Failure([to_client_error(GraphQLError(error.message, original_error=error))]))
        except WebSocketDisconnected:
            pass  # `handle`, which reads from the socket, meets the same error and ends.

    async def _send_results(self, operation: ProtocolOperation[Context, None]) -> None:
        asks_for_cost = operation.id in self._ask_for_cost
        self._ask_for_cost.discard(operation.id)
        request = Operation(operation.query, operation.variables, operation.operation_name or None, asks_for_cost)
        messages = _Messages(self.websocket, operation.id)
        async with aclosing(self.view.streams.results(request, self.context, messages.write_now)) as results:
            async for result in results:
                if isinstance(result, Failure):
                    await self._fail(operation, result)
                    return
                await messages.send(result)
        await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def _fail(self, operation: ProtocolOperation[Context, None], failure: Failure) -> None:
        await operation.send_operation_message(
            {"id": operation.id, "type": "error", "payload": [error.formatted for error in failure.errors]}
        )

    def _close(self, error: UnauthenticatedError) -> None:
        self._closing = asyncio.ensure_future(self._send_close(error))

    async def _send_close(self, error: UnauthenticatedError) -> None:
        assert self.websocket.connection is not None  # Only the registry of connections calls this.
        self.websocket.connection.is_writing = True
        with suppress(WebSocketDisconnect, RuntimeError):  # The client has closed the socket.
            await self.websocket.close(code=4403, reason=error.message)

    def _abort(self) -> Callable[[], None]:
        """Returns the function that drops the connection. A server without it ends the connection when the application
        ends."""
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            task.cancel()

        return self.websocket.abort or cancel


def _is_message(message: object) -> bool:
    """True if the protocol allows a client to send `message`."""
    match message:
        case {"type": "connection_init"}:
            return isinstance(cast("dict[str, Any]", message).get("payload"), dict | None)
        case {"type": "ping" | "pong"}:
            return True
        case {"type": "complete", "id": str()}:
            return True
        case {"type": "subscribe", "id": str() as operation_id, "payload": dict() as payload}:
            return bool(operation_id) and _is_request(payload)
    return False


def _is_request(payload: Mapping[str, Any]) -> bool:
    """Returns True if `payload` sends a document or names one, with values of the right types."""
    query, extensions = payload.get("query"), payload.get("extensions")
    names_document = query is None and (extensions is not None or isinstance(payload.get("documentId"), str))
    return (
        (isinstance(query, str) or names_document)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
        and isinstance(extensions, dict | None)
    )
