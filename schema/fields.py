"""Declarations of fields over rows, and of the columns that a selection needs.

A field declares which columns of its row it reads. `columns_of` unites the columns of the selected fields; no other
column is read from the database.

Most fields also declare their source: how the database writes their JSON text (db/row_json). The compiled reads of
schema/compiled serve selections of such fields. A field without a source has only a resolver.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import strawberry
from graphql import FieldNode, GraphQLNonNull, GraphQLResolveInfo, SelectionSetNode
from strawberry.types import Info as StrawberryInfo
from strawberry.types.base import StrawberryObjectDefinition, get_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType
from strawberry.utils.str_converters import to_camel_case

from db.row_json.sources import Column, Form, Key, Many, Rows, Source, by_key
from domain import ids
from domain.errors import DeletedWhileReadError
from domain.ids import IdKind
from resolvers.context import Context
from schema.scalars import raw_json
from schema.selected_fields import fields_of, sets_below

Info = StrawberryInfo[Context, None]
F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = "columns"
"""The key of a field's columns in its metadata."""
SOURCE = "source"
"""The key of a field's source in its metadata."""


def column(
    source: str,
    description: str,
    *,
    convert: Callable[[Any], Any] | None = None,
    name: str | None = None,
    written: Source | None = None,
) -> Any:
    """Declares a field over the column `source` of the row. `convert` converts values that are not null.

    The GraphQL type decides how the database writes the value, unless `written` is given.
    """

    def plain(root: Any) -> Any:
        return getattr(root.row, source)

    def converted(root: Any) -> Any:
        value = getattr(root.row, source)
        return None if value is None else convert(value)  # type: ignore[misc]

    metadata = {COLUMNS: (source,), SOURCE: written or Column(source)}
    return strawberry.field(
        resolver=converted if convert else plain, name=name, description=description, metadata=metadata
    )


def id_column(kind: IdKind, description: str) -> Any:
    """Declares the field `id` of a node."""
    return column("id", description, convert=lambda key: ids.encode(kind, key), written=Key(kind.value))


def json_column(name: str, description: str) -> Any:
    """Declares a field over JSON text in the column `name`, which is sent without being parsed."""
    return column(name, description, convert=raw_json, written=Column(name, Form.JSON))


def field(
    description: str,
    *columns: str,
    name: str | None = None,
    graphql_type: Any = None,
    written: Source | None = None,
) -> Callable[[F], F]:
    """Declares a field with a resolver that reads `columns` of its row.

    The field has the type of the resolver's result, unless `graphql_type` names another. The database can write the
    field if `written` is given.
    """
    declare = strawberry.field(
        name=name,
        description=description,
        metadata={COLUMNS: columns, SOURCE: written},
        graphql_type=graphql_type,
    )
    return cast("Callable[[F], F]", declare)


def link(description: str, column: str, batch: Callable[..., Mapping[Any, Any]], table: str) -> Any:
    """Declares a field for the row of `table` whose ID is in `column`; null if the column is null, or the row deleted.

    `batch` reads such rows by their IDs, with the selected columns.
    """

    async def resolve(root: Any, info: Info) -> Any:
        key = getattr(root.row, column)
        if key is None:
            return None
        of = _row_type(info._field)  # noqa: SLF001 - the way to the field's type
        row = await info.context.loaders.load(batch, key, columns_of(info, of))
        if row is not None:
            return of(row=row)
        if isinstance(info._raw_info.return_type, GraphQLNonNull):  # noqa: SLF001
            raise DeletedWhileReadError
        return None

    metadata = {COLUMNS: (column,), SOURCE: by_key(table, column)}
    return strawberry.field(resolver=resolve, description=description, metadata=metadata)


def many(
    description: str, rows: Rows, batch: Callable[..., Mapping[Any, Sequence[Any]]], *, all_columns: bool = False
) -> Any:
    """Declares a field for the rows of another table that belong to the row, in an order.

    `batch` reads them by the columns that `rows.on` names, with the selected columns, or with `all_columns`.
    """
    own = tuple(rows.on.values())

    async def resolve(root: Any, info: Info) -> Any:
        of = _row_type(info._field)  # noqa: SLF001 - the way to the field's type
        key = getattr(root.row, own[0]) if len(own) == 1 else tuple(getattr(root.row, name) for name in own)
        further = () if all_columns else (columns_of(info, of),)
        return [of(row=row) for row in await info.context.loaders.load(batch, key, *further) or ()]

    return strawberry.field(resolver=resolve, description=description, metadata={COLUMNS: own, SOURCE: Many(rows)})


@cache
def _row_type(field: StrawberryField) -> Any:
    """Returns the class of the objects of a field."""
    found: Any = field.resolve_type()
    while hasattr(found, "of_type"):
        found = found.of_type
    return found.resolve_type() if isinstance(found, LazyType) else found


def type_named(info: StrawberryInfo[Any, Any], name: str) -> type:
    """Returns the class of an object type of the schema. For modules that the type's module imports."""
    definition = info.schema.get_type_by_name(name)
    assert isinstance(definition, StrawberryObjectDefinition)
    return definition.origin


class SharedInfo(StrawberryInfo[Any, Any]):
    """The info of a field that is resolved for many objects: the columns that it selects are found once."""

    def __init__(self, raw: GraphQLResolveInfo[Any], declared: StrawberryField) -> None:
        super().__init__(_raw_info=raw, _field=declared)
        self.columns: dict[tuple[type, tuple[str, ...]], frozenset[str]] = {}


def columns_of(info: StrawberryInfo[Any, Any], of: type, *path: str) -> frozenset[str]:
    """Returns the columns that the selected fields of the type `of` need.

    `path` leads from the field of `info` to the selections of that type, such as `edges`, `node`.
    """
    if not isinstance(info, SharedInfo):
        return _columns_of(info, of, path)
    columns = info.columns.get((of, path))
    if columns is None:
        columns = info.columns[of, path] = _columns_of(info, of, path)
    return columns


def _columns_of(info: StrawberryInfo[Any, Any], of: type, path: tuple[str, ...]) -> frozenset[str]:
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
    sets = sets_below(info._raw_info.field_nodes)  # noqa: SLF001
    for name in path:
        sets = sets_below(node for node in _selected(info, sets) if node.name.value == name)
    return sets


def _selected(info: StrawberryInfo[Any, Any], sets: Iterable[SelectionSetNode]) -> Iterator[FieldNode]:
    return fields_of(info._raw_info.fragments, sets)  # noqa: SLF001
