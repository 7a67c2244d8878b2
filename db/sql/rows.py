"""Helpers for reads whose columns are chosen at run time."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, Row, Table

AnyRow = Row[*tuple[Any, ...]]
"""A row without a type. Rows that leave `db` have one: see db/row_types.py."""
R = TypeVar("R")


def select_columns(source: Table, names: Collection[str], always: Sequence[str] = ("id",)) -> list[ColumnElement[Any]]:
    """Returns the columns of `source` called `names`, and those called `always`."""
    # Sorted, so that one selection is one statement in the caches of SQLAlchemy and of the server.
    return [source.c[name] for name in dict.fromkeys((*always, *sorted(names)))]


def fetch_all(conn: Connection, query: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """Returns the rows of `query`. The signature of the caller declares their type."""
    return conn.execute(query, parameters).all()


def fetch_first(conn: Connection, query: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
    """Returns the first row of `query`, or None. The signature of the caller declares its type."""
    return conn.execute(query, parameters).first()


def group_by(rows: Iterable[R], column: str) -> Mapping[Any, list[R]]:
    """Returns `rows` by their value in `column`; each group keeps the order of the rows."""
    groups: defaultdict[Any, list[R]] = defaultdict(list)
    key_of = attrgetter(column)
    for row in rows:
        groups[key_of(row)].append(row)
    return groups
