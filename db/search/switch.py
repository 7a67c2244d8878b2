"""The switch of the search, whose state is that its tables exist; how they get the texts of earlier runs, and how its
index forgets erased texts."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam, column, insert, select, text, update
from sqlalchemy import table as sql_table

from db import text_indexes
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.search.definitions import FILL, FOLDING, INDEX, SOURCES, TEXTS, create, drop, folded_letters, insert_of_runs
from domain.errors import SearchOffError

_run = table(FlowRun).c
_fill = sql_table(FILL, column("position", Uuid()), column("is_complete"))
_folding = sql_table(FOLDING, column("letter"), column("folded"))
_KEYS = (bindparam("after", type_=Uuid()), bindparam("until", type_=Uuid()))
_INSERTS = [text(insert_of_runs(source)).bindparams(*_KEYS) for source in SOURCES]
_NIL = UUID(int=0)
_ADVISORY_LOCK = 7_366_202
"""Any number: processes that switch the search on together do so one after the other."""


class SearchState(NamedTuple):
    """How far the search is."""

    is_on: bool
    is_complete: bool
    """True if the texts of all runs can be found."""


def state(conn: Connection) -> SearchState:
    """Returns whether the search is on, and whether all runs can be found."""
    if not is_on(conn):
        return SearchState(is_on=False, is_complete=False)
    return SearchState(is_on=True, is_complete=bool(conn.execute(select(_fill.c.is_complete)).scalar_one()))


def require(conn: Connection) -> None:
    """Checks that runs can be searched.

    Raises:
        SearchOffError: the search is off, or does not have the texts of all runs yet.
    """
    found = state(conn)
    if not found.is_on:
        raise SearchOffError
    if not found.is_complete:
        raise SearchOffError(
            "The search does not have all runs yet. A worker fills it, or `python -m service search fill`."
        )


def switch_on(uow: UnitOfWork) -> bool:
    """Makes the tables and triggers of the search; returns False if it is on. Later changes can be found at once."""
    conn = uow.conn
    is_sqlite = conn.dialect.name == "sqlite"
    if not is_sqlite:
        conn.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    if is_on(conn):
        return False
    for statement in create(conn.dialect.name):
        conn.exec_driver_sql(statement)
    if not is_sqlite:
        conn.execute(insert(_folding), [{"letter": old, "folded": new} for old, new in folded_letters()])
    is_empty = conn.execute(select(_run.id).limit(1)).first() is None
    conn.execute(insert(_fill), {"position": None, "is_complete": is_empty})
    return True


def switch_off(uow: UnitOfWork) -> bool:
    """Drops all that the search has; returns False if it is off."""
    if not is_on(uow.conn):
        return False
    for statement in drop(uow.conn.dialect.name):
        uow.conn.exec_driver_sql(statement)
    return True


def fill(uow: UnitOfWork, limit: int) -> int:
    """Adds the texts of the next `limit` runs, in the order of creation; returns their number, 0 once all are there.

    Goes on where an earlier call, of any process, left off.
    """
    conn = uow.conn
    if not is_on(conn):
        return 0
    query = select(_fill).with_for_update()
    position, is_complete = conn.execute(query).one()
    if is_complete:
        return 0
    after = position or _NIL
    # What purges, erases or deletes runs locks them first: it waits, or has ended before their texts are read.
    runs = select(_run.id).where(_run.id > after).order_by(_run.id).limit(limit)
    keys = conn.execute(runs.with_for_update(read=True)).scalars().all()
    if not keys:
        conn.execute(update(_fill).values(is_complete=True))
        return 0
    until = max(keys)
    for statement in _INSERTS:
        conn.execute(statement, {"after": after, "until": until})
    conn.execute(update(_fill).values(position=until))
    return len(keys)


def forget(conn: Connection) -> None:
    """Notes that texts of runs were erased or deleted.

    The table of texts and the index of PostgreSQL follow the rows by themselves. In SQLite's index parts of the texts,
    each of three letters, remain until `merge_forgotten` has merged it.
    """
    if conn.dialect.name == "sqlite" and is_on(conn):
        conn.execute(text(f"UPDATE {FILL} SET has_forgotten = 1"))  # noqa: S608


def merge_forgotten(uow: UnitOfWork, pages: int) -> bool:
    """Removes what SQLite's index still holds of forgotten texts, about `pages` pages of the index at a time.

    Returns False when nothing is left to be done.
    """
    conn = uow.conn
    if conn.dialect.name != "sqlite" or not is_on(conn):
        return False
    if conn.execute(text(f"SELECT 1 FROM {FILL} WHERE has_forgotten")).first() is None:  # noqa: S608
        return False
    if text_indexes.merge(conn, INDEX, pages):
        return True
    conn.execute(text(f"UPDATE {FILL} SET has_forgotten = 0"))  # noqa: S608
    return False


def is_on(conn: Connection) -> bool:
    """Returns True if the search has its tables."""
    if conn.dialect.name == "sqlite":
        return conn.exec_driver_sql("SELECT 1 FROM sqlite_schema WHERE name = ?", (TEXTS,)).first() is not None
    return bool(conn.exec_driver_sql("SELECT to_regclass($1) IS NOT NULL", (TEXTS,)).scalar_one())
