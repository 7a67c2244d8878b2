"""Statements that select the JSON texts of rows."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto  # whose UUIDs are made in a sixth of the time
from sqlalchemy import and_, true

from db.core.pg_rows import PLANNED_WITH_VALUES
from db.models.types import to_microseconds
from db.row_json.dialects import DIALECTS
from db.row_json.writer import Object, Writer, number_parameters
from db.sql.clause_text import ClauseText, Recent, clause_text
from db.sql.keyset import Keyset, Page, Position

_KEPT_STATEMENTS = 64
"""Largest number of statements of one selection that are kept: one for each form of its filter, its order and its
page."""


class Statement(NamedTuple):
    """A statement and its arguments, for `Database.fetch`."""

    text: str
    arguments: Sequence[object]


class Slice(NamedTuple):
    """The rows that a statement selects, and their order."""

    conditions: Sequence[ClauseText]
    order: str = ""
    limit: int | None = None
    is_planned_with_values: bool = False
    """True if PostgreSQL must plan the statement each time: see `db.core.pg_rows.PLANNED_WITH_VALUES`."""


class RowTexts:
    """Selections over the rows of one table: each yields a JSON text for each row."""

    def __init__(self, table: str, objects: Sequence[Object], dialect: str) -> None:
        self.table = table
        self.dialect = dialect
        self.count = len(objects)
        self._sql = DIALECTS[dialect]
        writer = Writer(self._sql)
        texts = [f"{writer.object(selected, table)} AS text{number}" for number, selected in enumerate(objects)]
        self._columns = ", ".join(texts)
        self._statements: Recent[object, tuple[str, Sequence[str]]] = Recent(_KEPT_STATEMENTS)

    @property
    def size(self) -> int:
        """Returns the number of characters of the SQL."""
        return len(self._columns)

    def select(self, further: str, rows: Slice, values: Mapping[str, object]) -> Statement:
        """Returns the statement that selects the texts, followed by the columns `further`, of some rows.

        `values` are the values of the parameters in the selections: `now`, and arguments.
        """
        key = (further, tuple(condition.text for condition in rows.conditions), *rows[1:])
        found = self._statements.find(key)
        if found is None:
            found = self._statements.put(key, number_parameters(self._text(further, rows), self._sql))
        text, names = found
        given = dict(values)
        for condition in rows.conditions:
            given.update(condition.values)
        return Statement(text, [given[name] for name in names])

    def _text(self, further: str, rows: Slice) -> str:
        columns = ", ".join(part for part in (self._columns, further) if part)
        where = " AND ".join(f"({condition.text})" for condition in rows.conditions)
        text = f"SELECT {columns} FROM {self.table} WHERE {where}"  # noqa: S608 - names of ours
        if rows.is_planned_with_values:
            text = PLANNED_WITH_VALUES + text
        if rows.order:
            text += f" ORDER BY {rows.order}"
        return text if rows.limit is None else f"{text} LIMIT {rows.limit}"


def page_slice(name: Hashable, keyset: Callable[[], Keyset], condition: ClauseText, page: Page, dialect: str) -> Slice:
    """Returns the slice of the rows that match `condition` on a page; those of a backward page are in reverse order.

    `name` names the order that `keyset` returns.
    """
    order = _orders.get((name, dialect, page.backward))
    if order is None:
        columns = keyset().order(backward=page.backward)
        order = ", ".join(clause_text(column, dialect).text for column in columns)
        _orders[name, dialect, page.backward] = order
    if page.after is None and page.before is None:
        return Slice([condition], order, page.limit)
    bounds = clause_text(and_(true(), *keyset().within(page)), dialect, "b")
    # SQLite walks by the first of several bounds: those of the filter are wider.
    return Slice([bounds, condition], order, page.limit)


_orders: dict[tuple[Hashable, str, bool], str] = {}
"""The columns of each ORDER BY."""


def by_keys(texts: RowTexts, scope: str, keys: Sequence[UUID], values: Mapping[str, object]) -> Statement:
    """Returns the statement for the rows with these IDs: their texts, the column or expression `scope`, their IDs."""
    if len(keys) == 1:
        condition = ClauseText(f"{texts.table}.id = «key»", {"key": key_value(texts.dialect, keys[0])})
    else:
        text = DIALECTS[texts.dialect].any_key(f"{texts.table}.id", "key")
        condition = ClauseText(text, {"key": keys_value(texts.dialect, keys)})
    return texts.select(f"{scope}, {texts.table}.id", Slice([condition]), values)


def key_value(dialect: str, key: UUID) -> object:
    """Returns a key in the type of the driver."""
    return key.hex if dialect == "sqlite" else key


def keys_value(dialect: str, keys: Sequence[UUID]) -> object:
    """Returns several keys as one argument of the driver."""
    return "[" + ",".join(f'"{key.hex}"' for key in keys) + "]" if dialect == "sqlite" else list(keys)


def read_key(value: Any) -> UUID:
    """Returns the key for a value of the driver."""
    key: UUID = pgproto.UUID(value) if isinstance(value, str) else value
    return key


def instant_value(dialect: str, instant: datetime) -> object:
    """Returns an instant in the type of the driver."""
    return to_microseconds(instant) if dialect == "sqlite" else instant


def position(column: str | None, value: Any, key: Any) -> Position:
    """Returns the position of a row, given its sort value and its ID in the types of the driver."""
    if column is None:
        return Position(0, read_key(key))
    if column == "duration_ms":
        return Position(-1 if value is None else value, read_key(key))
    if value is None or isinstance(value, int):
        return Position(value or 0, read_key(key))
    return Position(to_microseconds(value), read_key(key))
