"""Searches PostgreSQL's indexes of times and durations for a filter of runs, in the order of the index.

In a list by another order the planner cannot use them, and walks that order past every run that does not match.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select

from db import projects
from db.models import FlowRun, FlowVersion
from db.models.types import EPOCH, sort_key, table
from db.narrowing import candidates
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_version = table(FlowVersion).c
_Index = tuple[ColumnElement[Any], Sequence[Sequence[ColumnElement[bool]]]]
"""The key of an index after the project, and the bounds of ranges of it."""
DURATION = sort_key(_run.duration_ms)
"""The key of the index of durations."""
NOT_ENDED = -1
"""The key of a run that has not ended."""


def is_searchable(where: RunFilter) -> bool:
    """True if the filter has a range of times or durations, or a version, and belongs to a few projects."""
    values = (
        *(where.started_after, where.started_before, where.finished_after, where.finished_before),
        *(where.started_within, where.finished_within, where.updated_within),
        *(where.updated_after, where.updated_before, where.min_duration_ms, where.max_duration_ms),
        where.flow_version_ids,
    )
    is_of_few = where.project_ids is not None and len(where.project_ids) <= projects.FEW
    return is_of_few and any(value is not None for value in values)


def fewest(conn: Connection, where: RunFilter, most: int) -> Sequence[UUID] | None:
    """Returns the fewest runs among which an index finds all that match; None if each finds more than `most`.

    Durations before the present instant have become instants.
    """
    if where.project_ids is None or not is_searchable(where):
        return None
    if where.flow_version_ids is not None:
        of_versions = select(_version.id).where(_version.id.in_(where.flow_version_ids)).limit(1)
        if conn.execute(of_versions).first() is None:
            return ()
    indexes = (_found(conn, index, where.project_ids, most) for index in _indexes(where))
    found = candidates.fewest(indexes, most)
    return None if found is None else tuple(found)


def _found(conn: Connection, index: _Index, project_ids: Sequence[UUID], most: int) -> Sequence[UUID]:
    """Returns the runs in the ranges of an index, up to one more than `most`."""
    key, ranges = index
    found: list[UUID] = []
    for project_id, bounds in product(project_ids, ranges):
        # Without the order, the planner may read the table from its beginning.
        runs = select(_run.id).where(_run.project_id == project_id, *bounds).order_by(key, _run.id)
        found += conn.execute(runs.limit(most + 1 - len(found))).scalars()
        if len(found) > most:
            break
    return found


def of_times(where: RunFilter) -> Iterator[tuple[ColumnElement[Any], Sequence[ColumnElement[bool]]]]:
    """Yields the key of an index, and the bounds of its range, for each range of times but that of creation."""
    for key, after, before in (
        (sort_key(_run.started_at), where.started_after, where.started_before),
        (sort_key(_run.finished_at), where.finished_after, where.finished_before),
        (_run.updated_at, where.updated_after, where.updated_before),
    ):
        if after is not None or before is not None:
            bounds = [key > EPOCH if after is None else key >= after]
            yield key, [*bounds, *([] if before is None else [key < before])]


def of_durations(where: RunFilter) -> Sequence[ColumnElement[bool]]:
    """Returns the bounds of the range of durations of runs that have ended; empty if the filter has none."""
    least, most = where.min_duration_ms, where.max_duration_ms
    if least is None and most is None:
        return ()
    return [(least or 0) <= DURATION, *([] if most is None else [most >= DURATION])]


def _indexes(where: RunFilter) -> Iterator[_Index]:
    """Yields each index with the ranges in which all runs that match are."""
    for key, bounds in of_times(where):
        yield key, [bounds]
    if ended := of_durations(where):
        yield DURATION, [ended, [DURATION == NOT_ENDED]]
