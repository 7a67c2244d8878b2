"""Column types with the same meaning on both dialects, and helpers for declaring columns."""

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
    """Returns the microseconds since 1970."""
    return (instant - EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Returns the instant `value` microseconds after the start of 1970."""
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
    """A list of words: `text[]` with a GIN index on PostgreSQL, a JSON array on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return orjson.dumps(value).decode() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> list[str] | None:
        return cast("list[str] | None", orjson.loads(value) if dialect.name == "sqlite" and value else value)


class _RawJsonb(JSONB):
    """`jsonb` that is written and read as text: no caller needs the parsed value."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class Metadata(TypeDecorator[str]):
    """JSON text that can be searched: `jsonb` on PostgreSQL, text on SQLite. It is returned as text."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else _RawJsonb())


class SortKey(FunctionElement[Any]):
    """SQL expression: a nullable column, with a value below every real one instead of NULL.

    Row comparisons, which keyset pagination uses, do not order NULL. An index on this expression serves them.
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
    """SQL expression: milliseconds from the instant in a column to another one; 0 if that is earlier, NULL for NULL."""

    inherit_cache = True
    name = "milliseconds_until"
    type = BigInteger()


write_by_templates(
    MillisecondsUntil,
    postgresql="CAST(extract(epoch FROM (greatest({1}, {0}) - {0})) * 1000 AS bigint)",
    sqlite="CASE WHEN {1} <= {0} THEN 0 ELSE ({1} - {0}) / 1000 END",
)


class Latest(FunctionElement[datetime]):
    """SQL expression: the later of two instants, none of which is null."""

    inherit_cache = True
    name = "latest"
    type = Timestamp()


# SQLite prepares a statement that calls a function, and fires triggers, for an undo of its own: that takes longer than
# an update of one run.
write_by_templates(Latest, postgresql="greatest({0}, {1})", sqlite="CASE WHEN {0} >= {1} THEN {0} ELSE {1} END")


def sort_key(column: ColumnElement[Any]) -> SortKey:
    """Returns `column` with a value below every real one instead of NULL."""
    expression = SortKey(column)
    expression.type = column.type
    return expression


class Unindexed(FunctionElement[Any]):
    """SQL expression: a column for which SQLite uses no index. PostgreSQL decides by its statistics."""

    inherit_cache = True
    name = "unindexed"

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type
        self.key = column.key


# A unary plus would do, but not for partial indexes: SQLite sees through it that the column is not NULL.
write_by_templates(Unindexed, postgresql="{0}", sqlite="coalesce({0}, NULL)")


class Folded(FunctionElement[str]):
    """SQL expression: a text in lower case, from its column and from the folded form that is stored beside it.

    The indexes of texts have the same expression: see `domain.text`.
    """

    inherit_cache = True
    name = "folded"
    type = Text()


# The collation "C" lowers A to Z only, whatever the locale of the database is.
write_by_templates(Folded, postgresql='coalesce({0}, lower({1} COLLATE "C"))', sqlite="coalesce({0}, lower({1}))")


class HasText(FunctionElement[bool]):
    """SQL expression: True if the first text contains the second one exactly. No index serves it, so a planner cannot
    misjudge it."""

    inherit_cache = True
    name = "has_text"
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Returns the element itself."""
        return self


write_by_templates(HasText, postgresql="(strpos({0}, {1}) > 0)", sqlite="(instr({0}, {1}) > 0)")


def contains_folded(column: ColumnElement[Any], folded: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Returns the condition that `column`, beside which `folded` is stored, contains `text`, ignoring upper and lower
    case."""
    return HasText(Folded(folded, column), bindparam(None, fold(text), Text, unique=True))


def key(*constraints: Any, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    """Returns a column that holds a UUIDv7."""
    return Column(Uuid(), *constraints, primary_key=primary_key, nullable=nullable)


def table(model: type[SQLModel]) -> Table:
    """Returns the table of a model, for Core statements."""
    return cast("Table", cast("FromClause", model.__table__))  # type: ignore[attr-defined]
