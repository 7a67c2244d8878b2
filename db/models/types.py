"""Column types that mean the same on both dialects, and the helpers by which models declare columns."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Dialect, FromClause, Table, Text, Uuid, bindparam
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

from db.sql.templates import write_by_templates
from domain.text import fold

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


write_by_templates(
    MillisecondsUntil,
    postgresql="CAST(extract(epoch FROM (greatest({1}, {0}) - {0})) * 1000 AS bigint)",
    sqlite="((max({1}, {0}) - {0}) / 1000)",
)


class Latest(FunctionElement[datetime]):
    """The latest of some instants, none of which is null."""

    inherit_cache = True
    name = "latest"
    type = Timestamp()


@compiles(Latest, "postgresql")
def _latest_postgresql(element: Latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({', '.join(compiler.process(clause, **kw) for clause in element.clauses)})"


@compiles(Latest, "sqlite")
def _latest_sqlite(element: Latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({', '.join(compiler.process(clause, **kw) for clause in element.clauses)})"


def sort_key(column: ColumnElement[Any]) -> SortKey:
    """`column`, with "not yet" as its smallest value."""
    expression = SortKey(column)
    expression.type = column.type
    return expression


class Unindexed(FunctionElement[Any]):
    """A column by which SQLite does not look for an index. PostgreSQL decides by what it knows of the values."""

    inherit_cache = True
    name = "unindexed"

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type
        self.key = column.key


write_by_templates(Unindexed, postgresql="{0}", sqlite="+{0}")


class Folded(FunctionElement[str]):
    """A text in the form in which upper and lower case are the same, of its column and of that which is stored beside.

    The expression is that of the indexes of texts: see `domain.text`.
    """

    inherit_cache = True
    name = "folded"
    type = Text()


# By the collation "C" A to Z alone are lowered, whatever the locale of the database.
write_by_templates(Folded, postgresql='coalesce({0}, lower({1} COLLATE "C"))', sqlite="coalesce({0}, lower({1}))")


class HasText(FunctionElement[bool]):
    """True if the first text contains the second one, exactly. No index serves it: a planner cannot misjudge it."""

    inherit_cache = True
    name = "has_text"
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Returns the element itself."""
        return self


write_by_templates(HasText, postgresql="(strpos({0}, {1}) > 0)", sqlite="(instr({0}, {1}) > 0)")


def contains_folded(column: ColumnElement[Any], folded: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Returns the condition that `column`, beside which `folded` is stored, contains `text` in upper or lower case."""
    return HasText(Folded(folded, column), bindparam(None, fold(text), Text, unique=True))


def key(*constraints: Any, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """A column that holds a UUIDv7."""
    return Column(Uuid(), *constraints, primary_key=primary_key, nullable=nullable)


def table(model: type[SQLModel]) -> Table:
    """The table behind a model, for Core statements."""
    return cast("Table", cast("FromClause", model.__table__))  # type: ignore[attr-defined]
