"""Runs among which an index finds all that match a filter, so that a read may look at these alone."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import Connection, select

from db.models import Project
from db.models.types import table

FEW_PROJECTS = 20
"""Number of projects up to which each is searched by a part of its own."""

_project = table(Project).c


def fewest(found: Iterable[Sequence[UUID]], most: int) -> Sequence[UUID] | None:
    """Returns the shortest of these results, at the latest an empty one; None if each has more than `most` runs."""
    shortest: Sequence[UUID] | None = None
    for keys in found:
        if len(keys) <= most and (shortest is None or len(keys) < len(shortest)):
            shortest = keys
        if not keys:
            break
    return shortest


def union(parts: Iterable[Sequence[UUID] | None], most: int) -> Sequence[UUID] | None:
    """Returns the runs of all parts, each once; None if they are more than `most`, or a part is None."""
    found: dict[UUID, None] = {}
    for keys in parts:
        if keys is None or len(found) + len(keys) > most:
            return None
        found |= dict.fromkeys(keys)
    return tuple(found)


def few_projects(conn: Connection, project_ids: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Returns the projects of a filter, by default all; None if they are more than `FEW_PROJECTS`."""
    if project_ids is None:
        project_ids = conn.execute(select(_project.id).limit(FEW_PROJECTS + 1)).scalars().all()
    return project_ids if len(project_ids) <= FEW_PROJECTS else None
