"""Migrates a database to the newest schema."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from db import text_indexes
from db.core import pg_url, sqlite
from db.core.postgres import PostgresServer

_SCRIPTS = Path(__file__).parent / "migrations"
_TARGET = "head"
"""The revision to which databases are migrated."""
_ADVISORY_LOCK = 7_366_201
"""An arbitrary number for the lock that makes processes which start together migrate one after the other."""
OLDEST = "alembic_version_oldest"
"""Table with one row: the oldest revision that a version must know to use the schema."""
MISSING = "The database must be migrated: python -m service migrate"
NEWER = "The database was migrated by a newer version of the service. Start that version, or a later one."


class MigrationError(Exception):
    """The database cannot be migrated. The message is a sentence for the operator."""


def upgrade(url: str) -> None:
    """Migrates the database at `url` to the newest revision; creates the file of an SQLite database.

    Raises:
        ConnectionFailedError: the database cannot be used.
        MigrationError: the database cannot be migrated.
    """
    try:
        if pg_url.is_postgresql(url):
            asyncio.run(_upgrade_postgresql(url))
        else:
            _upgrade_sqlite(make_url(url))
    except CommandError as error:
        raise MigrationError(NEWER) from error
    except DBAPIError as error:
        raise MigrationError(f"The database cannot be migrated: {first_line(error.orig)}.") from error


def first_line(error: BaseException | None) -> str:
    """Returns the first line of a driver's error, without the name of its class and without a full stop."""
    if sqlite.is_full(error):
        return "no space is left on its disk, or on that of temporary files"
    return str(error).strip().partition("\n")[0].rpartition(">: ")[2].rstrip(".")


def _upgrade_sqlite(url: URL) -> None:
    file = Path(str(url.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MigrationError(f"The folder {file.parent} cannot be created: {error.strerror}.") from error
    engine = sqlite.writing_engine(url)
    try:
        # SQLite's own lock is not enough: of two processes that put a new file into WAL mode at once, one would fail.
        with FileLock(file.with_name(file.name + ".migrating")):
            if not file.exists():
                # It contains the data of runs, so only its owner can read it; SQLite's files beside it follow.
                file.touch(mode=0o600)
            with engine.begin() as conn:
                _run(conn)
    except DBAPIError as error:
        raise MigrationError(f"The database file {file} cannot be used: {first_line(error.orig)}.") from error
    except OSError as error:
        raise MigrationError(f"The folder {file.parent} cannot be written: {error.strerror}.") from error
    finally:
        engine.dispose()


async def _upgrade_postgresql(url: str) -> None:
    server = PostgresServer(url)
    await server.find_pooling()
    engine = server.engine({"statement_timeout": "0"})  # Hosts limit statements; those of migrations may take minutes.
    try:
        async with engine.begin() as conn:
            await conn.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            await conn.run_sync(_run)
    finally:
        await engine.dispose()


def _run(conn: Connection) -> None:
    config = _config()
    config.attributes["connection"] = conn
    before = MigrationContext.configure(conn).get_current_heads()
    if not set(before) <= _REVISIONS and problem(conn) is None:
        return  # A newer version has migrated it, and this one can use it.
    command.upgrade(config, _TARGET)
    text_indexes.ensure(conn)
    if before != MigrationContext.configure(conn).get_current_heads():
        # SQLite prefers an index without statistics to any other; on PostgreSQL new expressions have no statistics.
        _gather_statistics(conn)


def _gather_statistics(conn: Connection) -> None:
    if conn.dialect.name == "sqlite":
        sqlite.gather_statistics(conn)
        return
    # A table without statistics is planned by its size, but one that was analysed while it was empty counts as empty
    # until it is analysed again: each statement that was planned by then reads the whole table, however it grows.
    quote = conn.dialect.identifier_preparer.quote
    for name in map(quote, inspect(conn).get_table_names()):
        if conn.execute(text(f"SELECT EXISTS (SELECT FROM {name})")).scalar_one():  # noqa: S608 - the name of a table
            conn.execute(text(f"ANALYZE {name}"))


def is_current(conn: Connection) -> bool:
    """True if the database has the newest revision, and no newer one."""
    return problem(conn) is None


def problem(conn: Connection) -> str | None:
    """Returns the message for the operator if this version cannot use the database; None if it can."""
    heads = set(MigrationContext.configure(conn).get_current_heads())
    if heads == _HEADS:
        return None
    if heads <= _REVISIONS:
        return MISSING
    return None if _oldest_revision(conn) in _REVISIONS else NEWER


def _oldest_revision(conn: Connection) -> str | None:
    """Returns the oldest revision that a version must know to use the schema; None if the schema lacks it.

    Migrations that only expand the schema leave it unchanged. A migration that removes what earlier versions use sets
    it to its own revision, so that these versions stop.
    """
    if not inspect(conn).has_table(OLDEST):
        return None
    return conn.execute(text(f"SELECT version_num FROM {OLDEST}")).scalar()  # noqa: S608 - a constant


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    return config


_DIRECTORY = ScriptDirectory.from_config(_config())
_HEADS = set(_DIRECTORY.get_heads())
_REVISIONS = {script.revision for script in _DIRECTORY.walk_revisions()}
