"""Finds the runs of a page over several projects. Indexes begin with the project, so each project is read by itself."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Subquery, select, true, union_all

from db import projects
from db.models import FlowRun, Project
from db.models.types import table
from db.narrowing import candidates, first_runs
from db.narrowing.parts import Order
from db.runs.filter import matches
from db.sql.keyset import Keyset, Page
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_project = table(Project).c


def find(
    conn: Connection, where: RunFilter, order: Order, page: Page, asked: RunFilter, *, is_restricted: bool
) -> Sequence[UUID]:
    """Returns the first runs of the page of all projects together, and perhaps more that match.

    `asked` is the filter that the client has given; durations in `where` have become instants. `is_restricted` is False
    if it has no fields but those of the order of creation.
    """
    is_sqlite = conn.dialect.name == "sqlite"
    owners = candidates.projects(conn, where) if is_sqlite else where.project_ids
    if owners is None or (not is_sqlite and len(owners) > projects.FEW):
        return _first(conn, _of_any_projects(where, order, page), order, page)
    keys: list[UUID] = []
    if is_restricted and len(owners) <= projects.FEW:
        walked = []
        for owner in owners:
            own, own_asked = (replace(each, project_ids=(owner,)) for each in (where, asked))
            if (found := first_runs.find(conn, own, order, page, own_asked)) is None:
                walked.append(owner)
            else:
                keys += found
        owners = walked
    pages = [_of_project(conn, where, owner, order, page) for owner in owners]
    if is_sqlite:
        for query in pages:
            keys += conn.execute(query).scalars()
    elif pages:
        # The planner knows how many runs each of them has. It would take one without runs for an average one, and look
        # for its runs among those of all projects.
        parts = union_all(*(select(query.subquery()) for query in pages)).subquery("first")
        keys += _first(conn, parts, order, page)
    return keys


def _of_project(conn: Connection, where: RunFilter, owner: UUID, order: Order, page: Page) -> Select[Any]:
    """Returns the query for the first runs of the page of a project."""
    condition = matches(replace(where, project_ids=(owner,)), conn.dialect.name, sorted_by=order.sorted_by)
    # SQLite walks by the first bounds of several: those of the filter are the widest.
    return order.keyset.slice(_keys(order), first_runs.with_spare(page)).where(condition)


def _of_any_projects(where: RunFilter, order: Order, page: Page) -> Subquery:
    """Returns the first runs of the page of each project, on PostgreSQL."""
    condition = matches(where, "postgresql", sorted_by=order.sorted_by)
    of_any = _keys(order).where(_run.project_id == _project.id, condition).correlate(_project.id.table)
    lateral = order.keyset.slice(of_any, first_runs.with_spare(page)).lateral("first_of_one")
    of_all = select(lateral).select_from(_project.id.table.join(lateral, true()))
    if where.project_ids is not None:
        of_all = of_all.where(_project.id.in_(where.project_ids))
    return of_all.subquery("first")


def _keys(order: Order) -> Select[Any]:
    sort = _run.id if order.keyset.sort is None else order.keyset.sort
    return select(_run.id, sort.label("sort"))


def _first(conn: Connection, runs: Subquery, order: Order, page: Page) -> Sequence[UUID]:
    """Returns the first of these runs in the order."""
    page = first_runs.with_spare(page)
    keyset = Keyset(runs.c.id, None if order.keyset.sort is None else runs.c.sort, order.keyset.descending)
    query = select(runs.c.id).order_by(*keyset.order(backward=page.backward)).limit(page.limit)
    return conn.execute(query).scalars().all()
