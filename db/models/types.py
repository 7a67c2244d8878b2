"""Column types that mean the same on both dialects, and the helpers by which models declare columns."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
from sqlalchemy import ARRAY, BigInteger, Column, Dialect, FromClause, Table, Text, Uuid
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The instant `value` microseconds after the start of 1970."""
    return EPOCH + value * _MICROSECOND


class Timestamp(TypeDecorator[datetime]):
    """An instant, to the microsecond: `timestamptz` on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else SqlDateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return to_microseconds(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return from_microseconds(value) if value is not None and dialect.name == "sqlite" else value


class Tags(TypeDecorator[list[str]]):
    """A list of words: `text[]` on PostgreSQL, where a GIN index serves it, a JSON array on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return orjson.dumps(value).decode() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> list[str] | None:
        return cast("list[str] | None", orjson.loads(value) if dialect.name == "sqlite" and value else value)


class _RawJsonb(JSONB):
    """`jsonb` that goes in and comes out as text: nobody here needs the parsed value."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class Metadata(TypeDecorator[str]):
    """JSON text that can be searched: `jsonb` on PostgreSQL, text on SQLite. Never parsed on the way out."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else _RawJsonb())


class SortKey(FunctionElement[Any]):
    """A nullable column with a value for "not yet", below every real one.

    Row comparisons, by which keyset pagination works, know no NULL. An index on this expression serves them.
    """

    inherit_cache = True
    name = "sort_key"


@compiles(SortKey, "postgresql")
def _sort_key_postgresql(element: SortKey, compiler: SQLCompiler, **kw: Any) -> str:
    (column,) = element.clauses
    missing = "TIMESTAMPTZ '1970-01-01 00:00:00+00'" if isinstance(column.type, Timestamp) else "-1"
    return f"coalesce({compiler.process(column, **kw)}, {missing})"


@compiles(SortKey, "sqlite")
def _sort_key_sqlite(element: SortKey, compiler: SQLCompiler, **kw: Any) -> str:
    (column,) = element.clauses
    missing = "0" if isinstance(column.type, Timestamp) else "-1"
    return f"coalesce({compiler.process(column, **kw)}, {missing})"


class MillisecondsUntil(FunctionElement[int]):
    """Milliseconds from the instant in a column to another, none if that is earlier; null when the column is."""

    inherit_cache = True
    name = "milliseconds_until"
    type = BigInteger()


@compiles(MillisecondsUntil, "postgresql")
def _milliseconds_postgresql(element: MillisecondsUntil, compiler: SQLCompiler, **kw: Any) -> str:
    since, until = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(extract(epoch FROM (greatest({until}, {since}) - {since})) * 1000 AS bigint)"


@compiles(MillisecondsUntil, "sqlite")
def _milliseconds_sqlite(element: MillisecondsUntil, compiler: SQLCompiler, **kw: Any) -> str:
    since, until = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((max({until}, {since}) - {since}) / 1000)"


def sort_key(column: ColumnElement[Any]) -> SortKey:
    """`column`, with "not yet" as its smallest value."""
    expression = SortKey(column)
    expression.type = column.type
    return expression


def key(*constraints: Any, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """A column that holds a UUIDv7."""
    return Column(Uuid(), *constraints, primary_key=primary_key, nullable=nullable)


def table(model: type[SQLModel]) -> Table:
    """The table behind a model, for Core statements."""
    return cast("Table", cast("FromClause", model.__table__))  # type: ignore[attr-defined]
