"""Finds the runs of a page where its order may hold few of them.

A planner takes the fields of a filter to be independent of each other and of the order. Where two common values exclude
each other, or where matching runs are far from the beginning of the order, it walks the order past every run of the
project. So a bounded part of the order is walked first. If it holds less than a page, the filter is divided into ranges
of the order (`db.narrowing.parts`), or all matching runs are found by the indexes of the filter.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, literal, select

from db.core.short_memory import ShortMemory
from db.models import FlowRun
from db.models.types import table, to_microseconds
from db.narrowing import sqlite
from db.narrowing.parts import DURATION, Order, Part, by_end, splits, walked
from db.runs.filter import matches
from db.sql import query_plan
from db.sql.bitmap_memory import memory_for_bitmaps
from db.sql.keyset import Keyset, Page, Position
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c

_LENGTH = {"postgresql": 5_000, "sqlite": 4_000}
"""Runs of an order that are walked first: about 10 ms."""
_PER_RUN = 50
"""The same for each run of the page, if that is more."""
_SCATTERED = 3
"""The same divided by this number in the order of durations: such runs are not beside each other in the table."""
_LONGEST = 40
"""Times the length of the first walk that a walk may take if the runs found so far let expect that it ends then."""
_CHEAP = 10_000
"""Cost of a walk to its end, in the units of PostgreSQL's planner, up to which it is not cut short: about 20 ms."""
_GAIN = 2
"""Times that a walk must cost what a search for all matching runs costs, if that is to be preferred."""


_SPARE = 50
"""Number of runs that are named after the last one of a page: the read looks at runs again, and those that have changed
since they were named must not make the page shorter, as if no run followed."""


class _Way(Enum):
    """How the first page of a filter and an order is found."""

    WALK = auto()
    """A short walk of the order fills it."""
    SEARCH = auto()
    """A walk would be long."""


_ways: ShortMemory[tuple[object, ...], _Way] = ShortMemory(seconds=60, size=1_000)
"""How pages were found lately. Later pages of a list may be different, and are always walked first."""


class _End(NamedTuple):
    position: Position | None
    """None: the order is not longer than the walk."""


_ends: ShortMemory[tuple[object, ...], _End] = ShortMemory(seconds=60, size=1_000)
"""The ends of first walks from the beginning of an order."""


def with_spare(page: Page) -> Page:
    """Returns a page whose runs are named for `page`."""
    return replace(page, limit=page.limit + _SPARE)


def find(conn: Connection, where: RunFilter, order: Order, page: Page, asked: RunFilter) -> Sequence[UUID] | None:
    """Returns the first runs of the page of one project, and perhaps more that match; None if a walk of the order finds
    them soon, or nothing finds them sooner.

    `asked` is the filter that the client has given; durations in `where` have become instants.
    """
    parts = by_end(where, order)
    if len(parts) > 1:
        return _of_parts(conn, parts, order, with_spare(page))
    key = (asked, order.sorted_by, order.keyset.descending, page.backward, page.limit)
    way = None if page.is_bounded else _ways.find(conn.engine.pool, key)
    if way is None:
        # Without spare runs, so that PostgreSQL plans the page as it will when it is read.
        found = _first_walk(conn, parts[0], order, page)
        way = _Way.WALK if found is None or len(found) == page.limit else _Way.SEARCH
        if not page.is_bounded:
            _ways.put(conn.engine.pool, key, way)
    return None if way is _Way.WALK else _search(conn, parts[0], order, with_spare(page))


def _of_parts(conn: Connection, parts: Sequence[Part], order: Order, page: Page) -> Sequence[UUID]:
    """Returns the runs of the page of each part."""
    keys: list[UUID] = []
    for part in parts:
        if (clipped := part.clipped(order, page)) is not None:
            own, own_page = clipped
            found = None if _is_range(own, order) else _of_part(conn, own, order, own_page)
            keys += _walk(conn, own, order, own_page) if found is None else found
    return keys


def _is_range(part: Part, order: Order) -> bool:
    """True if all runs in the range of the part match."""
    where = replace(part.where, archived=Archived.INCLUDE)
    if order.sorted_by == DURATION and part.is_divided:
        where = replace(where, min_duration_ms=None, max_duration_ms=None)
    return where == walked(where, order)


def _of_part(conn: Connection, part: Part, order: Order, page: Page) -> Sequence[UUID] | None:
    found = _first_walk(conn, part, order, page)
    return found if found is None or len(found) == page.limit else _search(conn, part, order, page)


def _first_walk(conn: Connection, part: Part, order: Order, page: Page) -> Sequence[UUID] | None:
    """Returns the runs of the page in the part of the order that is walked first; None if the order, or the walk, ends
    soon anyway."""
    if conn.dialect.name != "sqlite":
        plan = query_plan.of(conn, _page(conn, part, order, page))
        if not plan.walks or plan.cost < _CHEAP:
            return None
    if (end := _end(conn, part, order, page)) is None:
        return None
    until = replace(page, after=end) if page.backward else replace(page, before=end)
    found = _walk(conn, part.between(order, until), order, until)
    is_soon = len(found) < page.limit <= len(found) * _LONGEST
    return None if is_soon else found


def _search(conn: Connection, part: Part, order: Order, page: Page) -> Sequence[UUID] | None:
    """Returns the runs of the page where a walk would be long; None if nothing finds them sooner."""
    for split in splits(part, order):
        if (keys := split.earlier(conn)) is not None:
            named = part._replace(where=replace(part.where, ids=tuple(keys)))
            return [*_walk(conn, named, order, page), *_of_parts(conn, split.rest, order, page)]
    return _of_indexes(conn, part, order, page)


def _walk(conn: Connection, part: Part, order: Order, page: Page) -> Sequence[UUID]:
    """Returns the runs of the part on a page of the order."""
    if part.where.ids is not None and not part.where.ids:
        return ()
    return conn.execute(_page(conn, part, order, page)).scalars().all()


def _page(conn: Connection, part: Part, order: Order, page: Page) -> Select[Any]:
    condition = matches(part.where, conn.dialect.name, sorted_by=order.sorted_by)
    # SQLite walks by the first bounds of several: those of the filter are the widest.
    return order.keyset.slice(select(_run.id).where(*part.conditions(order)), page).where(condition)


def _end(conn: Connection, part: Part, order: Order, page: Page) -> Position | None:
    """Returns the position at which the first walk ends; None if the order ends before."""
    where = walked(part.where, order)
    length = max(_LENGTH[conn.dialect.name], page.limit * _PER_RUN)
    if order.sorted_by == DURATION:
        length //= _SCATTERED
    key = (where, *part[1:], order.sorted_by, order.keyset.descending, page.backward, length)
    is_kept = not page.is_bounded
    if is_kept and (end := _ends.find(conn.engine.pool, key)) is not None:
        return end.position
    sort: ColumnElement[Any] = literal(0) if order.keyset.sort is None else order.keyset.sort
    condition = matches(where, conn.dialect.name, sorted_by=order.sorted_by)
    query = order.keyset.slice(select(_run.id, sort.label("sort")).where(*part.conditions(order)), page)
    row = conn.execute(query.where(condition).limit(1).offset(length - 1)).first()
    end = _End(None if row is None else Position(_number(row.sort), row.id))
    if is_kept:
        _ends.put(conn.engine.pool, key, end)
    return end.position


def _number(sort: int | datetime) -> int:
    return to_microseconds(sort) if isinstance(sort, datetime) else sort


def _of_indexes(conn: Connection, part: Part, order: Order, page: Page) -> Sequence[UUID] | None:
    """Returns the runs of the page from all that match, which are found by the indexes of the filter; None if that
    costs too much."""
    keyset = order.keyset
    if conn.dialect.name == "sqlite":
        of_order = select(_run.id).where(matches(walked(part.where, order), "sqlite"), *part.conditions(order))
        if (keys := sqlite.intersection(conn, part.where, of_order)) is None:
            return None
        condition = matches(part.where, "sqlite", by_keys=True)
        query = select(_run.id).where(_run.id.in_(keys), condition, *part.conditions(order))
        return conn.execute(keyset.slice(query, page)).scalars().all()
    sort = _run.id if keyset.sort is None else keyset.sort
    condition = matches(part.where, "postgresql", reads_all=True)
    conditions = (condition, *part.conditions(order), *keyset.within(page))
    every = select(_run.id, sort.label("sort")).where(*conditions)
    walk = query_plan.of(conn, _page(conn, part, order, page))
    if walk.walks and query_plan.of(conn, every).cost * _GAIN > walk.cost:
        return None
    # It is planned as if all of it were read: otherwise the limit would make the planner walk the order.
    found = every.cte("found").prefix_with("MATERIALIZED")
    sorted_ = Keyset(found.c.id, None if keyset.sort is None else found.c.sort, keyset.descending)
    query = select(found.c.id).order_by(*sorted_.order(backward=page.backward)).limit(page.limit)
    with memory_for_bitmaps(conn):
        return conn.execute(query).scalars().all()
