"""Operations over server-sent events, as the protocol of `graphql-sse` has it in its distinct connections mode.

A response is one operation: an event `next` for each result, then `complete`. Errors that GraphQL finds before it
executes come as `next` too, for a browser shows no body of a response that is not a stream. Payloads are rendered once
for all subscribers that receive the same (service/streams/subscription_rendering.py): here the frame goes around them.
An event's `id` is its cursor, so a browser's EventSource, which sends the last one as `Last-Event-ID`, resumes where it
was disconnected.
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
from schema.errors import to_client_error
from service.streams.connection_registry import Connection, Connections
from service.streams.subscription_rendering import Failure, Operation, Payload, Streams

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
"""Between two comments that keep a connection alive which tells nothing: proxies drop silent ones after a minute."""

_WRITTEN_AT_ONCE = 65_536
"""Bytes from which on events that come together are another write."""
_HEADERS = {
    "content-type": f"{MEDIA_TYPE}; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would hold events back until there are some kilobytes of them
}
_COMMENT = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"  # a browser drops an event without data
_ABORTED, _STOPPING = "flow_runs.abort", "flow_runs.stopping"
"""Extensions of an ASGI scope: what drops the connection, and what is set when the server stops."""


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP, whose streams can be dropped, and hear when the server stops, which waits for them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping = asyncio.Event()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {_ABORTED: {"abort": self.transport.abort}, _STOPPING: {"event": self._stopping}}

    def shutdown(self) -> None:
        """Answer what was asked, and nothing more."""
        self._stopping.set()
        super().shutdown()


def accepts_stream(request: Request) -> bool:
    """Whether the client takes server-sent events."""
    return MEDIA_TYPE in _accepted(request)


def prefers_json(request: Request) -> bool:
    """Whether the client takes an answer in one piece as well."""
    return any("json" in media_type or media_type == "*/*" for media_type in _accepted(request))


def _accepted(request: Request) -> list[str]:
    return [each.partition(";")[0].strip().lower() for each in request.headers.get("accept", "").split(",")]


def operation_type(asked: Operation) -> OperationType | None:
    """What kind of operation a client asks for; None when its document does not say."""
    try:
        document: DocumentNode = parse(asked.query or "")
    except GraphQLError:
        return None
    operation = get_operation_ast(document, asked.name)
    return operation.operation if operation is not None else None


class EventStream:
    """The response to an operation, an ASGI application. Ends at once when its client goes."""

    def __init__(self, streams: Streams, connections: Connections, asked: Operation, context: Context) -> None:
        """What `asked` tells whoever shows the key of `context`."""
        self._streams = streams
        self._connections = connections
        self._asked = asked
        self._context = context
        self._ended: asyncio.Future[FlowRunsError] = asyncio.get_running_loop().create_future()
        """Why the service ends it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond.

        Raises:
            TooManyConnectionsError: before anything was sent.
        """
        connection = self._connections.open(self._context.viewer.key_id, end=self._end, abort=_abort(scope))
        tasks: list[asyncio.Task[None]] = []
        try:
            sink = _Sink(send, connection)
            await sink.start()
            work = (self._send_events(sink, connection), _left(receive), sink.keep_alive(), self._end_at_stop(scope))
            tasks = [asyncio.create_task(each) for each in work]
            telling, left, *_ = tasks
            awaited: list[asyncio.Future[Any]] = [telling, left, self._ended]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not left.done():
                await self._finish(sink, telling)
        finally:
            connection.close()
            await _cancel(tasks)

    async def _send_events(self, sink: "_Sink", connection: Connection) -> None:
        try:
            with connection.subscription():
                async with aclosing(self._streams.results(self._asked, self._context)) as results:
                    async for result in results:
                        if isinstance(result, Failure):
                            await sink.send(_failure(result.errors))
                        else:
                            for piece in _pieces(map(_next, result)):
                                await sink.send(piece)
        except TooManySubscriptionsError as error:
            await sink.send(_refusal(error))

    async def _finish(self, sink: "_Sink", telling: "asyncio.Task[None]") -> None:
        if self._ended.done():
            await _cancel([telling])
            await sink.send(_refusal(self._ended.result()))
        else:
            telling.result()
        await sink.finish()

    def _end(self, error: FlowRunsError) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    async def _end_at_stop(self, scope: Scope) -> None:
        if (stopping := scope.get("extensions", {}).get(_STOPPING)) is not None:
            await stopping["event"].wait()
            self._end(ServiceStoppingError())


class _Sink:
    """Where a stream goes. Tells of its writes."""

    def __init__(self, send: Send, connection: Connection) -> None:
        self._send = send
        self._connection = connection
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        # At once, so that the client knows that it is let in.
        await self.send(_COMMENT)

    async def send(self, text: bytes) -> None:
        await self._write({"type": "http.response.body", "body": text, "more_body": True})

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


def _pieces(events: Iterable[bytes]) -> Iterator[bytes]:
    """`events` in larger pieces, each of which is one write."""
    piece, size = [], 0
    for event in events:
        piece.append(event)
        size += len(event)
        if size >= _WRITTEN_AT_ONCE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _next(payload: Payload) -> bytes:
    head = b"event: next\n"
    if payload.position is not None:
        head += b"id: " + encode_position(payload.position).encode() + b"\n"
    return head + _data(payload.body)


def _failure(errors: Sequence[GraphQLError]) -> bytes:
    return b"event: next\n" + _data(orjson.dumps({"errors": [error.formatted for error in errors]}))


def _refusal(error: FlowRunsError) -> bytes:
    return _failure([to_client_error(GraphQLError(error.message, original_error=error))])


def _data(body: bytes) -> bytes:
    # JSON columns are passed on as they were stored; a line break in one would end the field.
    return b"data: " + body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Scope) -> Callable[[], None]:
    """What drops the connection; a server that does not know how ends it when the application ends."""
    task = asyncio.current_task()
    assert task is not None
    known: dict[str, Callable[[], None]] = scope.get("extensions", {}).get(_ABORTED, {})

    def cancel() -> None:
        task.cancel()

    return known.get("abort", cancel)


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
