"""The input requests that a viewer can see, as single requests and as lists over all runs."""

from dataclasses import replace

from db.row_types import InputRequestRow
from db.runs.waits import inbox
from domain import ids
from domain.ids import IdKind
from domain.runs.input_request_filter import InputRequestFilter
from resolvers import authorize
from resolvers.context import Context
from resolvers.lists import TextRowList

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


def list_of(context: Context, where: InputRequestFilter, *, descending: bool) -> TextRowList:
    """Returns the input requests that match a filter and that the viewer can see, in the order of their creation."""
    return TextRowList(context.database, inbox.LISTINGS[descending], scoped(context, where), _ORDERINGS[descending])
