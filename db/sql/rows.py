"""What reading functions return: plain rows, with the columns asked for as attributes."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Table

AnyRow = Row[*tuple[Any, ...]]
K = TypeVar("K")


def select_columns(source: Table, names: Collection[str], always: Sequence[str] = ("id",)) -> list[ColumnElement[Any]]:
    """The columns of `source` called `names`, and those called `always`."""
    # Sorted, so that one selection is one statement in SQLAlchemy's and the server's caches.
    return [source.c[name] for name in dict.fromkeys((*always, *sorted(names)))]


def group_by(rows: Iterable[AnyRow], column: str) -> Mapping[Any, list[AnyRow]]:
    """`rows` by their value in `column`, each group in the order in which the rows came."""
    groups: defaultdict[Any, list[AnyRow]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, column)].append(row)
    return groups
