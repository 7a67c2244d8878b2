"""Keyset pagination: a page begins where a row was, not at a count of rows.

It costs the same however deep the page is, and rows that appear while somebody pages move nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, tuple_

from db.models.types import EPOCH, Timestamp, from_microseconds, to_microseconds
from db.rows import AnyRow


@dataclass(frozen=True, slots=True)
class Position:
    """Where a row stands in an order: its sort value (0 where the order is that of IDs alone), and its ID."""

    value: int
    id: UUID


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

    def after(self, position: Position) -> ColumnElement[bool]:
        """Rows behind `position`."""
        return self._beyond(position, greater=not self.descending)

    def before(self, position: Position) -> ColumnElement[bool]:
        """Rows in front of `position`."""
        return self._beyond(position, greater=self.descending)

    def order(self, *, backward: bool = False) -> Sequence[ColumnElement[Any]]:
        """The ORDER BY; `backward` gives it from the end."""
        keys = [self.id] if self.sort is None else [self.sort, self.id]
        return [column.desc() if self.descending is not backward else column.asc() for column in keys]

    def slice(self, query: Select[Any], page: Page) -> Select[Any]:
        """`query` cut down to `page`. Of a backward page the rows come last first."""
        if page.after is not None:
            query = query.where(self.after(page.after))
        if page.before is not None:
            query = query.where(self.before(page.before))
        return query.order_by(*self.order(backward=page.backward)).limit(page.limit)

    def _beyond(self, position: Position, *, greater: bool) -> ColumnElement[bool]:
        if self.sort is None:
            return self.id > position.id if greater else self.id < position.id
        value = from_microseconds(position.value) if isinstance(self.sort.type, Timestamp) else position.value
        left = tuple_(self.sort, self.id)
        right = tuple_(
            bindparam(None, value, type_=self.sort.type, unique=True),
            bindparam(None, position.id, type_=self.id.type, unique=True),
        )
        return left > right if greater else left < right


def sort_value(row: AnyRow, column: str | None) -> int:
    """The sort value in `column` of `row`, as `Position` holds it; that of "not yet" is the smallest."""
    if column is None:
        return 0
    value = getattr(row, column)
    if column == "duration_ms":
        return -1 if value is None else int(value)
    return to_microseconds(value or EPOCH)
