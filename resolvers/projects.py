"""Reads of projects."""

from db import projects
from db.rows import AnyRow
from domain import ids
from domain.ids import IdKind
from resolvers.context import Context


async def get(context: Context, project_id: str, columns: frozenset[str]) -> AnyRow | None:
    """The project `project_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
    """
    key = ids.decode(IdKind.PROJECT, project_id)
    if context.viewer.project_id not in (None, key):
        return None
    return await context.loaders.load(projects.by_ids, key, columns)
