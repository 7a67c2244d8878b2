"""Databases for single tests: copies of one that was migrated once for the whole run.

The processes of a run share a directory (plugin.py); the first one starts the server and creates the templates there.
"""

import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from anyio.from_thread import start_blocking_portal
from filelock import FileLock
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from db.core import pg_url
from db.migrate import upgrade
from tests.support.account import unprivileged
from tests.support.databases.poolers import expect_no_pooler
from tests.support.databases.postgres import start_server

GIVEN_SERVER = "TEST_DATABASE_URL"

Execute = Callable[[str], Any]

_numbers = itertools.count(1)


class Template(Protocol):
    """A migrated, empty database."""

    def clone(self, directory: Path) -> AbstractContextManager[str]:
        """The URL of a copy, there as long as the context; one that is a file is made in `directory`."""
        ...


class SqliteTemplate:
    """A file, copied."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def clone(self, directory: Path) -> Iterator[str]:
        path = directory / f"{next(_numbers)}.db"
        shutil.copyfile(self._path, path)
        yield f"sqlite+aiosqlite:///{path}"


class PostgresTemplate:
    """A database on the server of the run, copied there."""

    def __init__(self, server: str, name: str, execute: Execute, strategy: str) -> None:
        self._server = server
        self._name = name
        self._execute = execute
        self._strategy = strategy

    @contextmanager
    def clone(self, directory: Path) -> Iterator[str]:
        name = f"{self._name}_{os.getpid()}_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {self._name} {self._strategy}")
        try:
            yield _database_on(self._server, name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")


def sqlite_template(shared: Path) -> SqliteTemplate:
    """The template of this run, made if it is not there yet."""
    path = shared / "template.db"
    with _lock(shared):
        if not path.exists():
            draft = shared / "draft.db"
            _upgrade(f"sqlite+aiosqlite:///{draft}")
            with closing(sqlite3.connect(draft)) as connection:
                # A copy of the file alone must be all of it.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            draft.rename(path)
    return SqliteTemplate(path)


@contextmanager
def postgres_template(shared: Path) -> Iterator[PostgresTemplate]:
    """Returns the template of this run; creates it if it does not exist, on a new server if none is given."""
    name = _template_name(shared)
    with _lock(shared):
        server = _server(shared)
    with _administrator(server) as execute:
        with _lock(shared):
            _make_postgres_template(shared, server, name, execute)
        # For a small template quicker than the default; before version 15 there was no other, and no word for it.
        modern = int(execute("SHOW server_version_num")) >= 150_000
        strategy = "STRATEGY file_copy" if modern else ""
        if GIVEN_SERVER not in os.environ:
            expect_no_pooler(pg_url.parse(_database_on(server, "")).dsn)
        yield PostgresTemplate(server, name, execute, strategy)


def clean_given_server(shared: Path) -> None:
    """Leave nothing on a server that is not ours; our own goes with its directory."""
    if GIVEN_SERVER not in os.environ or not _made(shared).exists():
        return
    with _administrator(_server(shared)) as execute:
        execute(f"DROP DATABASE {_template_name(shared)} WITH (FORCE)")


def _make_postgres_template(shared: Path, server: str, name: str, execute: Execute) -> None:
    if _made(shared).exists():
        return
    execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    execute(f"CREATE DATABASE {name}")
    _upgrade(_database_on(server, name))
    with _administrator(_database_on(server, name)) as execute_there:
        # Each copy would have to find out again that all rows of the catalogue are valid, in their first read.
        for catalogue in ("attribute", "class", "constraint", "depend", "index", "proc", "type"):
            execute_there(f"VACUUM (FREEZE) pg_{catalogue}")
    with _administrator(_database_on(server, name)) as execute_there:
        # The first connection after a change of the schema writes the server's file of the catalogue's rows; copies
        # have it, too.
        execute_there("SELECT 1")
    _made(shared).touch()


def _upgrade(url: str) -> None:
    # In a thread of its own: a browser's test has an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(upgrade, url).result()


def _server(shared: Path) -> str:
    given = os.environ.get(GIVEN_SERVER)
    if given:
        url = make_url(given).set(drivername="postgresql+asyncpg")
        return url.render_as_string(hide_password=False)
    started = shared / "server"
    if not started.exists():
        started.write_text(start_server(shared, unprivileged()).url())
    return started.read_text()


@contextmanager
def _administrator(server: str) -> Iterator[Execute]:
    """Runs statements on one connection, in a thread with a loop of its own; gives the first value, if any."""
    # CREATE DATABASE is refused within a transaction.
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")

    async def execute(statement: str) -> Any:
        result = await connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None

    with start_blocking_portal() as portal:
        connection = portal.call(engine.connect().start)
        try:
            yield partial(portal.call, execute)
        finally:
            portal.call(connection.close)
            portal.call(engine.dispose)


def _database_on(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _template_name(shared: Path) -> str:
    return shared.name.replace("-", "_")


def _made(shared: Path) -> Path:
    return shared / "postgres-template"


def _lock(shared: Path) -> FileLock:
    return FileLock(shared / "lock")
