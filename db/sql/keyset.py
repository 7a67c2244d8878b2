"""Keyset pagination: a page begins where a row was, not at a count of rows.

It costs the same however deep the page is, and rows that appear while somebody pages move nothing.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, tuple_

from db.models.types import EPOCH, Timestamp, from_microseconds, to_microseconds
from db.sql.rows import AnyRow


@dataclass(frozen=True, slots=True)
class Position:
    """Where a row stands in an order: its sort value (0 where the order is that of IDs alone), and its ID."""

    value: int
    id: UUID


@dataclass(frozen=True, slots=True)
class Edge:
    """One side of a position: the rows in front of it (`before`) or behind it."""

    position: Position
    before: bool
    inclusive: bool = False


_COMPARISONS: dict[tuple[bool, bool], Callable[[Any, Any], Any]] = {
    (True, False): operator.gt,
    (True, True): operator.ge,
    (False, False): operator.lt,
    (False, True): operator.le,
}
"""By whether rows with greater keys are meant, and whether equal ones are too."""


@dataclass(frozen=True, slots=True)
class Page:
    """How many rows, from where, and in which direction."""

    limit: int
    after: Position | None = None
    before: Position | None = None
    backward: bool = False
    """Take the last `limit` rows of the range instead of the first."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """An order of rows by `sort` (None: by `id` alone), then `id`."""

    id: ColumnElement[Any]
    sort: ColumnElement[Any] | None
    descending: bool

    def within(self, page: Page) -> list[ColumnElement[bool]]:
        """Rows between the cursors of `page`."""
        edges = []
        if page.after is not None:
            edges.append(Edge(page.after, before=False))
        if page.before is not None:
            edges.append(Edge(page.before, before=True))
        return [self.beyond(edge) for edge in edges]

    def order(self, *, backward: bool = False) -> Sequence[ColumnElement[Any]]:
        """The ORDER BY; `backward` gives it from the end."""
        keys = [self.id] if self.sort is None else [self.sort, self.id]
        return [column.desc() if self.descending is not backward else column.asc() for column in keys]

    def slice(self, query: Select[Any], page: Page) -> Select[Any]:
        """`query` cut down to `page`. Of a backward page the rows come last first."""
        query = query.where(*self.within(page))
        return query.order_by(*self.order(backward=page.backward)).limit(page.limit)

    def beyond(self, edge: Edge) -> ColumnElement[bool]:
        """Rows beyond `edge`."""
        position = edge.position
        compare: Callable[[Any, Any], ColumnElement[bool]] = _COMPARISONS[
            edge.before is self.descending, edge.inclusive
        ]
        if self.sort is None:
            return compare(self.id, position.id)
        value: Any = from_microseconds(position.value) if isinstance(self.sort.type, Timestamp) else position.value
        left = tuple_(self.sort, self.id)
        right = tuple_(
            bindparam(None, value, type_=self.sort.type, unique=True),
            bindparam(None, position.id, type_=self.id.type, unique=True),
        )
        return compare(left, right)


def sort_value(row: AnyRow, column: str | None) -> int:
    """The sort value in `column` of `row`, as `Position` holds it; that of "not yet" is the smallest."""
    if column is None:
        return 0
    value = getattr(row, column)
    if column == "duration_ms":
        return -1 if value is None else int(value)
    return to_microseconds(value or EPOCH)
