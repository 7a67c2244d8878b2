"""PostgreSQL's indexes: the runs that one of them finds for a filter, where the planner does not know how many they
are, or would not use the index."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from db.models import FlowRun
from db.models.types import Folded, table
from db.narrowing import candidates, ranges, values
from db.narrowing.candidates import FEW, MANY
from db.runs.filter import matches
from db.search import queries as texts
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter

_table = table(FlowRun)
_run = _table.c


_SAMPLE = 300
"""Number of newest runs that are searched for a text before its index is used: PostgreSQL reads every row with the
text."""


_COMMON = 5
"""Number of runs of the sample from which a text counts as common."""


def narrow(conn: Connection, where: RunFilter) -> RunFilter:
    if where.search is not None and (named := _searched(conn, where.search, where.project_ids)) is not None:
        return replace(where, ids=named)
    if (few := values.fewest(conn, where, MANY)) is not None:
        return replace(where, ids=few)
    if (few := _parts_by_index(conn, where)) is not None:
        return replace(where, ids=few)
    if (few := ranges.fewest(conn, where, FEW)) is not None:
        return replace(where, ids=few)
    if (part := candidates.indexed_error(conn, where)) is not None:
        folded = Folded(_run.error_folded, _run.error_message)
        has_text = _run.error_message.is_not(None)
        # The sample uses a condition without LIKE; the index serves only LIKE.
        by_index = and_(has_text, folded.contains(part, autoescape=True))
        sampled = RunFilter(error_contains=where.error_contains)
        keys = _by_index(conn, where.project_ids, sampled, by_index, of_sample=has_text)
    elif where.any_tags is not None and len(where.any_tags) > 1:
        # The planner overestimates the number of runs with several tags.
        keys = _by_index(conn, where.project_ids, RunFilter(any_tags=where.any_tags))
    else:
        return where
    return where if keys is None else replace(where, ids=keys)


def _by_index(
    conn: Connection,
    project_ids: Sequence[UUID] | None,
    sampled: RunFilter,
    by_index: ColumnElement[bool] | None = None,
    *,
    of_sample: ColumnElement[bool] | None = None,
) -> Sequence[UUID] | None:
    """Returns the runs that match a filter, which a GIN index of PostgreSQL serves; None if they are not few.

    `by_index` is the condition that the index serves, if it differs; `of_sample` that of the newest runs, which are
    looked at first.
    """
    condition = matches(replace(sampled, archived=Archived.INCLUDE), "postgresql")
    of_projects = true() if project_ids is None else _run.project_id.in_(project_ids)
    newest = select(condition.label("hit")).where(of_projects, true() if of_sample is None else of_sample)
    hits = newest.order_by(_run.id.desc()).limit(_SAMPLE).subquery().c.hit
    if conn.execute(select(func.count()).where(hits)).scalar_one() >= _COMMON:
        return None
    # The query is planned as if all of it were read: otherwise the limit would make the planner walk the table.
    all_by_index = select(_run.id, _run.project_id).where(condition if by_index is None else by_index)
    found = all_by_index.cte("found").prefix_with("MATERIALIZED")
    query = select(found.c.id).limit(MANY + 1)
    if project_ids is not None:
        query = query.where(found.c.project_id.in_(project_ids))
    keys = conn.execute(query).scalars().all()
    return tuple(keys) if len(keys) <= MANY else None


def _parts_by_index(conn: Connection, where: RunFilter) -> Sequence[UUID] | None:
    """Returns the runs among which PostgreSQL's indexes find all that match one of the filters in `or`; None if they
    are not few, or no index serves a part."""
    # The planner overestimates the number of runs with one of several rare tags.
    if not are_served(where.or_ or ()):
        return None

    def keys_of(part: RunFilter) -> Sequence[UUID] | None:
        if values.is_searchable(part):
            return values.fewest(conn, replace(part, project_ids=where.project_ids), MANY)
        return _by_index(conn, where.project_ids, _in_gin_index(part))

    return candidates.union(map(keys_of, where.or_ or ()), MANY)


def are_served(parts: Sequence[RunFilter]) -> bool:
    """True if PostgreSQL has an index to find the runs of each part of an `or`."""
    return bool(parts) and all(values.is_searchable(part) or not _in_gin_index(part).matches_all for part in parts)


def _in_gin_index(part: RunFilter) -> RunFilter:
    """Returns what the GIN indexes serve of a filter."""
    return RunFilter.part(tags=part.tags, any_tags=part.any_tags, metadata=part.metadata)


def _searched(conn: Connection, text: str, project_ids: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Returns the runs of which a text contains `text`, on PostgreSQL; None if they are not few."""
    of_projects = true() if project_ids is None else _run.project_id.in_(project_ids)
    condition = matches(RunFilter(search=text, archived=Archived.INCLUDE), "postgresql")
    newest = select(condition.label("hit")).select_from(_table).where(of_projects).order_by(_run.id.desc())
    hits = newest.limit(_SAMPLE).subquery().c.hit
    if conn.execute(select(func.count()).where(hits)).scalar_one() >= _COMMON:
        return None
    found = texts.runs_with(text, "postgresql").distinct().cte("found").prefix_with("MATERIALIZED")
    query = select(found.c.run_id).limit(MANY + 1)
    if project_ids is not None:
        query = query.where(found.c.run_id == _run.id, of_projects)
    keys = conn.execute(query).scalars().all()
    return tuple(keys) if len(keys) <= MANY else None
