"""The runs that a viewer can see, as single runs and as lists."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from db.row_json.statements import RowTexts, position
from db.row_types import RunRow
from db.runs import reads
from db.runs import texts as run_texts
from db.sql.keyset import Edge, Page, Position, in_order, sort_value
from domain import ids
from domain.errors import RunNotFoundError
from domain.ids import IdKind
from domain.runs import scope
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from resolvers import authorize
from resolvers.context import Context

_ORDERINGS = {
    RunOrder(field, descending): 2 * number + descending
    for number, field in enumerate(RunOrderField)
    for descending in (False, True)
}
"""The number by which a cursor names each ordering."""

CHILDREN = "parent_run_id"
RETRIES = "retry_of_id"
RERUNS = "rerun_of_id"
_OLDEST_FIRST = RunOrder(descending=False)
OLDEST_FIRST_ORDERING = _ORDERINGS[_OLDEST_FIRST]
"""The number by which cursors name the order of linked runs."""


async def get(context: Context, run_id: str, columns: frozenset[str]) -> RunRow | None:
    """Returns the run `run_id`; None if the viewer can see no such run.

    Raises:
        InvalidIdError: `run_id` is not the ID of a run.
    """
    row = await context.loaders.load(reads.by_ids, ids.decode(IdKind.RUN, run_id), columns)
    return row if row is not None and await is_visible(context, row) else None


async def is_visible(context: Context, run: RunRow) -> bool:
    """True if the viewer can see the run, whose ID and project have been read."""
    if context.viewer.scope is None:
        return authorize.can_see(context.viewer, run)
    return run.id in await in_scope(context, [run.id])


async def in_scope(context: Context, run_ids: Sequence[UUID]) -> Collection[UUID]:
    """Returns the runs among `run_ids` that the access token in use can see."""
    where = scoped(context, RunFilter.part())
    return await context.database.read(reads.matching, run_ids, where)


async def get_existing(context: Context, run_id: str, columns: frozenset[str]) -> RunRow:
    """Returns the run `run_id`.

    Raises:
        InvalidIdError: `run_id` is not the ID of a run.
        RunNotFoundError: the viewer can see no such run.
    """
    run = await get(context, run_id, columns)
    if run is None:
        raise RunNotFoundError
    return run


def scoped(context: Context, where: RunFilter) -> RunFilter:
    """Returns `where`, restricted to the runs that the viewer can see.

    Raises:
        ForbiddenError: the filter searches payloads, and the viewer must not read them.
    """
    viewer = context.viewer
    if where.searched:
        authorize.require_payloads(viewer)
    if viewer.scope is not None:
        where = scope.confined(where, viewer.scope)
    return replace(where, project_ids=authorize.own_projects(viewer, where.project_ids))


@dataclass(frozen=True, slots=True)
class RunList:
    """The runs that match a scoped filter, in an order."""

    context: Context
    where: RunFilter
    order: RunOrder

    @property
    def ordering(self) -> int:
        """The number by which cursors name the order."""
        return _ORDERINGS[self.order]

    async def page(self, columns: Collection[str], page: Page) -> Sequence[RunRow]:
        """Returns the runs of a page."""
        return await self.context.database.read(reads.page, columns, self.where, self.order, page)

    async def texts(
        self, texts: RowTexts, page: Page, values: Mapping[str, object], *, placed: bool
    ) -> Sequence[Sequence[Any]]:
        """Returns the rows of a page as JSON texts; with `placed`, each text is followed by ID and sort value of its
        run."""
        database, where = self.context.database, self.where
        if reads.needs_narrowing(database, where, self.order, page):
            where = await database.read(reads.narrowed_page, where, self.order, page)
        statement = run_texts.page(texts, where, self.order, page, values, placed=placed)
        return in_order(await database.fetch(*statement), page)

    def text_position(self, key: Any, value: Any) -> Position:
        """Returns the position of a run in the result of `texts`."""
        return position(reads.SORT_COLUMNS[self.order.field], value, key)

    async def has_more(self, edge: Edge) -> bool:
        """True if a run follows `edge`."""
        return await self.context.database.read(reads.has_more, self.where, self.order, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of runs, at most `limit`."""
        return await self.context.database.read(reads.count, self.where, limit)

    def position(self, row: RunRow) -> Position:
        """Returns the position of a run."""
        return Position(sort_value(row, reads.SORT_COLUMNS[self.order.field]), row.id)


@dataclass(frozen=True, slots=True)
class LinkedRuns:
    """The runs whose column `link` names the run `owner`, oldest first. Reads are batched over owners."""

    context: Context
    link: str
    owner: UUID

    @property
    def ordering(self) -> int:
        """The number by which cursors name the order."""
        return OLDEST_FIRST_ORDERING

    async def page(self, columns: Collection[str], page: Page) -> Sequence[RunRow]:
        """Returns the runs of a page."""
        load = self.context.loaders.load
        return await load(reads.pages_by, self.owner, self.link, columns, _OLDEST_FIRST, page) or []

    async def has_more(self, edge: Edge) -> bool:
        """True if a run follows `edge`."""
        load = self.context.loaders.load
        return bool(await load(reads.owners_with_more, (self.owner, edge), self.link, _OLDEST_FIRST))

    async def count(self, limit: int | None) -> int:
        """Returns the number of runs, at most `limit`."""
        number = await self.context.loaders.load(reads.counts_by, self.owner, self.link) or 0
        return number if limit is None else min(number, limit)

    def position(self, row: RunRow) -> Position:
        """Returns the position of a run."""
        return Position(0, row.id)


@dataclass(frozen=True, slots=True)
class TriggeredRuns:
    """The runs that match a scoped filter, newest first. Reads are batched over filters, such as one for each
    schedule."""

    context: Context
    where: RunFilter

    @property
    def ordering(self) -> int:
        """The number by which cursors name the order."""
        return _ORDERINGS[RunOrder()]

    async def page(self, columns: Collection[str], page: Page) -> Sequence[RunRow]:
        """Returns the runs of a page."""
        return await self.context.loaders.load(reads.pages_of, self.where, columns, page) or []

    async def has_more(self, edge: Edge) -> bool:
        """True if a run follows `edge`."""
        return bool(await self.context.loaders.load(reads.with_more, (self.where, edge)))

    async def count(self, limit: int | None) -> int:
        """Returns the number of runs, at most `limit`."""
        return await self.context.loaders.load(reads.counts_of, self.where, limit) or 0

    def position(self, row: RunRow) -> Position:
        """Returns the position of a run."""
        return Position(0, row.id)
