"""Searches PostgreSQL's indexes of times and durations for a filter of runs, in the order of the index.

In a list by another order the planner cannot use them, and walks that order past every run that does not match.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, select

from db.models import FlowRun, FlowVersion
from db.models.types import EPOCH, sort_key, table
from db.narrowing import candidates
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_version = table(FlowVersion).c
DURATION = sort_key(_run.duration_ms)
"""The key of the index of durations."""
NOT_ENDED = -1
"""The key of a run that has not ended."""


def is_searchable(where: RunFilter) -> bool:
    """True if the filter has a range of times or durations, or a version, and belongs to one project."""
    values = (
        *(where.started_after, where.started_before, where.finished_after, where.finished_before),
        *(where.started_within, where.finished_within, where.updated_within),
        *(where.updated_after, where.updated_before, where.min_duration_ms, where.max_duration_ms),
        where.flow_version_ids,
    )
    is_of_one = where.project_ids is not None and len(where.project_ids) == 1
    return is_of_one and any(value is not None for value in values)


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
    found = candidates.fewest(
        (
            [key for part in parts for key in conn.execute(part.limit(most + 1)).scalars()]
            for parts in _queries(where, where.project_ids[0])
        ),
        most,
    )
    return None if found is None else tuple(found)


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


def _queries(where: RunFilter, project_id: UUID) -> Iterator[Sequence[Select[Any]]]:
    """Yields the queries of each index: together they find all runs that match."""
    of_project = _run.project_id == project_id

    def in_order(key: ColumnElement[Any], *bounds: ColumnElement[bool]) -> Select[Any]:
        # Without the order, the planner may read the table from its beginning.
        return select(_run.id).where(of_project, *bounds).order_by(key, _run.id)

    for key, bounds in of_times(where):
        yield [in_order(key, *bounds)]
    if ended := of_durations(where):
        yield [in_order(DURATION, *ended), in_order(DURATION, DURATION == NOT_ENDED)]
