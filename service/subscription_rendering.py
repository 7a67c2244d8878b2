"""Executes operations for transports that stream: one door for WebSockets and server-sent events.

What a subscription is told comes as finished payloads, the JSON of a GraphQL result; the transport puts its own frame
around them. A payload is rendered once for all subscribers to whom it would read the same: those of the same document,
operation, visibility and variables, as far as the variables are used outside the arguments of the root field. Those who
differ still share the loaders: what they read of the database for a batch of events is read once.
"""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
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
from domain import clock
from domain.errors import DatabaseUnavailableError
from live.hub import Item, MatchedEvent
from resolvers.context import Context
from resolvers.loaders import Loaders
from resolvers.subscriptions import Stream
from schema.build import FlowRunsSchema, Subscribed
from schema.compiled_selection import plan_of
from schema.errors import to_client_error

Send = Callable[[Item], object]
"""Makes the object of the schema that tells an item."""
Write = Callable[[Sequence["Payload"]], int]
"""Sends payloads as far as that needs no waiting: how many, from the first one."""

RETRY_SECONDS = 1.0
"""Until an event is rendered again when the database was away."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asks for."""

    query: str | None
    variables: dict[str, Any] | None = None
    name: str | None = None


@dataclass(slots=True, eq=False)
class Payload:
    """A GraphQL result, the same object for all subscribers who are told the same."""

    body: bytes
    """JSON."""
    place: LogPosition | None = None
    """In the event log, of what it tells; None when it tells of no event."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of an operation by errors: before it began, or in its midst. Nothing follows."""

    errors: Sequence[GraphQLError]

    @property
    def body(self) -> bytes:
        """The errors, as a JSON array."""
        return orjson.dumps([error.formatted for error in self.errors])


class Streams:
    """Executes operations of one schema."""

    def __init__(self, schema: FlowRunsSchema) -> None:
        self._schema = schema
        self._renderers: weakref.WeakValueDictionary[Hashable, _Renderer] = weakref.WeakValueDictionary()

    async def results(
        self, operation: Operation, context: Context, write: Write | None = None
    ) -> AsyncGenerator[Sequence[Payload] | Failure, None]:
        """What a client is told: of a query or mutation one payload, of a subscription as many as come.

        Those that come together are told together, so that they can be sent at once. What comes while the client is
        waited for here, all before being sent, goes through `write`, as far as that takes it.
        """
        begun = await self._schema.subscribe_to(operation.query, operation.variables, operation.name, context)
        if begun is None:
            yield await self._answer(operation, context)
        elif isinstance(begun, list):
            yield Failure(begun)
        else:
            source, renderer = begun.source, self._renderer(operation, context, begun)
            del begun  # what it holds is needed no more, while the stream may last for days
            try:
                if isinstance(source, Stream):
                    take = partial(renderer.tell_now, source.tell, write) if write is not None else None
                    while items := await source.batch(take):
                        payloads = await renderer.batch(source.tell, items)
                        del items  # the next ones may be long in coming
                        yield payloads
                        del payloads
                    return
                async for value in source:
                    yield (await renderer.execute(value, {}),)
            except Exception as error:
                yield Failure([to_client_error(GraphQLError(str(error), original_error=error, path=[]))])
            finally:
                await source.aclose()

    async def _answer(self, operation: Operation, context: Context) -> Sequence[Payload] | Failure:
        result = await self._schema.execute(
            operation.query, operation.variables, context_value=context, operation_name=operation.name
        )
        errors = result.errors or []
        if result.data is None and errors and all(error.path is None for error in errors):
            return Failure(errors)
        return (_payload(result.data, errors),)

    def _renderer(self, operation: Operation, context: Context, begun: Subscribed) -> "_Renderer":
        used = _variables_used(begun.document, begun.executor.operation)
        variables = operation.variables or {}
        key = (
            operation.query,
            operation.name,
            orjson.dumps({name: variables[name] for name in sorted(used) if name in variables}),
            context.viewer.project_id,
            context.viewer.role,
        )
        renderer = self._renderers.get(key)
        if renderer is None:
            renderer = self._renderers[key] = _Renderer(begun.executor, context)
        return renderer


class _Renderer:
    """Executes a subscription for its events: one for all subscribers to whom they read the same."""

    def __init__(self, executor: Executor[Any], context: Context) -> None:
        self._executor = executor
        self._context = context
        self._plan = plan_of(executor)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._last_items: Sequence[Item] = ()
        self._last_payloads: Sequence[Payload] = ()

    async def batch(self, tell: Send, items: Sequence[Item]) -> Sequence[Payload]:
        """The payloads of `items`."""
        return [each if isinstance(each, Payload) else await each.payload() for each in self._all(tell, items)]

    def tell_now(self, tell: Send, write: Write, items: Sequence[Item]) -> "int | asyncio.Future[None]":
        """Send the payloads of `items` (events.hub.Take); when they are still to be made, later."""
        if items is not self._last_items:  # the hub hands the same ones to one subscriber after the other
            found = self._all(tell, items)
            payloads = [each for each in found if isinstance(each, Payload)]
            if len(payloads) < len(found):
                unmade = (each.is_done for each in found if isinstance(each, _Missing) and not each.is_done.done())
                return next(unmade, 0)  # 0: one of them failed
            self._last_items, self._last_payloads = items, payloads
        return write(self._last_payloads)

    def _all(self, tell: Send, items: Sequence[Item]) -> Sequence["Payload | _Missing"]:
        missing: list[_Missing] = []
        found = [self._found(tell, item, missing) for item in items]
        if missing:
            # In a task of its own, for others wait too: the subscriber that came first may leave at any time.
            task = asyncio.ensure_future(self._make(missing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return found

    def _found(self, tell: Send, item: Item, missing: list["_Missing"]) -> "Payload | _Missing":
        memo = item.event.memo if isinstance(item, MatchedEvent) else {}
        key = (self, item.matches) if isinstance(item, MatchedEvent) else self
        found: Payload | _Missing | None = memo.get(key)
        if found is None:
            value = tell(item)
            found = memo[key] = self._told_at_once(value, item.place) or _Missing(item, value, memo, key)
            if isinstance(found, _Missing):
                missing.append(found)
        return found

    def _told_at_once(self, value: object, place: LogPosition) -> Payload | None:
        if self._plan is None or not self._plan.is_immediate:
            return None
        try:
            return _payload(self._plan.data(value), (), place)
        except Exception:
            # Whatever it is: graphql-core knows what becomes of it.
            return None

    async def _make(self, missing: Sequence["_Missing"]) -> None:
        events = (each.item.event for each in missing if isinstance(each.item, MatchedEvent))
        shared = next((event.batch.memo for event in events), {})
        try:
            if not await self._load(missing, shared):
                # One of them is the reason: the others are not to pay for it.
                alone = [each for each in missing if len(missing) == 1 or not await self._load([each], shared)]
                await asyncio.gather(*(self._execute(each, shared) for each in alone))
        finally:
            for each in missing:
                each.is_done.set_result(None)

    async def _load(self, missing: Sequence["_Missing"], shared: dict[Hashable, Any]) -> bool:
        """Have the plan make them, if there is one and it can."""
        if self._plan is None or self._plan.is_immediate:
            return False
        try:
            loaded = await self._plan.load([each.value for each in missing], self._sharing(shared))
            made = [_payload(data, (), each.item.place) for each, data in zip(missing, loaded, strict=True)]
        except Exception:
            return False
        for each, payload in zip(missing, made, strict=True):
            each.make(payload)
        return True

    async def _execute(self, missing: "_Missing", shared: dict[Hashable, Any]) -> None:
        try:
            payload = await self.execute(missing.value, shared)
        except Exception as error:
            missing.error = error
        else:
            payload.place = missing.item.place
            missing.make(payload)

    async def execute(self, value: object, shared: dict[Hashable, Any]) -> Payload:
        """The payload of an event; `shared` is what its batch shares.

        Waits for a database that is away: an event is not told without what was asked for.
        """
        while True:
            context = self._sharing(shared)
            executor = self._executor.build_per_event_executor(value)
            executor.context_value = context
            result = execute_subscription_event(executor)
            if not isinstance(result, ExecutionResult):
                result = await result
            if not _is_away(result.errors):
                return _payload(result.data, [to_client_error(error) for error in result.errors or ()])
            await clock.sleep(RETRY_SECONDS)
            if shared.get(Loaders) is context.loaders:
                del shared[Loaders]  # they remember what failed

    def _sharing(self, shared: dict[Hashable, Any]) -> Context:
        context = copy(self._context)
        loaders = shared.get(Loaders)
        if loaders is None:
            loaders = shared[Loaders] = Loaders(context.database)
        context.loaders = loaders
        return context


class _Missing:
    """A payload in the making."""

    __slots__ = ("error", "is_done", "item", "key", "made", "memo", "value")

    def __init__(self, item: Item, value: object, memo: dict[Hashable, Any], key: Hashable) -> None:
        self.item = item
        self.value = value
        self.memo = memo
        self.key = key
        self.is_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.made: Payload | None = None
        self.error: Exception | None = None

    def make(self, payload: Payload) -> None:
        """This is it, from now on for everybody."""
        self.made = self.memo[self.key] = payload

    async def payload(self) -> Payload:
        """The payload, once it is made."""
        await asyncio.shield(self.is_done)  # others wait for it too
        if self.made is None:
            raise RuntimeError("An event could not be executed") from self.error
        return self.made


def _payload(data: object, errors: Sequence[GraphQLError], place: LogPosition | None = None) -> Payload:
    result: dict[str, object] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    # A copy, for orjson gives bytes with kilobytes of room behind them.
    return Payload(bytes(memoryview(orjson.dumps(result))), place)


def _is_away(errors: Sequence[GraphQLError] | None) -> bool:
    return any(isinstance(_cause(error), DatabaseUnavailableError) for error in errors or ())


def _cause(error: GraphQLError) -> Exception | None:
    cause: Exception | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _variables_used(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """The variables by which what is told can differ: those of the source's arguments do not count."""
    roots = operation.selection_set.selections
    if not all(isinstance(node, FieldNode) for node in roots):
        return {definition.variable.name.value for definition in operation.variable_definitions or ()}
    told_of: list[Node] = [node for node in document.definitions if not isinstance(node, OperationDefinitionNode)]
    for node in roots:
        assert isinstance(node, FieldNode)
        told_of += [*(node.directives or ()), *([node.selection_set] if node.selection_set else ())]
    return {name for node in told_of for name in _variables_in(node)}


def _variables_in(node: Node) -> Iterator[str]:
    if isinstance(node, VariableNode):
        yield node.name.value
        return
    for key in node.keys:
        below = getattr(node, key, None)
        for each in below if isinstance(below, list | tuple) else (below,):
            if isinstance(each, Node):
                yield from _variables_in(each)
