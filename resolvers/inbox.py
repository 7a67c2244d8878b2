"""The input requests that a viewer can see, as single requests and as lists over all runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from db.row_json.statements import RowTexts, position
from db.row_types import InputRequestRow
from db.runs import inbox
from db.sql.keyset import Edge, Page, Position, in_order
from domain import ids
from domain.ids import IdKind
from domain.runs.input_request_filter import InputRequestFilter
from resolvers import authorize
from resolvers.context import Context

_ORDERINGS = {True: 80, False: 81}
"""The numbers by which cursors name the orders; True: the newest request comes first."""


async def get(context: Context, request_id: str, columns: frozenset[str]) -> InputRequestRow | None:
    """Returns the input request `request_id`; None if the viewer can see no such request.

    Raises:
        InvalidIdError: `request_id` is not the ID of an input request.
    """
    row = await context.loaders.load(inbox.by_ids, ids.decode(IdKind.INPUT_REQUEST, request_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


def scoped(context: Context, where: InputRequestFilter) -> InputRequestFilter:
    """Returns `where`, restricted to the projects that the viewer can see."""
    visible = authorize.visible_projects(context.viewer, where.project_ids)
    return replace(where, project_ids=None if visible is None else tuple(visible))


class InputRequestList:
    """The input requests that match a filter and that the viewer can see, in the order of their creation."""

    def __init__(self, context: Context, where: InputRequestFilter, *, descending: bool) -> None:
        self._database = context.database
        self._where = scoped(context, where)
        self._descending = descending
        self.ordering = _ORDERINGS[descending]

    async def page(self, columns: Collection[str], page: Page) -> Sequence[InputRequestRow]:
        """Returns the requests of a page."""
        return await self._database.read(inbox.page, columns, self._where, page, descending=self._descending)

    async def texts(
        self, texts: RowTexts, page: Page, values: Mapping[str, object], *, placed: bool
    ) -> Sequence[Sequence[Any]]:
        """Returns the rows of a page as JSON texts; with `placed`, each text is followed by ID and sort value of its
        request."""
        statement = inbox.page_texts(texts, self._where, page, values, descending=self._descending, placed=placed)
        return in_order(await self._database.fetch(*statement), page)

    def text_position(self, key: Any, value: Any) -> Position:
        """Returns the position of a request in the result of `texts`."""
        return position(None, value, key)

    async def has_more(self, edge: Edge) -> bool:
        """True if a request follows `edge`."""
        return await self._database.read(inbox.has_more, self._where, edge, descending=self._descending)

    async def count(self, limit: int | None) -> int:
        """Returns the number of requests, at most `limit`."""
        return await self._database.read(inbox.count, self._where, limit)

    def position(self, row: InputRequestRow) -> Position:
        """Returns the position of a request."""
        return Position(0, row.id)
