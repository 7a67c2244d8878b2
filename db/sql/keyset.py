"""Keyset pagination: a page begins at the position of a row, not at a number of rows.

A page costs the same however deep it is, and rows that are inserted while a client pages move no other row.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Connection, Select, and_, bindparam, func, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.models.types import EPOCH, Timestamp, from_microseconds, to_microseconds
from db.sql.rows import fetch_all


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a row in an order: its sort value (0 in an order by ID alone) and its ID."""

    value: int
    id: UUID


@dataclass(frozen=True, slots=True)
class Edge:
    """One side of a position: the rows before it (`before`) or after it."""

    position: Position
    before: bool
    inclusive: bool = False
    """True if the row at the position itself belongs to this side."""


_COMPARISONS: dict[tuple[bool, bool], Callable[[Any, Any], Any]] = {
    (True, False): operator.gt,
    (True, True): operator.ge,
    (False, False): operator.lt,
    (False, True): operator.le,
}
"""The comparison of keys: by whether greater keys match, and whether equal ones do."""


@dataclass(frozen=True, slots=True)
class Page:
    """The size, bounds and direction of a page."""

    limit: int
    after: Position | None = None
    before: Position | None = None
    backward: bool = False
    """True for the last `limit` rows between the bounds, False for the first ones."""

    @property
    def is_bounded(self) -> bool:
        """True if the page begins or ends at a position."""
        return self.after is not None or self.before is not None


class SearchBound(FunctionElement[bool]):
    """A condition that follows from another one, only for SQLite: PostgreSQL would count it as a further
    restriction."""

    inherit_cache = True
    name = "search_bound"
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Returns the element itself."""
        return self


@compiles(SearchBound, "postgresql")
def _search_bound_postgresql(_: SearchBound, __: SQLCompiler, **___: Any) -> str:
    return "true"


@compiles(SearchBound, "sqlite")
def _search_bound_sqlite(element: SearchBound, compiler: SQLCompiler, **kw: Any) -> str:
    (condition,) = element.clauses
    return compiler.process(condition, **kw)


@dataclass(frozen=True, slots=True)
class Keyset:
    """An order of rows by `sort` (None: by `id` alone), then by `id`."""

    id: ColumnElement[Any]
    sort: ColumnElement[Any] | None
    descending: bool

    def page(self, conn: Connection, query: Select[Any], page: Page) -> Sequence[Any]:
        """Returns the rows of `query` on the page, in order, also if the page is read backward."""
        return in_order(fetch_all(conn, self.slice(query, page)), page)

    def has_more(self, conn: Connection, query: Select[Any], edge: Edge) -> bool:
        """True if `query` has a row on this side."""
        query = query.where(self.beyond(edge)).order_by(*self.order(backward=edge.before)).limit(1)
        return conn.execute(query).first() is not None

    def slice(self, query: Select[Any], page: Page) -> Select[Any]:
        """Returns `query` restricted to the page. The rows of a backward page are in reverse order."""
        query = query.where(*self.within(page))
        return query.order_by(*self.order(backward=page.backward)).limit(page.limit)

    def within(self, page: Page) -> list[ColumnElement[bool]]:
        """Returns the conditions of rows between the bounds of `page`."""
        edges = []
        if page.after is not None:
            edges.append(Edge(page.after, before=False))
        if page.before is not None:
            edges.append(Edge(page.before, before=True))
        return [self.beyond(edge) for edge in edges]

    def order(self, *, backward: bool = False) -> Sequence[ColumnElement[Any]]:
        """Returns the columns of the ORDER BY; with `backward`, of the reversed order."""
        keys = [self.id] if self.sort is None else [self.sort, self.id]
        return [column.desc() if self.descending is not backward else column.asc() for column in keys]

    def beyond(self, edge: Edge) -> ColumnElement[bool]:
        """Returns the condition of rows on this side."""
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
        # SQLite searches no index for a row comparison whose first part is an expression.
        bound: Callable[[Any, Any], Any] = operator.ge if compare in (operator.gt, operator.ge) else operator.le
        return and_(
            compare(left, right), SearchBound(bound(self.sort, bindparam(None, value, self.sort.type, unique=True)))
        )


def in_order(rows: Sequence[Any], page: Page) -> Sequence[Any]:
    """Returns the rows of `page` in their order: those of a backward page are read in reverse."""
    return rows[::-1] if page.backward else rows


def count_up_to(conn: Connection, query: Select[Any], limit: int | None) -> int:
    """Returns the number of rows of `query`. Counting stops at `limit`; None: no limit."""
    if limit is not None:
        query = query.limit(limit)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def sort_value(row: object, column: str | None) -> int:
    """Returns the sort value in `column` of `row`, in the form of `Position`. Null has the smallest one.

    A column of milliseconds has its own value, a column of instants microseconds since 1970.
    """
    if column is None:
        return 0
    value = getattr(row, column)
    if column == "duration_ms":
        return -1 if value is None else int(value)
    return to_microseconds(value or EPOCH)
