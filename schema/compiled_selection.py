"""Compiles the selection of a subscription once, instead of walking it for each event: a second executor of GraphQL.

Long lists in results of queries and mutations are completed in the same way (schema/executor.py).

A compiled selection has fields without arguments and directives. Fields with a plain resolver are evaluated at once. A
field with a coroutine, which waits for its loader, is deferred together with its object. When all objects of a level
are evaluated, the deferred fields are resolved together, so that each level is one batch of each loader; their results
are the next level.

graphql-core does everything else: a selection that has other fields is not compiled. For a value that the compiled
selection does not expect, or an error of a resolver, the caller executes the event again with graphql-core. So the
results are those of graphql-core. The setting `compiled_reads` turns this module off.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    Executor,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    SelectionNode,
    SelectionSetNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_object_type,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.pyutils import Path
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import Info
from strawberry.types.field import StrawberryField

from schema.fields import SharedInfo
from schema.selected_fields import by_response_key, fields_of, is_of_type, response_key, sets_below

_Deferred = dict["_AsyncField", list[tuple[object, dict[str, Any]]]]
"""Deferred fields, each with its objects, and the part of the result for its value."""
_Get = Callable[[Any], Any]
_Complete = Callable[[Any, _Deferred], Any]
_Resolve = Callable[[Any, Info[Any, Any]], Coroutine[Any, Any, Any]]


class UnexpectedValueError(Exception):
    """The compiled selection does not expect this value."""


class _NotCompilableError(Exception):
    """The selection has a part that only graphql-core can execute."""


class CompiledSelection:
    """Makes the `data` of results from values of the root field."""

    def __init__(self, key: str, complete: _Complete, *, is_immediate: bool) -> None:
        self._key = key
        self._complete = complete
        self.is_immediate = is_immediate
        """True if no field is a coroutine: `data` can be used, and `load` is not needed."""

    def data(self, value: object) -> dict[str, Any]:
        """Returns the data of one result. Only for an immediate selection.

        Raises:
            UnexpectedValueError: graphql-core must execute the event; also for any error of a resolver.
        """
        return self._complete_root(value, {})

    async def load(self, values: Sequence[object], context: object) -> list[dict[str, Any]]:
        """Returns the data of several results. Their fields load together, by the loaders of `context`.

        Raises:
            UnexpectedValueError: graphql-core must execute one of the events; also for any error of a resolver.
        """
        deferred: _Deferred = {}
        results = [self._complete_root(value, deferred) for value in values]
        while deferred:
            level, deferred = deferred, {}
            await asyncio.gather(*(field.resolve(owners, context, deferred) for field, owners in level.items()))
        return results

    def _complete_root(self, value: object, deferred: _Deferred) -> dict[str, Any]:
        if value is None:
            raise UnexpectedValueError
        return {self._key: self._complete(value, deferred)}


def compile_selection(executor: Executor[Any]) -> CompiledSelection | None:
    """Returns the compiled selection of the executor's operation, a subscription; None if it cannot be compiled."""
    try:
        return _Compiler(executor).compile()
    except _NotCompilableError:
        return None


def item_completer(
    executor: Executor[Any], output: GraphQLOutputType, nodes: Sequence[FieldNode]
) -> Callable[[Any], Any] | None:
    """Return what completes the items of a list that `nodes` select; None if it is not possible, or must load.

    It raises UnexpectedValueError, and any error of a resolver: leave the list to graphql-core.
    """
    compiler = _Compiler(executor)
    try:
        complete = compiler.nullable_completer(output, nodes)
    except _NotCompilableError:
        return None
    return (lambda item: complete(item, {})) if compiler.is_immediate else None


class _AsyncField:
    """A field with a coroutine, resolved for all objects of a level together."""

    def __init__(self, key: str, resolve: _Resolve, info: Callable[[object], Info[Any, Any]]) -> None:
        self._key = key
        self._resolve = resolve
        self._info = info
        self.complete: _Complete

    async def resolve(
        self, owners: Sequence[tuple[object, dict[str, Any]]], context: object, deferred: _Deferred
    ) -> None:
        """Resolves the field for each of `owners`, and puts its value into the result beside it."""
        info, resolve, key, complete = self._info(context), self._resolve, self._key, self.complete
        values = await asyncio.gather(*(resolve(owner, info) for owner, _ in owners))
        for (_, data), value in zip(owners, values, strict=True):
            data[key] = complete(value, deferred)


class _Compiler:
    def __init__(self, executor: Executor[Any]) -> None:
        self._executor = executor
        self._schema = executor.schema
        self._fragments: dict[str, FragmentDefinitionNode] = {
            name: fragment.definition if isinstance(fragment, FragmentDetails) else fragment
            for name, fragment in executor.fragments.items()
        }
        self.is_immediate = True
        """True if no field is a coroutine."""

    def compile(self) -> CompiledSelection:
        operation, root_type = self._executor.operation, self._schema.subscription_type
        (node, *more) = operation.selection_set.selections
        if root_type is None or more or not isinstance(node, FieldNode) or node.directives or operation.directives:
            raise _NotCompilableError
        complete = self._completer(_nullable(root_type.fields[node.name.value].type), [node])
        return CompiledSelection(response_key(node), complete, is_immediate=self.is_immediate)

    def _completer(self, output: Any, nodes: Sequence[FieldNode]) -> _Complete:
        """Returns the function that completes values of a type that are not null."""
        if is_leaf_type(output):
            serialize = _serializer(output)
            return lambda value, _: serialize(value)
        if is_list_type(output):
            complete = self.nullable_completer(output.of_type, nodes)
            return lambda values, deferred: [complete(value, deferred) for value in _checked_list(values)]
        sets = sets_below(nodes)
        if is_object_type(output):
            return self._object(output, sets)
        assert is_abstract_type(output)  # There are no other types.
        return _abstract({self._origin(type_): self._object(type_, sets) for type_ in self._possible(output)})

    def nullable_completer(self, output: GraphQLOutputType, nodes: Sequence[FieldNode]) -> _Complete:
        """Returns the function that completes values that may be null, even if `output` forbids null."""
        complete, is_required = self._completer(_nullable(output), nodes), isinstance(output, GraphQLNonNull)

        def complete_nullable(value: Any, deferred: _Deferred) -> Any:
            if value is not None:
                return complete(value, deferred)
            if is_required:
                raise UnexpectedValueError
            return None

        return complete_nullable

    def _possible(self, output: Any) -> Sequence[GraphQLObjectType]:
        return self._schema.get_possible_types(output)

    def _origin(self, output: GraphQLObjectType) -> type:
        origin: type = output.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].origin
        return origin

    def _object(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> _Complete:
        merged = by_response_key(self._selected(output, sets))
        fields = [(key, *self._field(output, nodes)) for key, nodes in merged.items()]
        if all(leaf is not None for _, _, leaf, _, _ in fields):
            return _leaves([(key, get, leaf, is_required) for key, get, leaf, _, is_required in fields])

        def complete(value: Any, deferred: _Deferred) -> dict[str, Any]:
            data: dict[str, Any] = {}
            for key, get, leaf, child, is_required in fields:
                field_value = get(value)
                if field_value is None:
                    if is_required:
                        raise UnexpectedValueError
                    data[key] = None
                elif leaf is not None:
                    data[key] = leaf(field_value)
                elif isinstance(child, _AsyncField):
                    data[key] = None  # This keeps the order of the fields.
                    deferred.setdefault(child, []).append((value, data))
                else:
                    data[key] = child(field_value, deferred)
            return data

        return complete

    def _field(
        self, output: GraphQLObjectType, nodes: list[FieldNode]
    ) -> tuple[_Get, _Get | None, "_Complete | _AsyncField", bool]:
        """Returns how to get the field's value; how to serialize it if it is a leaf, or else to complete it; and
        whether it must not be null."""
        name = nodes[0].name.value
        if name == "__typename":
            return (lambda _: output.name), str, _unchanged, True
        if name.startswith("__") or any(node.arguments or node.directives for node in nodes):
            raise _NotCompilableError
        field = output.fields[name]
        declared = _declared(field)
        if declared.base_resolver is not None and declared.base_resolver.is_async:
            return _identity, None, self._async_field(output, field, declared, nodes), True
        named = _nullable(field.type)
        leaf = _serializer(named) if is_leaf_type(named) else None
        child = self._completer(named, nodes) if leaf is None else _unchanged
        return _getter(declared), leaf, child, isinstance(field.type, GraphQLNonNull)

    def _async_field(
        self, output: GraphQLObjectType, field: GraphQLField, declared: StrawberryField, nodes: list[FieldNode]
    ) -> _AsyncField:
        resolver = declared.base_resolver
        assert resolver is not None
        if len(resolver.signature.parameters) != 2 or resolver.info_parameter is None:
            raise _NotCompilableError
        self.is_immediate = False
        key, executor = response_key(nodes[0]), self._executor

        path = Path(None, key, output.name)

        def info(context: object) -> Info[Any, Any]:
            raw = executor.build_resolve_info(field, nodes, output, path)
            return SharedInfo(raw._replace(context=context), declared)

        resolve: Any = resolver.wrapped_func
        async_field = _AsyncField(key, resolve, info)
        async_field.complete = self.nullable_completer(field.type, nodes)
        return async_field

    def _selected(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> Iterator[FieldNode]:
        return fields_of(
            self._fragments,
            sets,
            is_included=_has_no_directive,
            applies=lambda name: is_of_type(self._schema, output, name),
        )


def _has_no_directive(node: SelectionNode) -> bool:
    if node.directives:
        raise _NotCompilableError
    return True


def _nullable(output: GraphQLOutputType) -> Any:
    return output.of_type if isinstance(output, GraphQLNonNull) else output


def _identity(value: Any) -> Any:
    return value


def _unchanged(value: Any, _: _Deferred) -> Any:
    return value


def _checked_list(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        raise UnexpectedValueError
    return values


def _leaves(fields: Sequence[tuple[str, _Get, Any, bool]]) -> _Complete:
    """Returns the function that completes objects of which only leaves are selected."""

    def complete(value: Any, _: _Deferred) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, get, leaf, is_required in fields:
            field_value = get(value)
            if field_value is not None:
                data[key] = leaf(field_value)
            elif is_required:
                raise UnexpectedValueError
            else:
                data[key] = None
        return data

    return complete


def _abstract(by_type: dict[type, _Complete]) -> _Complete:
    def complete(value: object, deferred: _Deferred) -> Any:
        complete_object = by_type.get(type(value))
        if complete_object is None:
            raise UnexpectedValueError
        return complete_object(value, deferred)

    return complete


def _serializer(output: Any) -> _Get:
    serialize: _Get = output.serialize
    if output is GraphQLInt:
        # Integers are by far the most frequent values; graphql-core considers other types first.
        return lambda value: (
            value if type(value) is int and GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT else serialize(value)
        )
    if not isinstance(output, GraphQLEnumType):
        return serialize
    # An enumeration has few values; graphql-core would look each up every time.
    names: dict[Any, Any] = {}

    def serialize_enum(value: Any) -> Any:
        name = names.get(value)
        if name is None:
            name = names[value] = serialize(value)
        return name

    return serialize_enum


def _declared(field: GraphQLField) -> StrawberryField:
    declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or field.args:
        raise _NotCompilableError
    return declared


def _getter(declared: StrawberryField) -> _Get:
    resolver = declared.base_resolver
    if resolver is None:
        return attrgetter(declared.python_name)
    resolve = resolver.wrapped_func
    if not callable(resolve) or len(inspect.signature(resolve).parameters) != 1:
        raise _NotCompilableError
    return cast("_Get", resolve)
