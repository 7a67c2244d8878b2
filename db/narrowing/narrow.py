"""Narrows a filter before a read: names the runs that an index finds quickly, where a planner would not use the index.

A page is the first rows of an order. A planner that does not know how rare a value is, or where in the order its runs
are, walks the order past every run that does not match. So this module first searches an index, for a bounded number of
runs. If the index has no more, the filter names them (`ids`), and the read finds them by their keys. If it has more,
matching runs are common, and the walk soon meets enough of them. The read still applies all conditions of the filter,
so a change in between has the same effect as an earlier beginning of the read.

PostgreSQL knows how rare most values are, so it is asked less than SQLite, which does not. Pages are narrowed further
(`db.narrowing.pages`).
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection

from db.narrowing import postgresql, sqlite
from db.narrowing.candidates import FEW
from db.runs.filter import matches
from db.search import switch
from domain.runs.run_filter import RunFilter
from domain.time import clock


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
        return postgresql.narrow(conn, where)
    fewest = sqlite.fewest(conn, where, now, FEW)
    return replace(where, ids=fewest) if fewest is not None else sqlite.within_terms(conn, where)


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
