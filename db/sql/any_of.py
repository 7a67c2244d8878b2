"""`column = ANY (keys)`: a statement with one parameter for any number of keys.

`IN` with one parameter for each key is another statement for each number of keys, and takes longer to compile than to
execute.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Boolean, ColumnElement, Dialect, Text, Uuid, bindparam, func
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from db.sql.templates import write_by_templates


class _Keys(TypeDecorator[Sequence[UUID]]):
    """Many keys: `uuid[]` on PostgreSQL, a JSON array on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Uuid()))

    def process_bind_param(self, value: Sequence[UUID] | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return orjson.dumps([key.hex for key in value]).decode()


class AnyOf(FunctionElement[bool]):
    """True if a column equals one of the keys in a parameter."""

    inherit_cache = True
    name = "any_of"
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Returns the element itself: SQLAlchemy would write `(… IN …) = 1`, for which SQLite uses no index."""
        return self


write_by_templates(AnyOf, postgresql="{0} = ANY ({1})", sqlite="{0} IN (SELECT value FROM json_each({1}))")


def any_of(column: ColumnElement[Any], keys: Sequence[UUID] | str) -> AnyOf:
    """Returns the condition that `column` equals one of `keys`, or of the keys in the parameter with that name."""
    if isinstance(keys, str):
        return AnyOf(column, bindparam(keys, type_=_Keys()))
    return AnyOf(column, bindparam(None, list(keys), type_=_Keys(), unique=True))


def rows_of(keys: Sequence[UUID], dialect: str) -> ColumnElement[UUID]:
    """Returns the column of a FROM clause that has a row for each of `keys`."""
    parameter = bindparam(None, list(keys), type_=_Keys(), unique=True)
    if dialect == "sqlite":
        column: ColumnElement[UUID] = func.json_each(parameter).table_valued("value").c.value
        return column
    return func.unnest(parameter, type_=Uuid()).column_valued("value")
