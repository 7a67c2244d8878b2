"""Operations over server-sent events, by the protocol `graphql-sse` in its distinct connections mode.

A response is one operation: an event `next` for each result, then `complete`. Errors that GraphQL finds before it
executes are sent as `next` too, because browsers do not show the body of a response that is not a stream.
`subscription_rendering` executes and renders results, once for all subscribers that get equal payloads, and this module
frames them. The `id` of an event is its cursor. A browser's EventSource sends the last one as `Last-Event-ID` when it
reconnects, and so resumes there.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from graphql import DocumentNode, GraphQLError, OperationType, get_operation_ast, parse
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from domain.errors import FlowRunsError, ServiceStoppingError, TooManySubscriptionsError
from domain.time import clock
from resolvers.context import Context
from resolvers.subscriptions import encode_position
from schema.cost import MAX_TOKENS
from schema.errors import to_client_error
from service.http.media_types import accepted
from service.streams.connection_registry import Connection, ConnectionRegistry
from service.streams.subscription_rendering import Failure, Operation, Payload, Streams

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
"""Seconds between two comments on a silent connection: proxies drop a connection that is silent for a minute."""

_MAX_WRITE_BYTES = 65_536
"""Bytes of one write, after which further events go into the next write."""
_HEADERS = {
    "content-type": f"{MEDIA_TYPE}; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would buffer some kilobytes of events.
}
_COMMENT = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"  # Browsers ignore an event without data.
_ABORT = "flow_runs.abort"
"""ASGI extension: drops the connection without waiting for its client."""
_STOPPING = "flow_runs.stopping"
"""ASGI extension: an event that is set when the server stops."""


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with our ASGI extensions.

    A stream can drop its connection, and is notified when the server stops, because the server waits for every
    response.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping = asyncio.Event()

    def on_message_begin(self) -> None:
        """Called at the start of a request."""
        super().on_message_begin()
        self.scope["extensions"] = {_ABORT: {"abort": self.transport.abort}, _STOPPING: {"event": self._stopping}}

    def shutdown(self) -> None:
        """Called when the server stops: finishes the requests that have begun, and accepts no more."""
        self._stopping.set()
        super().shutdown()


def accepts_stream(request: Request) -> bool:
    """True if the client accepts server-sent events."""
    return MEDIA_TYPE in accepted(request)


def prefers_json(request: Request) -> bool:
    """True if the client accepts JSON as well."""
    return any("json" in media_type or media_type == "*/*" for media_type in accepted(request))


def operation_type(operation: Operation) -> OperationType | None:
    """Returns the type of an operation; None if its document is malformed or does not have it."""
    try:
        document: DocumentNode = parse(operation.query or "", max_tokens=MAX_TOKENS)
    except GraphQLError:
        return None
    node = get_operation_ast(document, operation.name)
    return node.operation if node is not None else None


class EventStream:
    """The response to an operation, an ASGI application. Ends at once when its client disconnects."""

    def __init__(
        self, streams: Streams, connections: ConnectionRegistry, operation: Operation, context: Context
    ) -> None:
        """Prepares the results of `operation` for the viewer of `context`."""
        self._streams = streams
        self._connections = connections
        self._operation = operation
        self._context = context
        self._closed: asyncio.Future[FlowRunsError] = asyncio.get_running_loop().create_future()
        """Done when the service ends the stream; its result is the reason."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response.

        Raises:
            TooManyConnectionsError: the key has reached its limit. Nothing was sent.
        """
        connection = self._connections.open(self._context.viewer, close=self._close, abort=abort_function(scope))
        tasks: list[asyncio.Task[None]] = []
        try:
            body = _Body(send, connection)
            await body.start()
            sending = asyncio.create_task(self._send_results(body, connection))
            disconnected = asyncio.create_task(_wait_for_disconnect(receive))
            tasks = [
                sending,
                disconnected,
                asyncio.create_task(body.keep_alive()),
                asyncio.create_task(self._close_at_stop(scope)),
            ]
            awaited: list[asyncio.Future[Any]] = [sending, disconnected, self._closed]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not disconnected.done():
                await self._finish(body, sending)
        finally:
            connection.release()
            await _cancel(tasks)

    async def _send_results(self, body: "_Body", connection: Connection) -> None:
        try:
            with connection.subscription():
                async with aclosing(self._streams.results(self._operation, self._context)) as results:
                    async for result in results:
                        if isinstance(result, Failure):
                            await body.send(_errors_event(result.errors))
                        else:
                            for chunk in _chunks(map(_next_event, result)):
                                await body.send(chunk)
        except TooManySubscriptionsError as error:
            await body.send(_error_event(error))

    async def _finish(self, body: "_Body", sending: "asyncio.Task[None]") -> None:
        if self._closed.done():
            await _cancel([sending])
            await body.send(_error_event(self._closed.result()))
        else:
            sending.result()
        await body.finish()

    def _close(self, error: FlowRunsError) -> None:
        if not self._closed.done():
            self._closed.set_result(error)

    async def _close_at_stop(self, scope: Scope) -> None:
        if (stopping := scope.get("extensions", {}).get(_STOPPING)) is not None:
            await stopping["event"].wait()
            self._close(ServiceStoppingError())


class _Body:
    """The body of the response. Reports its writes to the connection registry."""

    def __init__(self, send: Send, connection: Connection) -> None:
        self._send = send
        self._connection = connection
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        # The comment is sent at once, so that the client knows that the stream is open.
        await self.send(_COMMENT)

    async def send(self, chunk: bytes) -> None:
        await self._write({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self) -> None:
        await self._write({"type": "http.response.body", "body": _COMPLETE})

    async def keep_alive(self) -> None:
        while True:
            written = self._connection.written
            await clock.sleep(KEEP_ALIVE_SECONDS)
            if self._connection.written == written:
                await self.send(_COMMENT)

    async def _write(self, message: Message) -> None:
        async with self._lock:
            self._connection.is_writing = True
            await self._send(message)
            self._connection.is_writing = False
            self._connection.written += 1


def _chunks(events: Iterable[bytes]) -> Iterator[bytes]:
    """Yields `events` in chunks, each of which is one write."""
    chunk, size = [], 0
    for event in events:
        chunk.append(event)
        size += len(event)
        if size >= _MAX_WRITE_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)


def _next_event(payload: Payload) -> bytes:
    head = b"event: next\n"
    if payload.position is not None:
        head += b"id: " + encode_position(payload.position).encode() + b"\n"
    return head + _data(payload.body)


def _errors_event(errors: Sequence[GraphQLError]) -> bytes:
    return b"event: next\n" + _data(orjson.dumps({"errors": [error.formatted for error in errors]}))


def _error_event(error: FlowRunsError) -> bytes:
    return _errors_event([to_client_error(GraphQLError(error.message, original_error=error))])


def _data(body: bytes) -> bytes:
    # JSON columns are sent as they are stored. A line break in one would end the field `data`.
    return b"data: " + body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def stopping_function(scope: Scope) -> Callable[[], bool]:
    """Returns the function that returns True once the server stops. A server without it never says so."""
    extension = scope.get("extensions", {}).get(_STOPPING)
    event: asyncio.Event = asyncio.Event() if extension is None else extension["event"]
    return event.is_set


def abort_function(scope: Scope) -> Callable[[], None]:
    """Returns the function that drops the connection. A server without it ends the connection when the application
    ends."""
    task = asyncio.current_task()
    assert task is not None
    extension: dict[str, Callable[[], None]] = scope.get("extensions", {}).get(_ABORT, {})

    def cancel() -> None:
        task.cancel()

    return extension.get("abort", cancel)


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
