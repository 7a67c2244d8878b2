"""Indexes of texts, for substrings in errors: created if the database supports them.

PostgreSQL needs the extension `pg_trgm`, which a role may not be allowed to create or which may not be installed;
SQLite needs its module FTS5 with the tokenizer `trigram`. Without an index, a filter by a text reads all runs with a
text: the answers are the same, and take longer.
"""

import logging
import time
from collections.abc import Sequence
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from db.core.unit_of_work import UnitOfWork

_logger = logging.getLogger(__name__)

ERROR_TEXT = "run_error_text"
"""The index of error messages: on PostgreSQL an index of `flow_run`, on SQLite a table."""
_MIN_CHANGES = 2
"""Changes that a statement to merge makes, at least, if it had something to merge, by the manual of FTS5."""
_REMEMBERED_SECONDS = 5.0
"""Seconds for which the existence of the index is remembered."""

_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    f"""CREATE INDEX {ERROR_TEXT} ON flow_run
        USING gin ((coalesce(error_folded, lower(error_message COLLATE "C"))) gin_trgm_ops)
        WHERE error_message IS NOT NULL""",
)
_FOLDED = "coalesce({row}error_folded, lower({row}error_message))"
_ROWS = f"{ERROR_TEXT}_row"
"""On SQLite, the table of the index's rows by their runs. The index itself finds rows by their texts alone."""
_NOTE = "BEGIN INSERT INTO unindexed_run (kind, run_id) VALUES ('ERROR', NEW.id); END"
SQLITE_TRIGGERS = (
    f"CREATE TRIGGER {ERROR_TEXT}_insert AFTER INSERT ON flow_run WHEN NEW.error_message IS NOT NULL {_NOTE}",
    f"""CREATE TRIGGER {ERROR_TEXT}_update AFTER UPDATE OF error_message ON flow_run
        WHEN NEW.error_message IS NOT NULL AND OLD.error_message IS NOT NEW.error_message {_NOTE}""",
)
"""Triggers that note runs with a new error message, for `db.runs.indexes`."""
_SQLITE = (
    # Earlier versions made the index without the table of its rows.
    *(f"DROP TRIGGER IF EXISTS {ERROR_TEXT}_{name}" for name in ("insert", "update")),
    f"DROP TABLE IF EXISTS {ERROR_TEXT}",
    f"CREATE TABLE {_ROWS} (id INTEGER PRIMARY KEY, run_id CHAR(32))",
    f"CREATE INDEX {_ROWS}_run ON {_ROWS} (run_id)",
    f"INSERT INTO {_ROWS} (run_id) SELECT id FROM flow_run WHERE error_message IS NOT NULL",  # noqa: S608
    f"""CREATE VIRTUAL TABLE {ERROR_TEXT}
        USING fts5(text, run_id UNINDEXED, tokenize = 'trigram case_sensitive 1')""",
    f"""INSERT INTO {ERROR_TEXT} (rowid, text, run_id)
        SELECT made.id, {_FOLDED.format(row="run.")}, run.id FROM {_ROWS} made JOIN flow_run run ON run.id = made.run_id
    """,  # noqa: S608
    *SQLITE_TRIGGERS,
)

# A run whose message changes gets a second row: its last one has the text that counts.
ADD_NOTED = (
    f"""INSERT INTO {_ROWS} (run_id) SELECT DISTINCT noted.run_id FROM unindexed_run noted
        JOIN flow_run run ON run.id = noted.run_id WHERE noted.kind = 'ERROR' AND run.error_message IS NOT NULL""",  # noqa: S608
    f"""INSERT INTO {ERROR_TEXT} (rowid, text, run_id)
        SELECT max(made.id), {_FOLDED.format(row="run.")}, run.id FROM {_ROWS} made
        JOIN flow_run run ON run.id = made.run_id
        WHERE run.id IN (SELECT run_id FROM unindexed_run WHERE kind = 'ERROR') AND run.error_message IS NOT NULL
        GROUP BY run.id""",  # noqa: S608
)
"""Statements that add the noted runs to SQLite's index."""

_OF_RUNS = "run_id IN (SELECT value FROM json_each(?))"
_FORGET = (
    f"DELETE FROM {ERROR_TEXT} WHERE rowid IN (SELECT id FROM {_ROWS} WHERE {_OF_RUNS})",  # noqa: S608
    # Parts of the deleted texts stay in the index until its segments are merged.
    f"UPDATE {_ROWS} SET run_id = NULL WHERE {_OF_RUNS}",  # noqa: S608
)
_HAS_FORGOTTEN = f"SELECT 1 FROM {_ROWS} WHERE run_id IS NULL LIMIT 1"  # noqa: S608
_MERGED = f"DELETE FROM {_ROWS} WHERE run_id IS NULL"  # noqa: S608

_known: WeakKeyDictionary[Engine, tuple[float, bool]] = WeakKeyDictionary()


def ensure(conn: Connection) -> bool:
    """Creates the index, if it is missing and the database supports it; returns True if it exists."""
    if exists(conn):
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


def exists(conn: Connection) -> bool:
    """Returns True if the database has the index."""
    if conn.dialect.name == "sqlite":
        query, name = "SELECT 1 FROM sqlite_schema WHERE name = ?", _ROWS
    else:
        query, name = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid", ERROR_TEXT
    return conn.exec_driver_sql(query, (name,)).first() is not None


def forget(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """Removes runs whose error messages are erased from the index. On PostgreSQL the index follows the rows by itself.

    On SQLite parts of the texts, each of three letters, remain until `merge_forgotten` has merged the index.
    """
    if conn.dialect.name != "sqlite" or not exists(conn):
        return
    keys = orjson.dumps([run_id.hex for run_id in run_ids]).decode()
    for statement in _FORGET:
        conn.exec_driver_sql(statement, (keys,))


def merge_forgotten(uow: UnitOfWork, pages: int) -> bool:
    """Removes what SQLite's index still holds of forgotten texts, about `pages` pages of the index at a time.

    Returns False when nothing is left to be done.
    """
    conn = uow.conn
    if conn.dialect.name != "sqlite" or not exists(conn) or conn.exec_driver_sql(_HAS_FORGOTTEN).first() is None:
        return False
    if merge(conn, ERROR_TEXT, pages):
        return True
    conn.exec_driver_sql(_MERGED)
    return False


def merge(conn: Connection, index: str, pages: int) -> bool:
    """Merges about `pages` pages of the segments of an index of SQLite; returns False if it was merged already."""
    before = _changes(conn)
    # A negative number merges all segments, however few they are.
    conn.exec_driver_sql(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", (-pages,))  # noqa: S608
    return _changes(conn) - before >= _MIN_CHANGES


def _changes(conn: Connection) -> int:
    changes: int = conn.exec_driver_sql("SELECT total_changes()").scalar_one()
    return changes


def existed_recently(conn: Connection) -> bool:
    """Like `exists`, with an answer that may be some seconds old."""
    until, found = _known.get(conn.engine, (0.0, False))
    now = time.monotonic()
    if now >= until:
        found = exists(conn)
        _known[conn.engine] = (now + _REMEMBERED_SECONDS, found)
    return found
