"""Lists of rows, in the order of their creation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.core.database import Database
from db.row_json import statements
from db.row_json.listing import TextListing
from db.row_json.statements import RowTexts
from db.sql.keyset import Edge, Page, Position, in_order
from db.sql.listing import Listing


@dataclass(frozen=True, slots=True)
class RowList:
    """The rows of a listing that match a scoped filter."""

    database: Database
    listing: Listing[Any]
    where: Any
    ordering: int
    """The number by which cursors name the order."""

    async def page(self, columns: Collection[str], page: Page) -> Sequence[Any]:
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


@dataclass(frozen=True, slots=True)
class TextRowList(RowList):
    """The rows of a listing that match a scoped filter, as rows or as JSON texts."""

    listing: TextListing[Any]

    async def texts(
        self, texts: RowTexts, page: Page, values: Mapping[str, object], *, placed: bool
    ) -> Sequence[Sequence[Any]]:
        """Returns the rows of a page as JSON texts; with `placed`, each text is followed by ID and sort value."""
        statement = self.listing.page_texts(texts, self.where, page, values, placed=placed)
        return in_order(await self.database.fetch(*statement), page)

    def text_position(self, key: UUID, value: Any) -> Position:
        """Returns the position of a row in the result of `texts`."""
        return statements.position(None, value, key)
