"""Turns selections of declared fields into the selections that the database writes (db/row_json)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    is_leaf_type,
    is_object_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from db.row_json import writer
from db.row_json.sources import Column, Computed, Count, Form, JsonMembers, Key, Many, One, Paged, SameRow, Source
from db.row_json.writer import ConnectionMember, Items, Leaf, Literal, Member, Nested, NestedConnection, Node, Object
from schema.compiled.environment import Environment, UncoveredError
from schema.fields import SOURCE
from schema.relay.connection import PageArguments

BACKREF = GraphQLCoreConverter.DEFINITION_BACKREF
"""The key under which Strawberry keeps its declarations in the extensions of types and fields."""
_FORMS: Mapping[str, Form] = {
    "String": Form.TEXT,
    "ID": Form.TEXT,
    "Int": Form.NUMBER,
    "BigInt": Form.NUMBER,
    "Boolean": Form.FLAG,
    "DateTime": Form.INSTANT,
}
"""The forms of columns, by the scalar type of the field. JSON columns name their form."""
_CURSORLESS = 0


class Planner:
    """Plans the selections of one operation. The values of arguments that SQL takes as parameters are in `values`."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.values: dict[str, Callable[..., Any]] = {}
        self.has_nested_cursors = False

    def object(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Object:
        """Returns the selection below `nodes` on rows of the type `output`."""
        return self._object(output, nodes, self._row_field)

    def edge(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Object:
        """Returns the selection of an edge, over the row of its node."""
        return self._object(output, nodes, self._edge_field)

    def _object(
        self,
        output: GraphQLObjectType,
        nodes: Sequence[FieldNode],
        member: Callable[[GraphQLObjectType, Sequence[FieldNode]], Node],
    ) -> Object:
        members: list[tuple[str, Node]] = []
        for key, selected in self._environment.fields_below(output, nodes).items():
            typename = selected[0].name.value == "__typename"
            members.append((key, Literal(f'"{output.name}"') if typename else member(output, selected)))
        return Object(tuple(members))

    def _edge_field(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Node:
        if nodes[0].name.value == "cursor":
            return writer.RowCursor()
        return writer.EdgeNode(self.object(named(output.fields["node"].type), nodes))

    def _row_field(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Node:
        name = nodes[0].name.value
        field = output.fields[name]
        source, reason = source_of(field), f"{output.name}.{name}"
        is_required = isinstance(field.type, GraphQLNonNull)
        match source:
            case None:
                raise UncoveredError(reason)
            case Column() | Computed() | Count() | Key():
                form = _form(source, field.type, reason)
                words = _words(named(field.type), reason) if form is Form.WORD and isinstance(source, Column) else ()
                return Leaf(source, form, is_required, words)
            case Paged():
                return self._connection(source, field, nodes, reason)
            case JsonMembers():
                return Nested(source, self._object(named(field.type), nodes, _json_field), is_required)
            case SameRow() | Many():
                return Nested(source, self.object(named(field.type), nodes), is_required)
            case One(_, argument):
                parameter = None if argument is None else self._parameter(field, nodes[0], argument[1])
                return Nested(source, self.object(named(field.type), nodes), is_required, parameter)

    def _parameter(self, field: GraphQLField, node: FieldNode, argument: str) -> str:
        """Returns the name of the parameter with the value of an argument."""
        name = f"a{len(self.values)}"
        environment = self._environment
        self.values[name] = lambda variables: environment.argument(field, node, argument, variables)
        return name

    def _connection(
        self, source: Paged, field: GraphQLField, nodes: Sequence[FieldNode], reason: str
    ) -> NestedConnection:
        given = self._environment.arguments(field, nodes[0])
        if given.get("after") is not None or given.get("before") is not None:
            raise UncoveredError(f"{reason}(after)")
        page = PageArguments(given.get("first"), None, given.get("last"), None).page(_CURSORLESS)
        size = writer.PageSize(page.limit - 1, page.backward)
        output: GraphQLObjectType = named(field.type)
        members = [
            (key, self._connection_member(output, selected))
            for key, selected in self._environment.fields_below(output, nodes).items()
        ]
        return NestedConnection(source, size, tuple(members))

    def _connection_member(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> ConnectionMember:
        name = nodes[0].name.value
        if name == "__typename":
            return Literal(f'"{output.name}"')
        field = output.fields[name]
        match name:
            case "nodes":
                return Items(self.object(named(field.type), nodes))
            case "edges":
                self.has_nested_cursors = True
                return Items(self.edge(named(field.type), nodes))
            case "pageInfo":
                self.has_nested_cursors = True
                return writer.PageInfo(self.page_info(named(field.type), nodes))
            case "totalCount":
                return writer.Total(self.count_limit(field, nodes))
            case _:
                raise UncoveredError(f"{output.name}.{name}")

    def count_limit(self, field: GraphQLField, nodes: Sequence[FieldNode]) -> int | None:
        """Returns the argument `limit` of a total count."""
        limit: int | None = self._environment.arguments(field, nodes[0]).get("limit")
        if limit is not None and limit < 1:
            raise UncoveredError("totalCount(limit)")
        return limit

    def page_info(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Sequence[tuple[str, str | Literal]]:
        """Returns the selected fields of a page info: keys, with the names of fields or with literals."""
        members: list[tuple[str, str | Literal]] = []
        for key, (node, *_) in self._environment.fields_below(output, nodes).items():
            name = node.name.value
            members.append((key, Literal(f'"{output.name}"') if name == "__typename" else name))
        return tuple(members)


def _json_field(output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Node:
    name = nodes[0].name.value
    if not is_leaf_type(named(output.fields[name].type)):
        raise UncoveredError(f"{output.name}.{name}")
    return Member(name)


def source_of(field: GraphQLField) -> Source | None:
    """Returns the declared source of a field."""
    declared = field.extensions.get(BACKREF)
    found: Source | None = declared.metadata.get(SOURCE) if isinstance(declared, StrawberryField) else None
    return found


def named(output: GraphQLOutputType) -> Any:
    """Returns the type without its wrappers."""
    found: Any = output
    while isinstance(found, GraphQLNonNull | GraphQLList):
        found = found.of_type
    return found


def encode(value: object) -> str:
    """Returns JSON text, as the service encodes responses."""
    return orjson.dumps(value).decode()


def _form(source: Column | Computed | Count | Key, output: GraphQLOutputType, reason: str) -> Form:
    if isinstance(source, Computed):
        return source.form
    if isinstance(source, Column) and source.form is not None:
        return source.form
    if _is_list(output):
        return Form.TAGS
    leaf = named(output)
    if is_object_type(leaf):
        raise UncoveredError(reason)
    if isinstance(leaf, GraphQLEnumType):
        return Form.WORD
    form = _FORMS.get(leaf.name)
    if form is None:
        raise UncoveredError(reason)
    return form


def _words(output: GraphQLEnumType, reason: str) -> tuple[str, ...]:
    """Returns the names of an enum, if its values in the database are the names that clients see."""
    if any(name != getattr(value.value, "value", value.value) for name, value in output.values.items()):
        raise UncoveredError(reason)
    return tuple(output.values)


def _is_list(output: GraphQLOutputType) -> bool:
    inner = output.of_type if isinstance(output, GraphQLNonNull) else output
    return isinstance(inner, GraphQLList)
