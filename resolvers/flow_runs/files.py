"""The files of runs that a viewer can see."""

from db.row_types import FileRow
from db.runs.output import files
from domain import ids
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context
from resolvers.flow_runs import runs


async def get(context: Context, file_id: str, columns: frozenset[str]) -> FileRow | None:
    """Returns the file `file_id`; None if the viewer can see no such file.

    Raises:
        InvalidIdError: `file_id` is not the ID of a file.
        ForbiddenError: the viewer has no access to payloads.
    """
    authorize.require_payloads(context.viewer)
    row = await context.loaders.load(files.by_ids, ids.decode(IdKind.FILE, file_id), columns | {"run_id"})
    if row is not None and context.viewer.scope is not None:
        return row if row.run_id in await runs.in_scope(context, [row.run_id]) else None
    return row if authorize.can_see(context.viewer, row) else None
