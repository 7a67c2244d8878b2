"""Brings a database to the newest schema."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from db import text_indexes
from db.core import sqlite

_SCRIPTS = Path(__file__).parent / "migrations"
_TARGET = "head"
"""Revision to which databases are brought."""
_ADVISORY_LOCK = 7_366_201
"""Any number: processes that start together migrate one after the other."""


def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest revision; creates the file of an SQLite database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _upgrade_sqlite(parsed)
    else:
        asyncio.run(_upgrade_postgresql(url))


def _upgrade_sqlite(url: URL) -> None:
    file = Path(url.database or "")
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = sqlite.writing_engine(url)
    try:
        # SQLite's own lock does not serve: of two processes that put a new file into WAL mode at once, one fails.
        with FileLock(file.with_name(file.name + ".migrating")), engine.begin() as conn:
            _run(conn)
    finally:
        engine.dispose()


async def _upgrade_postgresql(url: str) -> None:
    engine = create_async_engine(url)
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
    command.upgrade(config, _TARGET)
    text_indexes.ensure(conn)
    if before != MigrationContext.configure(conn).get_current_heads():
        # To SQLite an index without statistics looks better than any other; new expressions have none on PostgreSQL.
        _gather_statistics(conn)


def _gather_statistics(conn: Connection) -> None:
    if conn.dialect.name == "sqlite":
        sqlite.gather_statistics(conn)
    else:
        conn.execute(text("ANALYZE"))


def is_current(conn: Connection) -> bool:
    """Whether the database has the newest revision, and no newer one."""
    return set(MigrationContext.configure(conn).get_current_heads()) == _HEADS


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    return config


_HEADS = set(ScriptDirectory.from_config(_config()).get_heads())
