"""Relay connections."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from db.sql.rows import AnyRow
from domain.errors import InvalidArgumentError
from resolvers.pagination import ConnectionPage, PageArguments
from schema.fields import Info, columns_of, field, selects

T = TypeVar("T")

First = Annotated[
    int | None, strawberry.argument(description="How many to return from the start: 1 to 1000, by default 100.")
]
After = Annotated[str | None, strawberry.argument(description="Return what follows this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many to return from the end: 1 to 1000.")]
Before = Annotated[str | None, strawberry.argument(description="Return what precedes this cursor.")]


@strawberry.type(description="What lies around a page.")
class PageInfo:
    """What lies around a page."""

    page: strawberry.Private[ConnectionPage]

    @field("Whether more follow the page.")
    async def has_next_page(self) -> bool:
        return await self.page.has_next()

    @field("Whether more precede the page.")
    async def has_previous_page(self) -> bool:
        return await self.page.has_previous()

    @field("The cursor of the first on the page.")
    def start_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[0]) if self.page.rows else None

    @field("The cursor of the last on the page.")
    def end_cursor(self) -> str | None:
        return self.page.cursor(self.page.rows[-1]) if self.page.rows else None


@strawberry.type(description="One of a connection.")
class Edge(Generic[T]):
    """One of a connection."""

    node: T = strawberry.field(description="The thing itself.")
    cursor: str = strawberry.field(description="Where it stands in the connection's order.")


@strawberry.type(description="A page of a longer list, by the Relay specification.")
class Connection(Generic[T]):
    """A page of a longer list."""

    page: strawberry.Private[ConnectionPage | None]
    wrap: strawberry.Private[Callable[[AnyRow], Any]]
    count: strawberry.Private[Callable[[int | None], Awaitable[int]]]

    @field("The page, each with its cursor.")
    def edges(self) -> list[Edge[T]]:
        page = self._loaded
        return [Edge(node=self.wrap(row), cursor=page.cursor(row)) for row in page.rows]

    @field("The page, without cursors.")
    def nodes(self) -> list[T]:
        return [self.wrap(row) for row in self._loaded.rows]

    @field("What lies around the page.")
    def page_info(self) -> PageInfo:
        return PageInfo(page=self._loaded)

    @field("How many there are on all pages; counted only when selected.")
    async def total_count(
        self,
        limit: Annotated[
            int | None,
            strawberry.argument(description="Stop counting here; a screen may show 10,000+."),
        ] = None,
    ) -> int:
        if limit is not None and limit < 1:
            raise InvalidArgumentError(f"`limit` must be at least 1, got {limit}.")
        return await self.count(limit)

    @property
    def _loaded(self) -> ConnectionPage:
        assert self.page is not None  # `connect` saw that it is selected
        return self.page


async def connect(
    info: Info,
    of: type[T],
    arguments: PageArguments,
    fetch: Callable[[PageArguments, frozenset[str]], Awaitable[ConnectionPage]],
    count: Callable[[int | None], Awaitable[int]],
) -> Connection[T]:
    """A connection of `of`, whose page is fetched when something on it is selected, and nothing but that."""
    columns = columns_of(info, of, "nodes") | columns_of(info, of, "edges", "node")
    wanted = selects(info, "nodes", "edges", "pageInfo")
    page = await fetch(arguments, columns) if wanted else None
    return Connection[of](page=page, wrap=lambda row: of(row=row), count=count)  # type: ignore[valid-type, call-arg]
