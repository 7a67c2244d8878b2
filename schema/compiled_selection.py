"""A short way to what a subscription is told: selections are compiled once instead of walked for each event.

It knows fields without arguments and directives. What plain functions tell is told straight on. A field that is a
coroutine, which has its loader to wait for, is noted with the object that it is asked of; when all objects of a level
are done, those fields are asked together, so that the level is one batch of each loader, and what they give is the next
level. Anything else has no plan, and a value that a plan does not expect raises `UnplannedError`, as a resolver may
raise what it does: then graphql-core executes the operation, so what is told is what graphql-core would tell.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

from graphql import (
    Executor,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    InlineFragmentNode,
    SelectionSetNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_object_type,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.pyutils import Path
from strawberry.types import Info
from strawberry.types.field import StrawberryField

_Pending = dict["_Stage", list[tuple[object, dict[str, Any]]]]
"""Of fields to be asked: the objects of which, and where in the result the answer goes."""
_Get = Callable[[Any], Any]
_Complete = Callable[[Any, _Pending], Any]
_Resolve = Callable[[Any, Info[Any, Any]], Coroutine[Any, Any, Any]]
_BACKREF = "strawberry-definition"


class UnplannedError(Exception):
    """The plan does not know this value."""


class _NoPlanError(Exception):
    """The selection is not of plain fields alone."""


class Plan:
    """From objects that the root field tells to the data of their results."""

    def __init__(self, key: str, complete: _Complete, *, is_immediate: bool) -> None:
        self._key = key
        self._complete = complete
        self.is_immediate = is_immediate
        """Whether it never waits: `data` tells all, and `load` is not needed."""

    def data(self, value: object) -> dict[str, Any]:
        """The data of one result, of a plan that is immediate.

        Raises:
            UnplannedError: the plan does not know the value. A resolver may raise whatever it does.
        """
        return self._begun(value, {})

    async def load(self, values: Sequence[object], context: object) -> list[dict[str, Any]]:
        """The data of several results; what their fields load, by the `context`, is loaded together.

        Raises:
            UnplannedError: the plan does not know one of the values. A resolver may raise whatever it does.
        """
        pending: _Pending = {}
        made = [self._begun(value, pending) for value in values]
        while pending:
            level, pending = pending, {}
            await asyncio.gather(*(stage.fill(owners, context, pending) for stage, owners in level.items()))
        return made

    def _begun(self, value: object, pending: _Pending) -> dict[str, Any]:
        if value is None:
            raise UnplannedError
        return {self._key: self._complete(value, pending)}


def plan_of(executor: Executor[Any]) -> Plan | None:
    """The plan of the executor's operation, a subscription; None when it has none."""
    try:
        return _Planner(executor).plan()
    except _NoPlanError:
        return None


class _Stage:
    """A field that is a coroutine, asked of all objects of a level at once."""

    def __init__(self, key: str, resolve: _Resolve, info: Callable[[object], Info[Any, Any]]) -> None:
        self._key = key
        self._resolve = resolve
        self._info = info
        self.render: _Complete

    async def fill(self, owners: Sequence[tuple[object, dict[str, Any]]], context: object, pending: _Pending) -> None:
        """Ask the field of each of the `owners`, and put what it tells into the result beside."""
        info, resolve, key, render = self._info(context), self._resolve, self._key, self.render
        found = await asyncio.gather(*(resolve(owner, info) for owner, _ in owners))
        for (_, data), value in zip(owners, found, strict=True):
            data[key] = render(value, pending)


class _Planner:
    def __init__(self, executor: Executor[Any]) -> None:
        self._executor = executor
        self._schema = executor.schema
        self._fragments: dict[str, FragmentDefinitionNode] = {
            name: found.definition if isinstance(found, FragmentDetails) else found
            for name, found in executor.fragments.items()
        }
        self._is_immediate = True

    def plan(self) -> Plan:
        operation, root_type = self._executor.operation, self._schema.subscription_type
        (node, *more) = operation.selection_set.selections
        if root_type is None or more or not isinstance(node, FieldNode) or node.directives or operation.directives:
            raise _NoPlanError
        complete = self._completer(_nullable(root_type.fields[node.name.value].type), [node])
        return Plan(_key(node), complete, is_immediate=self._is_immediate)

    def _completer(self, output: Any, nodes: Sequence[FieldNode]) -> _Complete:
        """Of values that are not null."""
        if is_leaf_type(output):
            serialize = _serializer(output)
            return lambda value, _: serialize(value)
        if is_list_type(output):
            render = self._renderer(output.of_type, nodes)
            return lambda values, pending: [render(value, pending) for value in _listed(values)]
        sets = [node.selection_set for node in nodes if node.selection_set]
        if is_object_type(output):
            return self._object(output, sets)
        assert is_abstract_type(output)  # there is no other type
        return _abstract({self._origin(each): self._object(each, sets) for each in self._possible(output)})

    def _renderer(self, output: GraphQLOutputType, nodes: Sequence[FieldNode]) -> _Complete:
        """Of values that may be null, although `output` should not."""
        complete, is_required = self._completer(_nullable(output), nodes), isinstance(output, GraphQLNonNull)

        def render(value: Any, pending: _Pending) -> Any:
            if value is not None:
                return complete(value, pending)
            if is_required:
                raise UnplannedError
            return None

        return render

    def _possible(self, output: Any) -> Sequence[GraphQLObjectType]:
        return self._schema.get_possible_types(output)

    def _origin(self, output: GraphQLObjectType) -> type:
        origin: type = output.extensions[_BACKREF].origin
        return origin

    def _object(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> _Complete:
        by_key: dict[str, list[FieldNode]] = {}
        for node in self._selected(output, sets):
            by_key.setdefault(_key(node), []).append(node)
        fields = [(key, *self._field(output, nodes)) for key, nodes in by_key.items()]

        def complete(value: Any, pending: _Pending) -> dict[str, Any]:
            data: dict[str, Any] = {}
            for key, get, leaf, below, is_required in fields:
                found = get(value)
                if found is None:
                    if is_required:
                        raise UnplannedError
                    data[key] = None
                elif leaf is not None:
                    data[key] = leaf(found)
                elif isinstance(below, _Stage):
                    data[key] = None  # it has its place among the others
                    pending.setdefault(below, []).append((value, data))
                else:
                    data[key] = below(found, pending)
            return data

        return complete

    def _field(
        self, output: GraphQLObjectType, nodes: list[FieldNode]
    ) -> tuple[_Get, _Get | None, "_Complete | _Stage", bool]:
        """How to get its value, and what that becomes: as a leaf, or else by what is below."""
        name = nodes[0].name.value
        if name == "__typename":
            return (lambda _: output.name), str, _no_stage, True
        if name.startswith("__") or any(node.arguments or node.directives for node in nodes):
            raise _NoPlanError
        field = output.fields[name]
        declared = _declared(field)
        if declared.base_resolver is not None and declared.base_resolver.is_async:
            return _itself, None, self._stage(output, field, declared, nodes), True
        named = _nullable(field.type)
        leaf = _serializer(named) if is_leaf_type(named) else None
        below = self._completer(named, nodes) if leaf is None else _no_stage
        return _getter(declared), leaf, below, isinstance(field.type, GraphQLNonNull)

    def _stage(
        self, output: GraphQLObjectType, field: GraphQLField, declared: StrawberryField, nodes: list[FieldNode]
    ) -> _Stage:
        resolver = declared.base_resolver
        assert resolver is not None
        if len(resolver.signature.parameters) != 2 or resolver.info_parameter is None:
            raise _NoPlanError
        self._is_immediate = False
        key, executor = _key(nodes[0]), self._executor

        path = Path(None, key, output.name)

        def info(context: object) -> Info[Any, Any]:
            raw = executor.build_resolve_info(field, nodes, output, path)
            return Info(_raw_info=raw._replace(context=context), _field=declared)

        resolve: Any = resolver.wrapped_func
        stage = _Stage(key, resolve, info)
        stage.render = self._renderer(field.type, nodes)
        return stage

    def _selected(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> Iterator[FieldNode]:
        for node in (node for selections in sets for node in selections.selections):
            if node.directives:
                raise _NoPlanError
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                if node.type_condition is None or self._is_of(output, node.type_condition.name.value):
                    yield from self._selected(output, [node.selection_set])
            elif isinstance(node, FragmentSpreadNode):
                fragment = self._fragments[node.name.value]
                if self._is_of(output, fragment.type_condition.name.value):
                    yield from self._selected(output, [fragment.selection_set])

    def _is_of(self, output: GraphQLObjectType, name: str) -> bool:
        named = self._schema.type_map[name]
        return named is output or (is_abstract_type(named) and self._schema.is_sub_type(named, output))


def _key(node: FieldNode) -> str:
    return (node.alias or node.name).value


def _nullable(output: GraphQLOutputType) -> Any:
    return output.of_type if isinstance(output, GraphQLNonNull) else output


def _itself(value: Any) -> Any:
    return value


def _no_stage(value: Any, _: _Pending) -> Any:
    return value


def _listed(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        raise UnplannedError
    return values


def _abstract(by_type: dict[type, _Complete]) -> _Complete:
    def complete(value: object, pending: _Pending) -> Any:
        plan = by_type.get(type(value))
        if plan is None:
            raise UnplannedError
        return plan(value, pending)

    return complete


def _serializer(output: Any) -> _Get:
    serialize: _Get = output.serialize
    if not isinstance(output, GraphQLEnumType):
        return serialize
    # Of a few values, each is looked up anew by graphql-core.
    known: dict[Any, Any] = {}

    def of_enum(value: Any) -> Any:
        name = known.get(value)
        if name is None:
            name = known[value] = serialize(value)
        return name

    return of_enum


def _declared(field: GraphQLField) -> StrawberryField:
    declared = field.extensions.get(_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or field.args:
        raise _NoPlanError
    return declared


def _getter(declared: StrawberryField) -> _Get:
    resolver = declared.base_resolver
    if resolver is None:
        return attrgetter(declared.python_name)
    resolve = resolver.wrapped_func
    if not callable(resolve) or len(inspect.signature(resolve).parameters) != 1:
        raise _NoPlanError
    return cast("_Get", resolve)
