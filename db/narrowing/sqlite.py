"""SQLite's indexes: the runs that one of them finds for a filter. SQLite keeps no distribution of values, so each field
with an index is asked about."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    Uuid,
    column,
    intersect,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy import table as sql_table

from db import text_indexes
from db.core.terms import is_shortened
from db.models import FlowRun, FlowVersion, Project
from db.models.types import table
from db.narrowing import candidates, ranges, terms
from db.narrowing.candidates import MANY
from db.narrowing.terms import SAFE_LIST, TERM
from db.runs.filter import matches
from db.search import queries as texts
from db.sql.keyset import count_up_to
from domain import ids
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import LIVE

_run = table(FlowRun).c
_project = table(Project).c
_version = table(FlowVersion).c


# The planner uses that index instead of reading each run.
_IS_NOT_ARCHIVED = text(
    "NOT EXISTS (SELECT 1 FROM flow_run INDEXED BY ix_run_archived WHERE flow_run.project_id = run_term.project_id"
    " AND flow_run.archived_at IS NOT NULL AND flow_run.id = run_term.run_id)"
)


_ERROR_TEXT = sql_table(text_indexes.ERROR_TEXT, column("run_id", Uuid()))
_MOST = 50_000
"""Size of an index's part up to which it is intersected with others."""
_INTERSECTED = 3
"""Number of indexes that are intersected, at most."""


def fewest(conn: Connection, where: RunFilter, now: datetime, most: int) -> Sequence[UUID] | None:
    """Returns the fewest runs among which one of SQLite's indexes finds all that match; None if they are more than
    `most`, or `MANY` in the parts of an `or`."""
    queries = (conn.execute(query.limit(most + 1)).scalars().all() for query in _queries(conn, where))
    found = candidates.fewest(queries, most)
    if found is not None and not found:
        return found
    if where.or_ is not None and (keys_of_parts := _of_parts(conn, where, now)) is not None:
        found = keys_of_parts if found is None else min(found, keys_of_parts, key=len)
    return found


def intersection(conn: Connection, where: RunFilter, of_order: Select[Any]) -> CompoundSelect[Any] | None:
    """Returns the query for the runs that the smallest indexes have in common, which all that match are among; None if
    each index finds many, or no fewer than there are in the order, `of_order`."""
    sized = []
    for query in _queries(conn, where):
        size = count_up_to(conn, query, _MOST + 1)
        if size <= _MOST:
            sized.append((size, query))
    smallest = sorted(sized, key=lambda each: each[0])[:_INTERSECTED]
    if not smallest or count_up_to(conn, of_order, smallest[0][0] + 1) <= smallest[0][0]:
        return None
    return intersect(*(query for _, query in smallest))


def _of_parts(conn: Connection, where: RunFilter, now: datetime) -> Sequence[UUID] | None:
    """Returns the runs among which indexes find all that match one of the filters in `or`; None if they are more than
    `MANY`."""

    def keys_of(part: RunFilter) -> Sequence[UUID] | None:
        own = replace(part.without_blanks().at(now).positive(), project_ids=where.project_ids)
        return fewest(conn, own, now, MANY) if own.ids is None else own.ids

    return candidates.union(map(keys_of, where.or_ or ()), MANY)


def within_terms(conn: Connection, where: RunFilter) -> RunFilter:
    """Returns the filter with bounds of time within which all runs with its tags and its metadata were created."""
    extent = terms.extent(conn, where, candidates.projects(conn, where)) if terms.has_terms(where) else None
    if extent is None:
        return where
    first, last = extent
    if last < first:
        return replace(where, ids=())
    after, before = ids.created_at(first), ids.created_at(last) + timedelta(milliseconds=1)
    return replace(
        where,
        created_after=after if where.created_after is None else max(after, where.created_after),
        created_before=before if where.created_before is None else min(before, where.created_before),
    )


def runs_of_term(conn: Connection, where: RunFilter) -> Select[Any] | None:
    """Returns the query for the runs that match the filter, if one term is equivalent to it: SQLite counts terms
    quickly."""
    if conn.dialect.name != "sqlite" or where.ids is not None or where.archived is Archived.ONLY:
        return None
    of_projects = RunFilter(project_ids=where.project_ids, archived=where.archived)
    own = [term for (term,) in terms.sets(RunFilter(tags=where.tags, metadata=where.metadata))]
    if len(own) != 1 or is_shortened(own[0]):
        return None
    if where not in (replace(of_projects, tags=where.tags), replace(of_projects, metadata=where.metadata)):
        return None
    projects = where.project_ids if where.project_ids is not None else select(_project.id)
    query = select(TERM.run_id).where(TERM.term == own[0], TERM.project_id.in_(projects))
    if where.archived is Archived.INCLUDE:
        return query
    return query.where(_IS_NOT_ARCHIVED)


def _queries(conn: Connection, where: RunFilter) -> Iterator[Select[Any]]:
    """Yields the queries that SQLite's indexes can answer for the filter."""
    projects = where.project_ids if where.project_ids is not None else select(_project.id)
    in_projects = _run.project_id.in_(projects)

    for one_of in terms.sets(where):
        yield select(TERM.run_id).where(TERM.term.in_(one_of), TERM.project_id.in_(projects))
    for has_term in terms.ranges(conn, where):
        yield select(TERM.run_id).where(*has_term, TERM.project_id.in_(projects))
    if (part := candidates.indexed_error(conn, where)) is not None:
        has_text = literal_column(text_indexes.ERROR_TEXT).op("MATCH")(texts.phrase_of(part))
        yield select(_ERROR_TEXT.c.run_id).where(has_text)
    if where.search is not None:
        yield texts.runs_with(where.search, "sqlite").distinct()
    # In each of these indexes the ID follows the value, so the runs with one value are in the order of creation.
    for column_, values in (
        (_run.status, where.statuses),
        (_run.trigger_method, where.trigger_methods),
        (_run.failed_step_name, None if where.failed_step_name is None else [where.failed_step_name]),
        (_run.error_fingerprint, None if where.error_fingerprint is None else [where.error_fingerprint]),
        (_run.external_id, where.external_ids),
        (_run.source, where.sources),
        (_run.source, where.schedule_ids),
        (_run.source, where.webhook_ids),
        # Only live runs wait.
        (_run.status, None if where.waiting_for is None else sorted(LIVE)),
    ):
        if values is not None and len(values) <= SAFE_LIST:
            yield select(_run.id).where(in_projects, column_.in_(values))
    if where.flow_ids is not None and len(where.flow_ids) <= SAFE_LIST:
        yield select(_run.id).where(_run.flow_id.in_(where.flow_ids))
    if where.archived is Archived.ONLY:
        yield select(_run.id).where(in_projects, _run.archived_at.is_not(None))
    yield from _related(where)
    yield from _ranges(where, in_projects)
    yield from _durations(where, in_projects)


def _related(where: RunFilter) -> Iterator[Select[Any]]:
    """Yields the queries for runs of a version, and for relatives of a run."""
    if where.flow_version_ids is not None:
        of_flows = select(_version.flow_id).where(_version.id.in_(where.flow_version_ids))
        yield select(_run.id).where(_run.flow_id.in_(of_flows))
    for relative, run_id in (
        (_run.parent_run_id, where.parent_run_id),
        (_run.retry_of_id, where.retry_of_id),
        (_run.rerun_of_id, where.rerun_of_id),
    ):
        if run_id is not None:
            yield select(_run.id).where(relative == run_id)
    if where.root_run_id is not None:
        of_family = RunFilter(root_run_id=where.root_run_id, archived=Archived.INCLUDE)
        yield select(_run.id).where(matches(of_family, "sqlite"))


def _ranges(where: RunFilter, in_projects: Any) -> Iterator[Select[Any]]:
    """Yields the queries for ranges of time."""
    created = RunFilter(
        archived=Archived.INCLUDE, created_after=where.created_after, created_before=where.created_before
    )
    if not created.matches_all:
        yield select(_run.id).where(in_projects, matches(created, "sqlite"))
    for _, bounds in ranges.of_times(where):
        yield select(_run.id).where(in_projects, *bounds)


def _durations(where: RunFilter, in_projects: Any) -> Iterator[Select[Any]]:
    """Yields the query for a range of durations; the runs that have not ended are among its result."""
    if ended := ranges.of_durations(where):
        has_not_ended = ranges.DURATION == ranges.NOT_ENDED
        live = select(_run.id).where(in_projects, has_not_ended, _run.started_at.is_not(None))
        both = union_all(select(_run.id).where(in_projects, *ended), live).subquery()
        yield select(both.c.id)
