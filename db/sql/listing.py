"""Lists of all rows of a table that match a filter, in the order of their creation."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, select

from db.sql.keyset import Edge, Keyset, Page, count_up_to
from db.sql.rows import select_columns
from domain.time import clock

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Listing(Generic[F]):
    """The rows of a table by a filter, newest first unless `descending` is False."""

    table: Table
    matches: Callable[[F, datetime], ColumnElement[bool]]
    """Returns the condition for a filter at an instant."""
    descending: bool = True

    def page(self, conn: Connection, columns: Collection[str], where: F, page: Page) -> Sequence[Any]:
        """Returns the matching rows of one page."""
        query = select(*select_columns(self.table, columns)).where(self.matches(where, clock.now()))
        return self.keyset.page(conn, query, page)

    def has_more(self, conn: Connection, where: F, edge: Edge) -> bool:
        """True if a matching row follows `edge`."""
        return self.keyset.has_more(conn, select(self.table.c.id).where(self.matches(where, clock.now())), edge)

    def count(self, conn: Connection, where: F, limit: int | None) -> int:
        """Returns the number of matching rows. Counting stops at `limit`."""
        return count_up_to(conn, select(self.table.c.id).where(self.matches(where, clock.now())), limit)

    @property
    def keyset(self) -> Keyset:
        """The order of the rows."""
        return Keyset(self.table.c.id, None, self.descending)
