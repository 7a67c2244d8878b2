"""Narrows a filter for one page of runs: the first ones of an order.

Where no index has the matching runs in order, the kept counts say how old the newest of them is (`db.rollups.extent`);
where the order may hold few of them, a part of it is walked first (`db.narrowing.first_runs`).
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Pool, Subquery, select, true, union_all

from db import projects
from db.core.short_memory import ShortMemory
from db.models import FlowRun, Project
from db.models.types import table
from db.narrowing import candidates, first_runs
from db.narrowing.candidates import FEW
from db.narrowing.narrow import narrow
from db.narrowing.parts import Order
from db.rollups import extent
from db.runs.filter import matches
from db.sql.keyset import Keyset, Page
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_project = table(Project).c

_KEPT_FILTERS = 2_000
"""Number of filters of which it is kept whether they may be narrowed."""
_unchanged: ShortMemory[tuple[object, ...], bool] = ShortMemory(seconds=60, size=1_000)
"""The filters and orders whose first page was not narrowed."""


def is_left_alone(pool: Pool, where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> bool:
    """Returns True if `narrow_page` has lately returned the filter unchanged; `pool` has the connections that read the
    database."""
    return not page.is_bounded and _unchanged.find(pool, _key(where, keyset, page, sorted_by)) is not None


def _key(where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> tuple[object, ...]:
    return where, sorted_by, keyset.descending, page.backward


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
    return (is_restricted and (is_sorted or not _is_in_one_index(where))) or (is_sorted and created)


def _is_in_one_index(where: RunFilter) -> bool:
    """True if one index holds the matching runs in the order of their creation."""
    plain = _plain(where)
    if where.archived is Archived.ONLY:
        return False
    for name in ("statuses", "flow_ids", "trigger_methods"):
        without: dict[str, Any] = {name: None}
        given = getattr(where, name)
        if given is not None and len(given) == 1 and replace(where, archived=Archived.EXCLUDE, **without) == plain:
            return True
    return False


def narrow_page(conn: Connection, where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> RunFilter:
    """Narrows the filter for a page of runs that is sorted by a column. Names the runs on a page of several projects.

    Indexes begin with the project, so each project is read by itself.
    """
    if not may_narrow(where, conn.dialect.name, sorted_by):
        return where
    if is_left_alone(conn.engine.pool, where, keyset, page, sorted_by):
        return where
    narrowed = _narrow_page(conn, where, keyset, page, sorted_by)
    if narrowed == where and not where.searched and not page.is_bounded:
        _unchanged.put(conn.engine.pool, _key(where, keyset, page, sorted_by), value=True)
    return narrowed


def _narrow_page(conn: Connection, where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> RunFilter:
    asked, where = where, _of_known_projects(conn, where)
    where = extent.bounded(conn, narrow(conn, where))
    if where.ids is None and keyset.sort is not None and conn.dialect.name != "sqlite":
        where = _created_in_range(conn, where)
    is_of_one = where.project_ids is not None and len(where.project_ids) == 1
    if where.ids is None and is_of_one and _is_restricted(where):
        found = first_runs.find(conn, where, Order(keyset, sorted_by), page, asked)
        return where if found is None else replace(where, ids=tuple(found))
    if not _spans_projects(where) or (keyset.sort is None and not _is_restricted(where)):
        return where
    condition, page = matches(where, conn.dialect.name, sorted_by=sorted_by), first_runs.with_spare(page)
    if conn.dialect.name == "sqlite":
        keys: list[UUID] = []
        for project_id in candidates.projects(conn, where):
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
    if where.project_ids is not None and len(where.project_ids) <= projects.FEW:
        # The planner knows how many runs each of them has. It would take one without runs for an average one, and look
        # for its runs among those of all projects.
        each = (of_one.where(_run.project_id == key, condition) for key in where.project_ids)
        parts = [keyset.slice(query, page).subquery() for query in each]
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


def _of_known_projects(conn: Connection, where: RunFilter) -> RunFilter:
    """Returns a filter over all projects with their IDs, if they are few."""
    if where.project_ids is not None or not _spans_projects(where):
        return where
    owners = projects.few(conn, None)
    return where if owners is None else replace(where, project_ids=owners)


def _plain(where: RunFilter) -> RunFilter:
    """Returns the part of a filter that the index of the projects serves."""
    return RunFilter(
        project_ids=where.project_ids, created_after=where.created_after, created_before=where.created_before
    )


def _is_restricted(where: RunFilter) -> bool:
    plain = _plain(where)
    return where not in (plain, replace(plain, archived=Archived.INCLUDE))


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
