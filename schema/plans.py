"""A short way to what a subscription is told: selections of plain fields, compiled once instead of walked each time.

It knows fields that are told by the event alone: no arguments, directives, loaders or coroutines. Anything else has no
plan, and a value that a plan does not expect raises `UnplannedError`: then graphql-core executes the operation, so what
is told is what graphql-core would tell.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from graphql import (
    Executor,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    is_abstract_type,
    is_leaf_type,
    is_object_type,
)
from graphql.execution.collect_fields import FragmentDetails
from strawberry.types.field import StrawberryField

Plan = Callable[[object], dict[str, Any]]
"""From the object that the root field tells to the data of the result."""
_Complete = Callable[[Any], Any]
_BACKREF = "strawberry-definition"


class UnplannedError(Exception):
    """The plan does not know this value."""


class _NoPlanError(Exception):
    """The selection is not of plain fields alone."""


def plan_of(executor: Executor[Any]) -> Plan | None:
    """The plan of the executor's operation, a subscription; None when it has none."""
    fragments = {
        name: found.definition if isinstance(found, FragmentDetails) else found
        for name, found in executor.fragments.items()
    }
    try:
        return _Planner(executor.schema, fragments).root(executor.operation)
    except _NoPlanError:
        return None


class _Planner:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments

    def root(self, operation: OperationDefinitionNode) -> Plan:
        root_type = self._schema.subscription_type
        (node, *more) = operation.selection_set.selections
        if root_type is None or more or not isinstance(node, FieldNode) or node.directives or operation.directives:
            raise _NoPlanError
        key, tell = _key(node), self._completer(root_type.fields[node.name.value].type, [node])
        return lambda value: {key: tell(value)}

    def _completer(self, output: GraphQLOutputType, nodes: Sequence[FieldNode]) -> _Complete:
        if isinstance(output, GraphQLNonNull):
            return _present(self._nullable(output.of_type, nodes))
        complete = self._nullable(output, nodes)
        return lambda value: None if value is None else complete(value)

    def _nullable(self, output: Any, nodes: Sequence[FieldNode]) -> _Complete:
        if is_leaf_type(output):
            serialize: _Complete = output.serialize
            return serialize
        sets = [node.selection_set for node in nodes if node.selection_set]
        if is_object_type(output):
            return self._object(output, sets)
        if is_abstract_type(output):
            return self._abstract([self._planned(each, sets) for each in self._schema.get_possible_types(output)])
        raise _NoPlanError  # a list

    def _planned(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> tuple[type, _Complete]:
        return output.extensions[_BACKREF].origin, self._object(output, sets)

    def _abstract(self, planned: Sequence[tuple[type, _Complete]]) -> _Complete:
        by_type = dict(planned)

        def complete(value: object) -> Any:
            plan = by_type.get(type(value))
            if plan is None:
                raise UnplannedError
            return plan(value)

        return complete

    def _object(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> _Complete:
        by_key: dict[str, list[FieldNode]] = {}
        for node in self._selected(output, sets):
            by_key.setdefault(_key(node), []).append(node)
        fields = [(key, *self._field(output, nodes)) for key, nodes in by_key.items()]
        return lambda value: {key: complete(get(value)) for key, get, complete in fields}

    def _field(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> tuple[_Complete, _Complete]:
        name = nodes[0].name.value
        if name == "__typename":
            return (lambda _: output.name), str
        if name.startswith("__") or any(node.arguments or node.directives for node in nodes):
            raise _NoPlanError
        field = output.fields[name]
        return _getter(field), self._completer(field.type, nodes)

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


def _present(complete: _Complete) -> _Complete:
    def present(value: Any) -> Any:
        if value is None:
            raise UnplannedError
        return complete(value)

    return present


def _getter(field: GraphQLField) -> _Complete:
    declared = field.extensions.get(_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or field.args:
        raise _NoPlanError
    resolver = declared.base_resolver
    if resolver is None:
        return attrgetter(declared.python_name)
    resolve = resolver.wrapped_func
    if resolver.is_async or not callable(resolve) or len(inspect.signature(resolve).parameters) != 1:
        raise _NoPlanError
    return resolve
