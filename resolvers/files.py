"""Reads of the files that runs produced."""

from collections.abc import Sequence
from uuid import UUID

from db.runs import files
from db.sql.rows import AnyRow
from domain import ids
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context

Columns = frozenset[str]


async def of_run(context: Context, run_id: UUID, columns: Columns) -> Sequence[AnyRow]:
    """The files of a run, oldest first; batched over runs."""
    return await context.loaders.load(files.by_runs, run_id, columns) or []


async def get(context: Context, file_id: str, columns: Columns) -> AnyRow | None:
    """The file `file_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `file_id` is not the ID of a file.
    """
    row = await context.loaders.load(files.by_ids, ids.decode(IdKind.FILE, file_id), columns)
    return row if authorize.can_see(context.viewer, row) else None
