"""Many keys in a statement with one parameter, however many there are.

`IN` with a parameter for each is another statement for each number of them, and takes longer to write than to execute.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Boolean, ColumnElement, Dialect, Text, Uuid, bindparam, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


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
    """Whether a column has one of the keys in a parameter."""

    inherit_cache = True
    name = "among"
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """It is a comparison: SQLite would search no index for `(… IN …) = 1`, which others become there."""
        return self


@compiles(AnyOf, "postgresql")
def _any_of_postgresql(element: AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, keys = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({keys})"


@compiles(AnyOf, "sqlite")
def _any_of_sqlite(element: AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, keys = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({keys}))"  # noqa: S608 - made of what the compiler gives


def any_of(column: ColumnElement[Any], keys: Sequence[UUID] | str) -> AnyOf:
    """Whether `column` has one of `keys`, or of those in the parameter of that name."""
    if isinstance(keys, str):
        return AnyOf(column, bindparam(keys, type_=_Keys()))
    return AnyOf(column, bindparam(None, list(keys), type_=_Keys(), unique=True))


def rows_of(keys: Sequence[UUID], dialect: str) -> ColumnElement[UUID]:
    """A column of a source of its own, with a row for each of `keys`."""
    given = bindparam(None, list(keys), type_=_Keys(), unique=True)
    if dialect == "sqlite":
        column: ColumnElement[UUID] = func.json_each(given).table_valued("value").c.value
        return column
    return func.unnest(given, type_=Uuid()).column_valued("value")
