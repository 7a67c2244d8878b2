"""Narrows a filter before a read: names the runs that an index finds quickly, where a planner would not use the index.

A page is the first rows of an order. A planner that does not know how rare a value is, or where in the order its runs
are, walks the order past every run that does not match. So this module first searches an index, for a bounded number of
runs. If the index has no more, the filter names them (`ids`), and the read finds them by their keys. If it has more,
matching runs are common, and the walk soon meets enough of them. The read still applies all conditions of the filter,
so a change in between has the same effect as an earlier beginning of the read.

PostgreSQL knows how rare most values are, so it is asked less than SQLite, which does not. Where no index has the
matching runs in order, the kept counts say how old the newest of them is (`db.rollups.extent`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Uuid,
    and_,
    func,
    select,
    text,
    true,
    union_all,
)

from db import text_indexes
from db.core.terms import is_shortened
from db.models import FlowRun, FlowVersion, Project
from db.models.types import Folded, table
from db.rollups import extent
from db.runs.filter import matches
from db.search import queries as texts
from db.search import switch
from db.sql import candidates, metadata_values, run_ranges, run_terms
from db.sql.keyset import Keyset, Page
from db.sql.run_terms import SAFE_LIST, TERM
from domain import ids
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import LIVE
from domain.text import fold
from domain.time import clock

_table = table(FlowRun)
_run = _table.c
_project = table(Project).c
_version = table(FlowVersion).c

FEW = 500
"""Runs up to this number are read by their keys, in any order: that takes a few milliseconds."""
MANY = 2_000
"""The same limit where a walk would be long: in searches on PostgreSQL, and for the parts of an `or` on SQLite, where
the extent of each part says little about the whole."""
_SAMPLE = 300
"""Number of newest runs that are searched for a text before its index is used: PostgreSQL reads every row with the
text."""
_COMMON = 5
"""Number of runs of the sample from which a text counts as common."""
TRIGRAM = 3
"""Smallest number of characters of a text that an index of texts can find."""
_KEPT_FILTERS = 2_000
"""Number of filters of which it is kept whether they may be narrowed."""

_ERRORS_WITH = text(
    f"SELECT run_id FROM {text_indexes.ERROR_TEXT} WHERE {text_indexes.ERROR_TEXT} MATCH :phrase LIMIT :most"  # noqa: S608
).columns(run_id=Uuid())

# The planner uses that index instead of reading each run.
_IS_NOT_ARCHIVED = text(
    "NOT EXISTS (SELECT 1 FROM flow_run INDEXED BY ix_run_archived WHERE flow_run.project_id = run_term.project_id"
    " AND flow_run.archived_at IS NOT NULL AND flow_run.id = run_term.run_id)"
)


def narrow(conn: Connection, where: RunFilter, now: datetime | None = None) -> RunFilter:
    """Returns a filter that matches the same runs. It names the runs if they are few and an index finds them.

    Durations before `now`, by default the present instant, become instants.

    Raises:
        SearchOffError: the filter searches, and the search is off or not filled yet.
    """
    now = now or clock.now()
    where = where.without_blanks().at(now).positive()
    require_search(conn, where)
    if where.ids is not None:
        return where
    if where.matches_nothing:
        return replace(where, ids=())
    if conn.dialect.name != "sqlite":
        return _narrow_on_postgresql(conn, where)
    fewest = _fewest(conn, where, now, FEW)
    return replace(where, ids=fewest) if fewest is not None else _within_terms(conn, where)


def _fewest(conn: Connection, where: RunFilter, now: datetime, most: int) -> Sequence[UUID] | None:
    """Returns the fewest runs among which one of SQLite's indexes finds all that match; None if they are more than
    `most`, or `MANY` in the parts of an `or`."""
    fewest = candidates.fewest((query(most + 1) for query in _queries(conn, where)), most)
    if fewest is not None and not fewest:
        return fewest
    if where.or_ is not None and (keys_of_parts := _of_parts(conn, where, now)) is not None:
        fewest = keys_of_parts if fewest is None else min(fewest, keys_of_parts, key=len)
    return fewest


def _of_parts(conn: Connection, where: RunFilter, now: datetime) -> Sequence[UUID] | None:
    """Returns the runs among which indexes find all that match one of the filters in `or`; None if they are more than
    `MANY`."""

    def keys_of(part: RunFilter) -> Sequence[UUID] | None:
        own = replace(part.without_blanks().at(now).positive(), project_ids=where.project_ids)
        return _fewest(conn, own, now, MANY) if own.ids is None else own.ids

    return candidates.union(map(keys_of, where.or_ or ()), MANY)


def require_search(conn: Connection, *filters: RunFilter) -> None:
    """Checks that runs can be searched, if one of the filters searches.

    Raises:
        SearchOffError
    """
    if any(where.searched for where in filters):
        switch.require(conn)


def narrowed(conn: Connection, where: RunFilter, now: datetime, *, reads_all: bool = True) -> ColumnElement[bool]:
    """Returns the condition of the runs that match the filter, narrowed; see `db.runs.filter.matches`.

    Raises:
        SearchOffError: see `narrow`.
    """
    return matches(narrow(conn, where, now), conn.dialect.name, now, reads_all=reads_all)


@lru_cache(_KEPT_FILTERS)
def may_narrow(where: RunFilter, dialect: str, sorted_by: str | None) -> bool:
    """Returns False if `narrow_page` would return the filter unchanged, so that most lists need no search."""
    if where.searched:
        return True
    if where.ids is not None:
        return False
    created = where.created_after is not None or where.created_before is not None
    is_restricted, is_sorted = _is_restricted(where), sorted_by is not None
    if _spans_projects(where) and (is_sorted or is_restricted):
        return True
    if dialect != "sqlite":
        several_tags = where.any_tags is not None and len(where.any_tags) > 1
        by_value = metadata_values.is_searchable(where) or _are_served(where.or_ or ())
        searches = bool(where.error_contains) or several_tags or by_value or run_ranges.is_searchable(where)
        return searches or extent.is_searchable(where) or (is_sorted and created)
    return (is_restricted and (is_sorted or not _is_in_one_index(where))) or (is_sorted and created)


def _is_in_one_index(where: RunFilter) -> bool:
    """True if one index holds the matching runs in the order of their creation."""
    plain = _plain(where)
    if where.archived is Archived.ONLY:
        return False
    for name in ("statuses", "flow_ids", "trigger_methods"):
        without: dict[str, Any] = {name: None}
        values = getattr(where, name)
        if values is not None and len(values) == 1 and replace(where, archived=Archived.EXCLUDE, **without) == plain:
            return True
    return False


def narrow_page(conn: Connection, where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> RunFilter:
    """Narrows the filter for a page of runs that is sorted by a column. Names the runs on a page of several projects.

    Indexes begin with the project, so each project is read by itself.
    """
    if not may_narrow(where, conn.dialect.name, sorted_by):
        return where
    where = extent.bounded(conn, narrow(conn, where))
    if keyset.sort is not None and where.ids is None and conn.dialect.name != "sqlite":
        where = _created_in_range(conn, where)
    if not _spans_projects(where) or (keyset.sort is None and not _is_restricted(where)):
        return where
    condition = matches(where, conn.dialect.name, sorted_by=sorted_by)
    if conn.dialect.name == "sqlite":
        keys: list[UUID] = []
        for project_id in _projects(conn, where):
            query = keyset.slice(select(_run.id).where(_run.project_id == project_id, condition), page)
            keys += conn.execute(query).scalars()
        return replace(where, ids=tuple(keys))
    first = _first_of_projects(conn, where, condition, keyset, page)
    all_first = Keyset(first.c.id, None if keyset.sort is None else first.c.sort, keyset.descending)
    query = select(first.c.id).order_by(*all_first.order(backward=page.backward)).limit(page.limit)
    return replace(where, ids=tuple(conn.execute(query).scalars()))


def _first_of_projects(
    conn: Connection, where: RunFilter, condition: ColumnElement[bool], keyset: Keyset, page: Page
) -> Subquery:
    """Returns the first runs of each project, on PostgreSQL."""
    sort = _run.id if keyset.sort is None else keyset.sort
    of_one = select(_run.id, sort.label("sort"))
    if few := candidates.few_projects(conn, where.project_ids):
        # The planner knows how many runs each of them has. It would take one without runs for an average one, and look
        # for its runs among those of all projects.
        parts = [keyset.slice(of_one.where(_run.project_id == key, condition), page).subquery() for key in few]
        return union_all(*(select(part) for part in parts)).subquery("first")
    of_any = of_one.where(_run.project_id == _project.id, condition).correlate(_project.id.table)
    lateral = keyset.slice(of_any, page).lateral("first_of_one")
    of_all = select(lateral).select_from(_project.id.table.join(lateral, true()))
    if where.project_ids is not None:
        of_all = of_all.where(_project.id.in_(where.project_ids))
    return of_all.subquery("first")


def _spans_projects(where: RunFilter) -> bool:
    """True if the runs belong to several projects, and are not those of flows or runs with indexes of their own."""
    owners = (
        where.ids,
        where.flow_ids,
        where.flow_version_ids,
        where.parent_run_id,
        where.root_run_id,
        where.retry_of_id,
        where.rerun_of_id,
    )
    is_owned = any(owner is not None for owner in owners)
    return not is_owned and (where.project_ids is None or len(where.project_ids) > 1)


def _plain(where: RunFilter) -> RunFilter:
    """Returns the part of a filter that the index of the projects serves."""
    return RunFilter(
        project_ids=where.project_ids, created_after=where.created_after, created_before=where.created_before
    )


def _is_restricted(where: RunFilter) -> bool:
    plain = _plain(where)
    return where not in (plain, replace(plain, archived=Archived.INCLUDE))


def _projects(conn: Connection, where: RunFilter) -> Sequence[UUID]:
    if where.project_ids is not None:
        return where.project_ids
    return conn.execute(select(_project.id)).scalars().all()


def _indexed_error(conn: Connection, where: RunFilter) -> str | None:
    """Returns the folded text that errors must contain, if an index of texts finds it."""
    part = fold(where.error_contains or "")
    return part if len(part) >= TRIGRAM and text_indexes.existed_recently(conn) else None


_Query = Callable[[int], Sequence[UUID]]
"""Returns at most the given number of runs. All runs that match the filter are among them."""


def _queries(conn: Connection, where: RunFilter) -> Iterator[_Query]:
    """Yields the queries that SQLite's indexes can answer for the filter."""
    projects = where.project_ids if where.project_ids is not None else select(_project.id)
    in_projects = _run.project_id.in_(projects)

    def fetch(query: Select[Any]) -> _Query:
        return lambda most: conn.execute(query.limit(most)).scalars().all()

    for terms in run_terms.sets(where):
        yield fetch(select(TERM.run_id).where(TERM.term.in_(terms), TERM.project_id.in_(projects)))
    for has_term in run_terms.ranges(conn, where):
        yield fetch(select(TERM.run_id).where(*has_term, TERM.project_id.in_(projects)))
    if (part := _indexed_error(conn, where)) is not None:
        phrase = texts.phrase_of(part)
        yield lambda most: conn.execute(_ERRORS_WITH, {"phrase": phrase, "most": most}).scalars().all()
    if where.search is not None:
        yield fetch(texts.runs_with(where.search, "sqlite").distinct())
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
            yield fetch(select(_run.id).where(in_projects, column_.in_(values)))
    if where.flow_ids is not None and len(where.flow_ids) <= SAFE_LIST:
        yield fetch(select(_run.id).where(_run.flow_id.in_(where.flow_ids)))
    if where.archived is Archived.ONLY:
        yield fetch(select(_run.id).where(in_projects, _run.archived_at.is_not(None)))
    yield from _related(where, fetch)
    yield from _ranges(where, in_projects, fetch)
    yield from _durations(where, in_projects, fetch)


def _related(where: RunFilter, fetch: Callable[[Select[Any]], _Query]) -> Iterator[_Query]:
    """Yields the queries for runs of a version, and for relatives of a run."""
    if where.flow_version_ids is not None:
        of_flows = select(_version.flow_id).where(_version.id.in_(where.flow_version_ids))
        yield fetch(select(_run.id).where(_run.flow_id.in_(of_flows)))
    for relative, run_id in (
        (_run.parent_run_id, where.parent_run_id),
        (_run.retry_of_id, where.retry_of_id),
        (_run.rerun_of_id, where.rerun_of_id),
    ):
        if run_id is not None:
            yield fetch(select(_run.id).where(relative == run_id))
    if where.root_run_id is not None:
        yield fetch(
            select(_run.id).where(
                matches(RunFilter(root_run_id=where.root_run_id, archived=Archived.INCLUDE), "sqlite")
            )
        )


def _ranges(where: RunFilter, in_projects: Any, fetch: Callable[[Select[Any]], _Query]) -> Iterator[_Query]:
    """Yields the queries for ranges of time."""
    created = RunFilter(
        archived=Archived.INCLUDE, created_after=where.created_after, created_before=where.created_before
    )
    if not created.matches_all:
        yield fetch(select(_run.id).where(in_projects, matches(created, "sqlite")))
    for _, bounds in run_ranges.of_times(where):
        yield fetch(select(_run.id).where(in_projects, *bounds))


def _durations(where: RunFilter, in_projects: Any, fetch: Callable[[Select[Any]], _Query]) -> Iterator[_Query]:
    """Yields the query for a range of durations; the runs that have not ended are among its result."""
    if ended := run_ranges.of_durations(where):
        has_not_ended = run_ranges.DURATION == run_ranges.NOT_ENDED
        live = select(_run.id).where(in_projects, has_not_ended, _run.started_at.is_not(None))
        yield fetch(select(_run.id).where(in_projects, *ended).union_all(live))  # type: ignore[arg-type]


def _within_terms(conn: Connection, where: RunFilter) -> RunFilter:
    """Returns the filter with bounds of time within which all runs with its tags and its metadata were created."""
    extent = run_terms.extent(conn, where, _projects(conn, where)) if run_terms.has_terms(where) else None
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
    terms = [term for (term,) in run_terms.sets(RunFilter(tags=where.tags, metadata=where.metadata))]
    if len(terms) != 1 or is_shortened(terms[0]):
        return None
    if where not in (replace(of_projects, tags=where.tags), replace(of_projects, metadata=where.metadata)):
        return None
    projects = where.project_ids if where.project_ids is not None else select(_project.id)
    query = select(TERM.run_id).where(TERM.term == terms[0], TERM.project_id.in_(projects))
    if where.archived is Archived.INCLUDE:
        return query
    return query.where(_IS_NOT_ARCHIVED)


def _narrow_on_postgresql(conn: Connection, where: RunFilter) -> RunFilter:
    if where.search is not None and (named := _searched(conn, where.search, where.project_ids)) is not None:
        return replace(where, ids=named)
    if (few := metadata_values.fewest(conn, where, MANY)) is not None:
        return replace(where, ids=few)
    if (few := _parts_by_index(conn, where)) is not None:
        return replace(where, ids=few)
    if (few := run_ranges.fewest(conn, where, FEW)) is not None:
        return replace(where, ids=few)
    if (part := _indexed_error(conn, where)) is not None:
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
    if not _are_served(where.or_ or ()):
        return None

    def keys_of(part: RunFilter) -> Sequence[UUID] | None:
        if metadata_values.is_searchable(part):
            return metadata_values.fewest(conn, replace(part, project_ids=where.project_ids), MANY)
        return _by_index(conn, where.project_ids, _in_gin_index(part))

    return candidates.union(map(keys_of, where.or_ or ()), MANY)


def _are_served(parts: Sequence[RunFilter]) -> bool:
    """True if PostgreSQL has an index to find the runs of each part of an `or`."""
    return bool(parts) and all(
        metadata_values.is_searchable(part) or not _in_gin_index(part).matches_all for part in parts
    )


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


def _created_in_range(conn: Connection, where: RunFilter) -> RunFilter:
    """Names the runs that were created in the range of the filter, if they are few and the order is not that of
    creation."""
    before, after = where.created_before, where.created_after
    if before is None and after is None:
        return where
    created = RunFilter(
        project_ids=where.project_ids, archived=Archived.INCLUDE, created_after=after, created_before=before
    )
    query = select(_run.id).where(matches(created, conn.dialect.name))
    keys = conn.execute(query.order_by(_run.id).limit(FEW + 1)).scalars().all()
    return replace(where, ids=tuple(keys)) if len(keys) <= FEW else where
