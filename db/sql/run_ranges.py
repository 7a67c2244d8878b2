"""Searches PostgreSQL's indexes of times and durations for a filter of runs, in the order of the index.

In a list by another order the planner cannot use them, and walks that order past every run that does not match.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, select

from db.models import FlowRun, FlowVersion
from db.models.types import EPOCH, sort_key, table
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_version = table(FlowVersion).c
_NOT_ENDED = -1
"""The sort key of the duration of a run that has not ended."""


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
    if not is_searchable(where):
        return None
    if where.flow_version_ids is not None:
        of_versions = select(_version.id).where(_version.id.in_(where.flow_version_ids)).limit(1)
        if conn.execute(of_versions).first() is None:
            return ()
    found: Sequence[UUID] | None = None
    for parts in _queries(where):
        keys = [key for part in parts for key in conn.execute(part.limit(most + 1)).scalars()]
        if len(keys) <= most and (found is None or len(keys) < len(found)):
            found = keys
    return None if found is None else tuple(found)


def _queries(where: RunFilter) -> Iterator[Sequence[Select[Any]]]:
    """Yields the queries of each index: together they find all runs that match."""
    assert where.project_ids is not None
    of_project = _run.project_id == where.project_ids[0]

    def in_order(key: ColumnElement[Any], *bounds: ColumnElement[bool]) -> Select[Any]:
        # Without the order, the planner may read the table from its beginning.
        return select(_run.id).where(of_project, *bounds).order_by(key, _run.id)

    for key, after, before in (
        (sort_key(_run.started_at), where.started_after, where.started_before),
        (sort_key(_run.finished_at), where.finished_after, where.finished_before),
        (_run.updated_at, where.updated_after, where.updated_before),
    ):
        if after is not None or before is not None:
            bounds = [key > EPOCH if after is None else key >= after]
            yield [in_order(key, *bounds, *([] if before is None else [key < before]))]
    least, most = where.min_duration_ms, where.max_duration_ms
    if least is not None or most is not None:
        length = sort_key(_run.duration_ms)
        ended = [length >= (least or 0), *([] if most is None else [length <= most])]
        yield [in_order(length, *ended), in_order(length, length == _NOT_ENDED)]
