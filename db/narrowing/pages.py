"""Narrows a filter for one page of runs: the first ones of an order.

Where no index has the matching runs in order, the kept counts say how old the newest of them is (`db.rollups.extent`);
where the order may hold few of them, a part of it is walked first (`db.narrowing.first_runs`).
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Pool, Select, select

from db import projects
from db.core.short_memory import ShortMemory
from db.models import Flow, FlowRun, FlowVersion
from db.models.types import table
from db.narrowing import first_runs, several_projects
from db.narrowing.candidates import FEW
from db.narrowing.narrow import narrow
from db.narrowing.parts import Order
from db.rollups import extent
from db.runs.filter import matches
from db.sql.keyset import Keyset, Page
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_flow = table(Flow).c
_version = table(FlowVersion).c

_KEPT_FILTERS = 2_000
"""Number of filters of which it is kept whether they may be narrowed."""
_unchanged: ShortMemory[tuple[object, ...], bool] = ShortMemory(seconds=60, size=1_000)
"""The filters and orders whose first page was not narrowed."""


def is_left_alone(pool: Pool, where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> bool:
    """Returns True if `narrow_page` has lately returned the filter unchanged; `pool` has the connections that read the
    database."""
    return not page.is_bounded and _unchanged.find(pool, _key(where, keyset, page, sorted_by)) is not None


def _key(where: RunFilter, keyset: Keyset, page: Page, sorted_by: str | None) -> tuple[object, ...]:
    return where, sorted_by, keyset.descending, page.backward, page.limit


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
    """Narrows the filter for a page of runs that is sorted by a column. Names the runs on a page of several
    projects."""
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
    if where.ids is not None:
        return where
    order, is_restricted = Order(keyset, sorted_by), _is_restricted(where)
    if is_restricted and where.project_ids is not None and len(where.project_ids) == 1:
        found = first_runs.find(conn, where, order, page, asked)
        return where if found is None else replace(where, ids=tuple(found))
    if not _spans_projects(where) or (keyset.sort is None and not is_restricted):
        return where
    return replace(
        where, ids=tuple(several_projects.find(conn, where, order, page, asked, is_restricted=is_restricted))
    )


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
    """Returns a filter over all projects with the IDs of those whose runs may match, if these are known and few."""
    if where.project_ids is not None:
        return where
    if (of_flows := _projects_of_flows(where)) is not None:
        owners = projects.few(conn, conn.execute(of_flows.limit(projects.FEW + 1)).scalars().all())
    else:
        owners = projects.few(conn, None) if _spans_projects(where) else None
    return where if owners is None else replace(where, project_ids=tuple(owners))


def _projects_of_flows(where: RunFilter) -> Select[Any] | None:
    """Returns the query for the projects of the filter's flows, or of its versions; None if it has neither."""
    owners = select(_flow.project_id).distinct()
    if where.flow_ids is not None:
        return owners.where(_flow.id.in_(where.flow_ids))
    if where.flow_version_ids is not None:
        of_versions = select(_version.flow_id).where(_version.id.in_(where.flow_version_ids))
        return owners.where(_flow.id.in_(of_versions))
    return None


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
