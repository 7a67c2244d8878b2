"""Indexes of texts, for substrings in errors: made where the database can, and made up for later.

PostgreSQL needs the extension `pg_trgm`, which a role may not be allowed to create or which may not be installed;
SQLite needs its module FTS5 with the tokenizer `trigram`. Without an index, a filter by a text reads the runs that have
a text at all: the answers are the same, and take longer.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

_logger = logging.getLogger(__name__)

ERROR_TEXT = "run_error_text"
"""The index of error messages: on PostgreSQL an index of `flow_run`, on SQLite a table."""
_REMEMBERED_SECONDS = 5.0
"""Seconds for which it is remembered whether there is an index."""

_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    f"""CREATE INDEX {ERROR_TEXT} ON flow_run
        USING gin ((coalesce(error_folded, lower(error_message COLLATE "C"))) gin_trgm_ops)
        WHERE error_message IS NOT NULL""",
)
_FOLDED = "coalesce({row}error_folded, lower({row}error_message))"
_INSERT = f"INSERT INTO {ERROR_TEXT} (text, run_id) "
_INSERT_NEW = f"{_INSERT} VALUES ({_FOLDED.format(row='NEW.')}, NEW.id);"
_SQLITE = (
    f"""CREATE VIRTUAL TABLE {ERROR_TEXT}
        USING fts5(text, run_id UNINDEXED, tokenize = 'trigram case_sensitive 1')""",
    f"{_INSERT} SELECT {_FOLDED.format(row='')}, id FROM flow_run WHERE error_message IS NOT NULL",  # noqa: S608
    f"""CREATE TRIGGER {ERROR_TEXT}_insert AFTER INSERT ON flow_run WHEN NEW.error_message IS NOT NULL
        BEGIN {_INSERT_NEW} END""",
    f"""CREATE TRIGGER {ERROR_TEXT}_update AFTER UPDATE OF error_message ON flow_run
        WHEN NEW.error_message IS NOT NULL AND OLD.error_message IS NOT NEW.error_message
        BEGIN {_INSERT_NEW} END""",
)

_SECURE_SINCE = (3, 42)
"""The first version of SQLite whose index can forget a text at once."""
_DELETE_SECURELY = f"INSERT INTO {ERROR_TEXT} ({ERROR_TEXT}, rank) VALUES ('secure-delete', 1)"  # noqa: S608
_DELETE = f"DELETE FROM {ERROR_TEXT} WHERE run_id IN (SELECT value FROM json_each(?))"  # noqa: S608

_known: WeakKeyDictionary[Engine, tuple[float, bool]] = WeakKeyDictionary()


def ensure(conn: Connection) -> bool:
    """Makes the index, if it is missing and the database can have it; returns True if it is there."""
    if is_there(conn):
        return True
    statements = _SQLITE if conn.dialect.name == "sqlite" else _POSTGRESQL
    try:
        with conn.begin_nested():
            for statement in statements:
                conn.exec_driver_sql(statement)
    except DBAPIError as error:
        _logger.warning(
            "no index of texts: filters by a text read every run with an error", extra={"reason": str(error.orig)}
        )
        return False
    return True


def is_there(conn: Connection) -> bool:
    """Returns True if the database has the index."""
    query = (
        "SELECT 1 FROM sqlite_schema WHERE name = ?"
        if conn.dialect.name == "sqlite"
        else "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid"
    )
    return conn.exec_driver_sql(query, (ERROR_TEXT,)).first() is not None


def forget(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """Removes runs whose error messages are erased from the index, and what the index holds of their texts.

    On PostgreSQL the index follows the rows. On SQLite its table is read through: the index has no key of runs.
    """
    if conn.dialect.name != "sqlite" or not is_there(conn):
        return
    # Without it, parts of deleted texts stay in the index until SQLite merges them.
    if sqlite3.sqlite_version_info >= _SECURE_SINCE:
        conn.exec_driver_sql(_DELETE_SECURELY)
    keys = orjson.dumps([run_id.hex for run_id in run_ids]).decode()
    conn.exec_driver_sql(_DELETE, (keys,))


def is_known(conn: Connection) -> bool:
    """The same, as it was some seconds ago."""
    until, found = _known.get(conn.engine, (0.0, False))
    now = time.monotonic()
    if now >= until:
        found = is_there(conn)
        _known[conn.engine] = (now + _REMEMBERED_SECONDS, found)
    return found
