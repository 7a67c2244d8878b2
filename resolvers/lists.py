"""Lists of rows, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.core.database import Database
from db.sql.keyset import Edge, Page, Position
from db.sql.listing import Listing


@dataclass(frozen=True, slots=True)
class RowList:
    """The rows of a listing that match a scoped filter, newest first."""

    database: Database
    listing: Listing[Any]
    where: Any
    ordering: int
    """The number by which cursors name the order."""

    async def page(self, columns: frozenset[str], page: Page) -> Sequence[Any]:
        """Returns the rows of a page."""
        return await self.database.read(self.listing.page, columns, self.where, page)

    async def has_more(self, edge: Edge) -> bool:
        """True if a row follows `edge`."""
        return await self.database.read(self.listing.has_more, self.where, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of rows, at most `limit`."""
        return await self.database.read(self.listing.count, self.where, limit)

    def position(self, row: Any) -> Position:
        """Returns the position of a row."""
        return Position(0, row.id)
