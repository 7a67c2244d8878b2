"""Runs among which an index finds all that match a filter, so that a read may look at these alone."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import Connection, select

from db import text_indexes
from db.models import Project
from db.models.types import table
from domain.runs.run_filter import RunFilter
from domain.text import fold

FEW = 500
"""Runs up to this number are read by their keys, in any order: that takes a few milliseconds."""
MANY = 2_000
"""The same limit where a walk would be long: in searches on PostgreSQL, and for the parts of an `or` on SQLite, where
the extent of each part says little about the whole."""
TRIGRAM = 3
"""Smallest number of characters of a text that an index of texts can find."""


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


def projects(conn: Connection, where: RunFilter) -> Sequence[UUID]:
    """Returns the projects whose runs the filter may match."""
    if where.project_ids is not None:
        return where.project_ids
    return conn.execute(select(table(Project).c.id)).scalars().all()


def indexed_error(conn: Connection, where: RunFilter) -> str | None:
    """Returns the folded text that errors must contain, if an index of texts finds it."""
    part = fold(where.error_contains or "")
    return part if len(part) >= TRIGRAM and text_indexes.existed_recently(conn) else None
