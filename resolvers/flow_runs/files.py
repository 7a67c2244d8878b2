"""The files that a viewer sees."""

from db.row_types import FileRow
from db.runs import files
from domain import ids
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context


async def get(context: Context, file_id: str, columns: frozenset[str]) -> FileRow | None:
    """Returns the file `file_id`; None if the viewer sees no such file.

    Raises:
        InvalidIdError: `file_id` is not the ID of a file.
    """
    row = await context.loaders.load(files.by_ids, ids.decode(IdKind.FILE, file_id), columns)
    return row if authorize.can_see(context.viewer, row) else None
