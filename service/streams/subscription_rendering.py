"""Executes operations for transports that stream: WebSockets and server-sent events.

A result is a finished payload, the JSON of a GraphQL result, which the transport frames. A payload is rendered once for
all subscribers of the same document, operation, visibility and variables, as far as the variables are used outside the
arguments of the root field. Other subscribers still share the loaders: a batch of items reads each row once.
"""

import asyncio
import contextvars
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FieldNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    VariableNode,
    execute_subscription_event,
)

from db.events.log import LogPosition
from domain.errors import DatabaseUnavailableError, FlowRunsError
from domain.observation import spans
from domain.observation.observer import SILENT, Observer
from domain.observation.spans import NO_SPAN, NO_TRACES, SpanKind, Tracer
from domain.time import clock
from live.events import FAILED, SENT, Item, MatchedEvent, Memo, SendResult, SendStatus
from resolvers.context import Context
from resolvers.loaders import Loaders
from schema.build import FlowRunsSchema, Subscribed
from schema.charging import with_report
from schema.compiled_selection import CompiledSelection, compile_selection
from schema.errors import to_client_error
from service.metrics.operations import describe

Write = Callable[[Sequence["Payload"]], int]
"""Writes payloads without waiting, as far as the connection accepts them. Returns how many were written, from the first
one."""

_LEFT, _COMPLETE, _FAILED = "client", "complete", "failure"
"""Why a stream ended without a code: its client left, it was at its end, or by an error of the service."""

RETRY_SECONDS = 1.0
"""Seconds until an item is rendered again after the database was unavailable."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation of a request."""

    query: str | None
    variables: dict[str, Any] | None = None
    name: str | None = None
    asks_for_cost: bool = False
    """True if its first result is to report what it costs."""


@dataclass(slots=True, eq=False)
class Payload:
    """A GraphQL result. Subscribers that share a rendering get the same object."""

    body: bytes
    """The result as JSON."""
    position: LogPosition | None = None
    """The log position of its event; None for results that are outside the log."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of an operation by errors, before or after its first result. No result follows."""

    errors: Sequence[GraphQLError]

    @property
    def body(self) -> bytes:
        """Returns the errors, as a JSON array."""
        return orjson.dumps([error.formatted for error in self.errors])


class Streams:
    """Executes operations of one schema."""

    def __init__(
        self,
        schema: FlowRunsSchema,
        *,
        is_compiled: bool = True,
        observer: Observer = SILENT,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        """`is_compiled` is the setting `compiled_reads`."""
        self._schema = schema
        self._observer = observer
        self._tracer = tracer
        self.is_compiled = is_compiled
        """True if the fast path is on. If not, graphql-core executes every event for every subscriber, whose task sends
        the result through ASGI: the same messages, more slowly."""
        self._renderers: weakref.WeakValueDictionary[Hashable, _Renderer] = weakref.WeakValueDictionary()

    async def results(
        self, operation: Operation, context: Context, write: Write | None = None
    ) -> AsyncGenerator[Sequence[Payload] | Failure, None]:
        """Yields the results of an operation: one payload of a query or mutation, any number of a subscription.

        Payloads are yielded in batches, which can be sent at once. While this generator waits for live events, their
        payloads go to `write` instead, as long as it accepts all of them.
        """
        if operation.asks_for_cost:
            context = copy(context)  # operations of a socket share theirs
            context.reports_cost = True
        subscribed = await self._schema.subscribe_to(operation.query, operation.variables, operation.name, context)
        if subscribed is None:
            yield await self._traced_response(operation, context)
        elif isinstance(subscribed, list):
            yield Failure(subscribed)
        else:
            source, renderer = subscribed.source, self._renderer(operation, context, subscribed)
            reported = subscribed.extensions
            self._observer.stream_began()
            reason = _LEFT
            del subscribed  # It holds the document, which is not needed while the stream lasts, maybe for days.
            try:
                try_send = partial(renderer.try_send, write) if write is not None and self.is_compiled else None
                while items := await source.batch(None if reported else try_send):
                    payloads = await renderer.render(items)
                    del items  # The next ones may arrive much later
                    if reported:
                        # Others share the payload, so this subscriber gets a copy.
                        payloads, reported = [_with_report(payloads[0], reported), *payloads[1:]], {}
                    yield payloads
                    del payloads
                reason = _COMPLETE
            except Exception as error:
                reason = error.code if isinstance(error, FlowRunsError) else _FAILED
                yield Failure([to_client_error(GraphQLError(str(error), original_error=error, path=[]))])
            finally:
                self._observer.stream_ended(reason)
                await source.aclose()

    async def _traced_response(self, operation: Operation, context: Context) -> Sequence[Payload] | Failure:
        """Returns the response to a query or mutation. Over a socket, it begins a trace."""
        parent = spans.current()
        begun = (
            self._tracer.request("GraphQL", None, SpanKind.SERVER, {}) if parent is NO_SPAN else parent.child("GraphQL")
        )
        with begun as span:
            response = await self._response(operation, context)
            if span is not NO_SPAN:
                describe(span, operation.query, operation.name)
            return response

    async def _response(self, operation: Operation, context: Context) -> Sequence[Payload] | Failure:
        begun = time.perf_counter()
        result = await self._schema.execute(
            operation.query, operation.variables, context_value=context, operation_name=operation.name
        )
        errors = result.errors or []
        seconds = time.perf_counter() - begun
        # The operations of a socket share the context, and so its cost.
        cost = None if context.long_lived else context.cost
        self._observer.operation_executed(operation.query, operation.name, seconds, cost, has_errors=bool(errors))
        if result.data is None and errors and all(error.path is None for error in errors):
            return Failure(errors)
        payload = _payload(result.data, errors)
        return (_with_report(payload, result.extensions or {}),)

    def _renderer(self, operation: Operation, context: Context, subscribed: Subscribed) -> "_Renderer":
        to_object = subscribed.source.to_object
        if not self.is_compiled:
            return _Renderer(subscribed.executor, context, to_object, None)
        used = _variables_used(subscribed.document, subscribed.executor.operation)
        variables = operation.variables or {}
        key = (
            operation.query,
            operation.name,
            orjson.dumps({name: variables[name] for name in sorted(used) if name in variables}),
            context.viewer.visibility_key,
        )
        renderer = self._renderers.get(key)
        if renderer is None:
            compiled = compile_selection(subscribed.executor)
            renderer = self._renderers[key] = _Renderer(subscribed.executor, context, to_object, compiled)
        return renderer


class _Renderer:
    """Renders the items of a subscription, once for all subscribers that get equal payloads."""

    def __init__(
        self,
        executor: Executor[Any],
        context: Context,
        to_object: Callable[[Any], object],
        compiled: CompiledSelection | None,
    ) -> None:
        """Renders by `compiled` if it is not None, and else by graphql-core."""
        self._executor = executor
        self._context = context
        self._to_object = to_object
        self._compiled = compiled
        self._tasks: set[asyncio.Future[Any]] = set()
        self._last_items: Sequence[Item] = ()
        self._last_payloads: Sequence[Payload] = ()
        self._awaited_items: Sequence[Item] = ()
        """The items that were last found not to be rendered. `_is_rendered` is done when it is worthwhile to try again.
        """
        self._is_rendered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def render(self, items: Sequence[Item]) -> Sequence[Payload]:
        """Returns the payloads of `items`."""
        rendered = self._lookup(items)
        return [entry if isinstance(entry, Payload) else await entry.payload() for entry in rendered]

    def try_send(self, write: Write, items: Sequence[MatchedEvent]) -> SendResult:
        """Writes the payloads of `items` without waiting. See `live.events.TrySend`."""
        # The tailer delivers one list object to all subscribers of a topic, one right after the other. If the list is
        # the same object as before, its items were rendered for the subscriber before. The list is kept, so no other
        # list can have its identity. For other lists the payloads come from the items' memos.
        if items is not self._last_items:
            if items is self._awaited_items and not self._is_rendered.done():
                return SendResult(SendStatus.RENDERING, rendered=self._is_rendered)
            rendered = self._lookup(items)
            payloads = [entry for entry in rendered if isinstance(entry, Payload)]
            if len(payloads) < len(rendered):
                pending = (entry.is_done for entry in rendered if isinstance(entry, _PendingPayload))
                first = next((is_done for is_done in pending if not is_done.done()), None)
                if first is None:
                    return FAILED
                self._awaited_items, self._is_rendered = items, first
                return SendResult(SendStatus.RENDERING, rendered=first)
            self._last_items, self._last_payloads = items, payloads
        written = write(self._last_payloads)
        return SENT if written == len(self._last_payloads) else SendResult(SendStatus.BLOCKED, written)

    def _lookup(self, items: Sequence[Item]) -> Sequence["Payload | _PendingPayload"]:
        """Returns the payloads that were rendered, and starts rendering the rest."""
        new: list[_PendingPayload] = []
        entries = [self._entry(item, new) for item in items]
        if new:
            # The rendering has a task of its own: other subscribers wait for it too, and the first one may leave at any
            # time.
            task = asyncio.get_running_loop().create_task(self._render_all(new), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return entries

    def _entry(self, item: Item, new: list["_PendingPayload"]) -> "Payload | _PendingPayload":
        entry: Payload | _PendingPayload | None = item.memo.get(self)
        if entry is None:
            value = self._to_object(item)
            entry = item.memo[self] = self._immediate(value, item.position) or _PendingPayload(item, value, self)
            if isinstance(entry, _PendingPayload):
                new.append(entry)
        return entry

    def _immediate(self, value: object, position: LogPosition | None) -> Payload | None:
        if self._compiled is None or not self._compiled.is_immediate:
            return None
        try:
            return _payload(self._compiled.data(value), (), position)
        except Exception:
            return None  # graphql-core executes it again and reports the error as the specification requires.

    async def _render_all(self, pending: Sequence["_PendingPayload"]) -> None:
        # The rows of the latest read are as new as each of the events.
        memo = pending[-1].item.batch.memo
        try:
            if not await self._load(pending, memo):
                # One of them failed. Only that one is left to graphql-core.
                failed = [entry for entry in pending if len(pending) == 1 or not await self._load([entry], memo)]
                await asyncio.gather(*(self._execute(entry, memo) for entry in failed))
        finally:
            for entry in pending:
                entry.is_done.set_result(None)

    async def _load(self, pending: Sequence["_PendingPayload"], memo: Memo) -> bool:
        """Renders by the compiled selection. Returns False if there is none, or if it fails for one of the items."""
        if self._compiled is None or self._compiled.is_immediate:
            return False
        try:
            results = await self._compiled.load([entry.value for entry in pending], self._with_shared_loaders(memo))
            payloads = [_payload(data, (), entry.item.position) for entry, data in zip(pending, results, strict=True)]
        except Exception:
            return False
        for entry, payload in zip(pending, payloads, strict=True):
            entry.resolve(payload)
        return True

    async def _execute(self, entry: "_PendingPayload", memo: Memo) -> None:
        try:
            entry.resolve(await self._payload_by_core(entry.value, entry.item.position, memo))
        except Exception as error:
            entry.error = error

    async def _payload_by_core(self, value: object, position: LogPosition | None, memo: Memo) -> Payload:
        """Returns the payload of an event, by graphql-core.

        Waits while the database is unavailable: no event is delivered without the fields that were selected.
        """
        while True:
            context = self._with_shared_loaders(memo)
            executor = self._executor.build_per_event_executor(value)
            executor.context_value = context
            result = execute_subscription_event(executor)
            if not isinstance(result, ExecutionResult):
                result = await result
            if not _is_unavailable(result.errors):
                return _payload(result.data, [to_client_error(error) for error in result.errors or ()], position)
            await clock.sleep(RETRY_SECONDS)
            if memo.get(Loaders) is context.loaders:
                del memo[Loaders]  # They remember the failed load.

    def _with_shared_loaders(self, memo: Memo) -> Context:
        context = copy(self._context)
        loaders = memo.get(Loaders)
        if loaders is None:
            loaders = memo[Loaders] = Loaders(context.database)
        context.loaders = loaders
        return context


class _PendingPayload:
    """A payload that is being rendered."""

    __slots__ = ("_key", "_payload", "error", "is_done", "item", "value")

    def __init__(self, item: Item, value: object, key: Hashable) -> None:
        """`key` names the payload in the item's memo."""
        self.item = item
        self.value = value
        self._key = key
        self.is_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._payload: Payload | None = None
        self.error: Exception | None = None

    def resolve(self, payload: Payload) -> None:
        """Keeps the payload for all subscribers."""
        self._payload = self.item.memo[self._key] = payload

    async def payload(self) -> Payload:
        """Returns the payload as soon as it is rendered."""
        await asyncio.shield(self.is_done)  # Other subscribers wait for it too.
        if self._payload is None:
            raise RuntimeError("An event could not be executed") from self.error
        return self._payload


def _payload(data: object, errors: Sequence[GraphQLError], position: LogPosition | None = None) -> Payload:
    result: dict[str, object] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    # A copy: orjson returns bytes that have kilobytes allocated after them.
    return Payload(bytes(memoryview(orjson.dumps(result))), position)


def _with_report(payload: Payload, extensions: Mapping[str, Any]) -> Payload:
    return replace(payload, body=with_report(payload.body, extensions))


def _is_unavailable(errors: Sequence[GraphQLError] | None) -> bool:
    return any(isinstance(_cause(error), DatabaseUnavailableError) for error in errors or ())


def _cause(error: GraphQLError) -> Exception | None:
    cause: Exception | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _variables_used(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """Returns the variables that payloads depend on: all except those that only the root field's arguments use."""
    roots = operation.selection_set.selections
    if not all(isinstance(node, FieldNode) for node in roots):
        return {definition.variable.name.value for definition in operation.variable_definitions or ()}
    nodes: list[Node] = [node for node in document.definitions if not isinstance(node, OperationDefinitionNode)]
    for node in roots:
        assert isinstance(node, FieldNode)
        nodes += [*(node.directives or ()), *([node.selection_set] if node.selection_set else ())]
    return {name for node in nodes for name in _variables_in(node)}


def _variables_in(node: Node) -> Iterator[str]:
    if isinstance(node, VariableNode):
        yield node.name.value
        return
    for key in node.keys:
        value = getattr(node, key, None)
        for child in value if isinstance(value, list | tuple) else (value,):
            if isinstance(child, Node):
                yield from _variables_in(child)
