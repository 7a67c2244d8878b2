"""Declarations of fields over rows, and the columns that a selection needs.

A field declares which columns of its row it reads. `columns_of` unites those of the fields that a query selects: no
other column is read from the database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import strawberry
from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.types import Info as StrawberryInfo
from strawberry.types.base import StrawberryObjectDefinition, get_object_definition
from strawberry.utils.str_converters import to_camel_case

from domain import ids
from domain.ids import IdKind
from resolvers.context import Context
from schema.scalars import raw_json

Info = StrawberryInfo[Context, None]
F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = "columns"
"""The key of a field's columns in its metadata."""


def column(
    source: str, description: str, *, convert: Callable[[Any], Any] | None = None, name: str | None = None
) -> Any:
    """Declares a field over the column `source` of the row. A value that is not null is converted by `convert`."""

    def plain(root: Any) -> Any:
        return getattr(root.row, source)

    def converted(root: Any) -> Any:
        value = getattr(root.row, source)
        return None if value is None else convert(value)  # type: ignore[misc]

    resolver = converted if convert else plain
    return strawberry.field(resolver=resolver, name=name, description=description, metadata={COLUMNS: (source,)})


def id_column(kind: IdKind, description: str) -> Any:
    """Declares the field `id` of a node."""
    return column("id", description, convert=lambda key: ids.encode(kind, key))


def json_column(name: str, description: str) -> Any:
    """Declares a field over JSON text in the column `name`, which is sent without being parsed."""
    return column(name, description, convert=raw_json)


def field(description: str, *columns: str, name: str | None = None, graphql_type: Any = None) -> Callable[[F], F]:
    """Declares a field with a resolver that reads `columns` of its row.

    Its type is that of the resolver's result, unless `graphql_type` names another.
    """
    declare = strawberry.field(
        name=name, description=description, metadata={COLUMNS: columns}, graphql_type=graphql_type
    )
    return cast("Callable[[F], F]", declare)


def type_named(info: StrawberryInfo[Any, Any], name: str) -> type:
    """Returns the class of an object type of the schema, for a module that the type's module imports."""
    definition = info.schema.get_type_by_name(name)
    assert isinstance(definition, StrawberryObjectDefinition)
    return definition.origin


def columns_of(info: StrawberryInfo[Any, Any], of: type, *path: str) -> frozenset[str]:
    """Returns the columns that the fields need which a client selects on the type `of`.

    `path` leads from the field of `info` to the selections of that type, such as `edges`, `node`.
    """
    by_field = _columns_by_field(of)
    names = {node.name.value for node in _selected(info, _below(info, path))}
    return frozenset(column for name in names for column in by_field.get(name, ()))


def selects(info: StrawberryInfo[Any, Any], *names: str) -> bool:
    """True if a client selects one of the fields `names` below the field of `info`."""
    return any(node.name.value in names for node in _selected(info, _below(info, ())))


@cache
def _columns_by_field(of: type) -> Mapping[str, tuple[str, ...]]:
    definition = get_object_definition(of, strict=True)
    return {
        field.graphql_name or to_camel_case(field.python_name): tuple(field.metadata.get(COLUMNS, ()))
        for field in definition.fields
    }


def _below(info: StrawberryInfo[Any, Any], path: Iterable[str]) -> list[SelectionSetNode]:
    sets = [node.selection_set for node in info._raw_info.field_nodes if node.selection_set]  # noqa: SLF001
    for name in path:
        sets = [node.selection_set for node in _selected(info, sets) if node.name.value == name and node.selection_set]
    return sets


def _selected(info: StrawberryInfo[Any, Any], sets: Iterable[SelectionSetNode]) -> Iterator[FieldNode]:
    fragments: Mapping[str, FragmentDefinitionNode] = info._raw_info.fragments  # noqa: SLF001
    for selection_set in sets:
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from _selected(info, [node.selection_set])
            elif isinstance(node, FragmentSpreadNode):
                yield from _selected(info, [fragments[node.name.value].selection_set])
