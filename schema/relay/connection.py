"""Relay connections: their arguments, their pages and their GraphQL types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

import strawberry

from db.sql.keyset import Edge as KeysetEdge
from db.sql.keyset import Page, Position
from domain.errors import InvalidArgumentError
from resolvers.cursors import decode_position, encode_position
from schema.fields import Info, columns_of, field, selects

T = TypeVar("T")

MAX_PAGE = 1_000
"""Largest number of rows on one page."""
DEFAULT_PAGE = 100
"""Number of rows on a page without `first` and `last`."""

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"The number of items from the start: 0 to {MAX_PAGE}. Default: {DEFAULT_PAGE}, unless `last` is "
        "given. Not together with `last`. With 0, the page is empty: useful to read only `totalCount`."
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Return the items after this cursor. Default: from the start.")
]
Last = Annotated[
    int | None,
    strawberry.argument(description=f"The number of items from the end: 0 to {MAX_PAGE}. Not together with `first`."),
]
Before = Annotated[
    str | None, strawberry.argument(description="Return the items before this cursor. Default: up to the end.")
]
Limit = Annotated[
    int | None,
    strawberry.argument(
        description="Stop counting at this number, at least 1, for a display such as 10,000+. Default: count all."
    ),
]


class Ordered(Protocol):
    """The order of the rows of a connection."""

    @property
    def ordering(self) -> int:
        """The number by which cursors name the order."""
        ...

    async def has_more(self, edge: KeysetEdge, /) -> bool:
        """True if a row follows `edge`."""
        ...

    async def count(self, limit: int | None, /) -> int:
        """Returns the number of rows, at most `limit`."""
        ...

    def position(self, row: Any, /) -> Position:
        """Returns the position of a row."""
        ...


class OrderedRows(Ordered, Protocol):
    """The rows of a connection, in their order."""

    async def page(self, columns: frozenset[str], page: Page, /) -> Sequence[Any]:
        """Returns the rows of a page, with `columns`."""
        ...


@dataclass(frozen=True, slots=True)
class PageArguments:
    """The arguments of a connection, as the client gave them."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def page(self, ordering: int) -> Page:
        """Returns the page, with one row more than requested: if that row exists, there are more.

        Raises:
            InvalidArgumentError: a size is out of range, or both are given.
            InvalidCursorError: a cursor is damaged or belongs to another ordering.
        """
        if self.first is not None and self.last is not None:
            raise InvalidArgumentError("Give `first` or `last`, not both.")
        for name, value in (("first", self.first), ("last", self.last)):
            if value is not None and not 0 <= value <= MAX_PAGE:
                raise InvalidArgumentError(f"`{name}` must be from 0 to {MAX_PAGE}, got {value}.")
        size = next((size for size in (self.last, self.first) if size is not None), DEFAULT_PAGE)
        after = decode_position(ordering, self.after) if self.after is not None else None
        before = decode_position(ordering, self.before) if self.before is not None else None
        return Page(size + 1, after, before, backward=self.last is not None)


class ConnectionPage:
    """A page of a connection. Whether rows precede or follow it is read only when a client selects that."""

    def __init__(self, source: Ordered, page: Page, rows: Sequence[Any]) -> None:
        self._source = source
        self._page = page
        self._has_extra_row = len(rows) == page.limit
        if self._has_extra_row:
            rows = rows[1:] if page.backward else rows[:-1]
        self.rows = rows

    def cursor(self, row: Any) -> str:
        """Returns the cursor of `row`."""
        return encode_position(self._source.ordering, self._source.position(row))

    async def has_next(self) -> bool:
        """True if rows follow the page."""
        if not self._page.backward and self._has_extra_row:
            return True
        # The page reaches to the end of its range, and that is the end of the list unless a cursor bounds it.
        return self._page.before is not None and await self._has_more(before=False)

    async def has_previous(self) -> bool:
        """True if rows precede the page."""
        if self._page.backward and self._has_extra_row:
            return True
        return self._page.after is not None and await self._has_more(before=True)

    async def _has_more(self, *, before: bool) -> bool:
        if self.rows:
            position = self._source.position(self.rows[0 if before else -1])
            return await self._source.has_more(KeysetEdge(position, before=before))
        # An empty page lies between its cursors; the row at the cursor itself is outside of it.
        bound = self._page.after if before else self._page.before
        return bound is not None and await self._source.has_more(KeysetEdge(bound, before=before, inclusive=True))


@strawberry.type(description="The position of a page in its connection.")
class PageInfo:
    """The position of a page in its connection."""

    page: strawberry.Private[ConnectionPage]

    @field("True if more items follow the page.")
    async def has_next_page(self) -> bool:
        return await self.page.has_next()

    @field("True if more items precede the page.")
    async def has_previous_page(self) -> bool:
        return await self.page.has_previous()

    @field("The cursor of the first item on the page; null if the page is empty.")
    def start_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[0]) if self.page.rows else None

    @field("The cursor of the last item on the page; null if the page is empty.")
    def end_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[-1]) if self.page.rows else None


@strawberry.type(description="An item of a connection, with its cursor.")
class Edge(Generic[T]):
    """An item of a connection, with its cursor."""

    node: T = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="The position of the item in this list. Pass it as `after` or `before`.")


@strawberry.type(description="A page of a list, as the Relay specification defines it.")
class Connection(Generic[T]):
    """A page of a list."""

    of: strawberry.Private[type]
    source: strawberry.Private[OrderedRows]
    page: strawberry.Private[ConnectionPage | None]

    @field("The items of the page, each with its cursor.")
    def edges(self) -> list[Edge[T]]:
        page = self._loaded_page
        return [Edge(node=self.of(row=row), cursor=page.cursor(row)) for row in page.rows]

    @field("The items of the page, without cursors.")
    def nodes(self) -> list[T]:
        return [self.of(row=row) for row in self._loaded_page.rows]

    @field("The position of the page in its connection.")
    def page_info(self) -> PageInfo:
        return PageInfo(page=self._loaded_page)

    @field("The number of items on all pages. They are counted only if this field is selected.")
    async def total_count(self, limit: Limit = None) -> int:
        if limit is not None and limit < 1:
            raise InvalidArgumentError(f"`limit` must be at least 1, got {limit}.")
        return await self.source.count(limit)

    @property
    def _loaded_page(self) -> ConnectionPage:
        assert self.page is not None  # `connect` has read it, because a field of it is selected.
        return self.page


async def connect(info: Info, of: type[T], source: OrderedRows, arguments: PageArguments) -> Connection[T]:
    """Returns the connection of type `of` over `source`. Its page is read if the client selects a field of it."""
    page = None
    if selects(info, "nodes", "edges", "pageInfo"):
        columns = columns_of(info, of, "nodes") | columns_of(info, of, "edges", "node")
        bounds = arguments.page(source.ordering)
        is_read = bounds.limit > 1 or selects(info, "pageInfo")
        page = ConnectionPage(source, bounds, await source.page(columns, bounds) if is_read else ())
    return Connection[of](of=of, source=source, page=page)  # type: ignore[valid-type]
