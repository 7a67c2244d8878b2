"""Access to the database: each process has one `Database`, on SQLite or PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from db.core import pg_url, pubsub, sqlite, unit_of_work
from db.core.pg_rows import RowFetcher
from db.core.postgres import Pooling, PostgresServer
from db.core.unit_of_work import CommitSteps, UnitOfWork
from db.core.write_batcher import BatchWrite, WriteBatcher
from domain.errors import DatabaseUnavailableError, QueryTimeoutError
from domain.time import clock

P = ParamSpec("P")
T = TypeVar("T")

POOL_SIZE = 10
"""Largest number of connections for reads, and of those for writes, that a process keeps open. Each is opened when it
is first needed. A PostgreSQL server accepts 100 connections by default, for all processes together."""
POOL_TIMEOUT = 30.0
"""Seconds that a statement waits for a connection while all are in use; after that the database counts as
unavailable."""
_FULL = "53100"
"""PostgreSQL's error code for a full disk."""
_READ_ONLY = "25006"
"""PostgreSQL's error code for a write to a standby server, or to one that its operator has made read-only, as hosts do
when its disk is nearly full."""
_WRITE_PROBLEM_AGE = timedelta(seconds=30)
"""Time for which a failed write is reported: longer than Prometheus and probes take between two looks."""
_DEADLOCK = "40P01"
_CANCELLED = "57014"
"""PostgreSQL's error code for a statement that exceeded `statement_timeout`, or that an operator cancelled."""
_BROKEN_OFF = ("40", "55P03", _CANCELLED, "25P03", "25P04")
"""Beginnings of PostgreSQL error codes for a transaction that the server gave up, and that may succeed later: deadlock
or serialization, a lock that was not free in time, a cancelled statement, an idle or a long transaction."""
_UNAVAILABLE = ("53", "57P", "58", _READ_ONLY, *_BROKEN_OFF)
"""Beginnings of PostgreSQL error codes for an unavailable database: no resources left, shut down by its operator, a
fault of its system, read-only, or broken off."""
_SESSION = {
    "application_name": "flow-runs",
    "default_transaction_isolation": "read committed",  # A statement sees what was committed before it.
    "jit": "off",  # JIT costs more than it gains on queries that end within milliseconds.
    "timezone": "UTC",  # The server writes instants in this zone.
    # Hosts set limits for roles and databases. Work in the background would exceed them each time that it is repeated.
    "statement_timeout": "0",
    "lock_timeout": "0",
}
"""Settings of every session on PostgreSQL."""
_WRITING_SESSION = {**_SESSION, "enable_seqscan": "off"}
"""Settings of sessions that write: a table without an index for a condition is still scanned.

Writes find rows by their keys. In a database that is still empty, PostgreSQL would plan to scan the tables, and keep
the plans until they are analysed: a minute later, each write would read tens of thousands of rows."""
_MAX_ATTEMPTS = 5
"""Attempts after a deadlock. Each deadlock lets at least one transaction through, so five are plenty."""


UNREADABLE = (DatabaseUnavailableError, QueryTimeoutError)
"""Errors after which background work reads again later. It reads what takes milliseconds: where that exceeds the time
limit, the database is at fault, for example while a migration has locked a table."""


class ConflictError(Exception):
    """A write was refused because it would have broken a rule of the database schema, such as a unique name."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """The use of one pool of connections, or of threads with a connection."""

    name: str
    """`read`, `fetch` (reads in text) or `write`."""
    size: int
    """Connections that are open at most."""
    in_use: int
    waiting: int | None
    """Statements that wait for a connection; None: the pool does not know."""


class Database:
    """Runs queries and units of work: `read` takes a function of a connection, `write` one of a `UnitOfWork`.

    `fetch` takes a statement in text, for reads whose statements are known in advance: it costs a third of `read`.

    Raises:
        DatabaseUnavailableError: from all three, when the database cannot be reached or cannot continue.
        QueryTimeoutError: from `read` and `fetch`, when a statement (on SQLite: the read) exceeded the time limit.
        ConflictError: from `write`, when a rule of the schema refuses the rows; nothing was written.
    """

    def __init__(
        self, url: str, steps: CommitSteps, *, pool_size: int = POOL_SIZE, query_timeout: float | None = None
    ) -> None:
        """Opens the database at `url`; each unit of work ends with `steps`. Use `db.assembly.open_database`.

        `query_timeout` is the time limit of reads in seconds; None: no limit. Writes have no limit.
        """
        self.dialect = "postgresql" if pg_url.is_postgresql(url) else "sqlite"
        self.pubsub = pubsub.PubSub()
        self._steps = steps
        self._under_way: set[asyncio.Future[Any]] = set()
        self._batchers: dict[BatchWrite, WriteBatcher] = {}
        self._readers: sqlite.Readers | None = None
        self._writer: sqlite.Writer | None = None
        self._write_failure: tuple[datetime, str] | None = None
        """The time and the reason of the last write of this process that the database could not take."""
        self.server: PostgresServer | None = None
        """Opens the connections to PostgreSQL; None on SQLite."""
        if self.dialect == "sqlite":
            parsed = make_url(url)
            self._readers = sqlite.Readers(parsed, pool_size, query_timeout)
            self._writer = sqlite.Writer(parsed, steps)
            self.read_pool: Pool = self._readers.pool
            """The connections for reads."""
            return
        self.server = server = PostgresServer(url)
        self._engine = _postgresql_engine(server, pool_size, _WRITING_SESSION)
        # Writes have connections of their own: the time limit is a setting of the session, and must not end a write.
        limit = {} if query_timeout is None else {"statement_timeout": str(max(1, round(query_timeout * 1000)))}
        # Filters are planned with their values: one plan for all would read all runs for a rare value.
        planning = {"plan_cache_mode": "force_custom_plan"}
        fetching = max(1, pool_size // 2)
        self._sizes = {"read": max(1, pool_size - fetching), "write": pool_size}
        self._reading_engine = _postgresql_engine(server, self._sizes["read"], {**_SESSION, **limit, **planning})
        self._fetcher = RowFetcher(server, fetching, {**_SESSION, **limit}, POOL_TIMEOUT)
        self.read_pool = self._reading_engine.pool
        # Each statement of a read sees everything that was committed before it. A single SELECT needs no BEGIN and
        # COMMIT.
        self._reader = self._reading_engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `query(connection, …)`, which must not write."""
        return await self._to_its_end(self._read_again(query, *args, **kwargs))

    async def _read_again(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with _typed_errors(), _typed_timeouts():
            try:
                return await self._read(query, *args, **kwargs)
            except DBAPIError as error:
                # The server closed the pooled connection while it was idle. A read can be repeated safely.
                if not error.connection_invalidated:
                    raise
            return await self._read(query, *args, **kwargs)

    async def fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Returns the rows of a SELECT, unchanged from the driver; the arguments have the driver's types."""
        if self._readers is not None:
            try:
                return await self._readers.fetch(statement, arguments)
            except sqlite3.OperationalError as error:
                raise _typed_sqlite_error(error) from error
        try:
            return await self._fetcher.fetch(statement, arguments)
        except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError, TimeoutError) as error:
            if (typed := _typed_driver_error(error)) is None:
                raise
            raise typed from error

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the result of `work`, which continues when the caller is cancelled.

        A client that disconnects during a statement must not leave a connection in an unknown state.
        """
        return await asyncio.shield(self._start(work))

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # This marks the exception as retrieved: the caller may have been cancelled.

    async def _read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._readers is not None:
            return await self._readers.run(lambda conn: query(conn, *args, **kwargs))
        async with (await self._reader_for_pooling()).connect() as conn:
            return await conn.run_sync(query, *args, **kwargs)

    async def _reader_for_pooling(self) -> AsyncEngine:
        """Returns the engine for reads. Behind a pooler that shares sessions, even a SELECT needs a transaction."""
        assert self.server is not None
        pooling = self.server.pooling or await self.server.find_pooling()
        return self._reading_engine if pooling is Pooling.TRANSACTION else self._reader

    async def write(self, work: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `work(uow, …)`, executed in one transaction, after its commit."""
        return await self._to_its_end(self._write(lambda uow: work(uow, *args, **kwargs)))

    async def write_batched(self, work: BatchWrite, key: Hashable, item: Any) -> bool:
        """Writes `item` by `work`, in one transaction with the items that other callers add at the same time.

        `key` identifies the item within the batch. Returns False if nothing was written for this item. The caller must
        then write it in a transaction of its own, which raises the reason.
        """
        if (batcher := self._batchers.get(work)) is None:
            batcher = self._batchers[work] = WriteBatcher(lambda items: self.write(work, items))
        done = batcher.submit(key, item)
        if batcher.needs_drain:
            self._start(batcher.drain())
        return await done

    async def _write(self, work: Callable[[UnitOfWork], T]) -> T:
        try:
            with _typed_errors():
                result, topics = await self._commit(work)
        except DatabaseUnavailableError as error:
            self._write_failure = clock.now(), error.message
            raise
        self.pubsub.publish(topics)
        return result

    async def _commit(self, work: Callable[[UnitOfWork], T]) -> tuple[T, Sequence[Hashable]]:
        if self._writer is not None:
            return await self._writer.run(work)
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return await self._transaction(work)
            except DBAPIError as error:
                # PostgreSQL aborted the transaction because of a deadlock.
                if getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                    raise
        return await self._transaction(work)

    async def _transaction(self, work: Callable[[UnitOfWork], T]) -> tuple[T, Sequence[Hashable]]:
        assert self.server is not None
        await self.server.find_pooling()
        async with self._engine.begin() as conn:
            return await conn.run_sync(unit_of_work.run_in_transaction, work, self._steps)

    @property
    def write_problem(self) -> str | None:
        """Why a write of this process failed within the last `_WRITE_PROBLEM_AGE`, if the database could not take it.

        On a full disk, small writes succeed in between.
        """
        if self._write_failure is None or clock.now() - self._write_failure[0] > _WRITE_PROBLEM_AGE:
            return None
        return self._write_failure[1]

    def pool_use(self) -> Sequence[PoolUse]:
        """Returns the use of each pool at this time."""
        if self._readers is not None and self._writer is not None:
            asked, size = self._readers.asked, self._readers.size
            return [
                PoolUse("read", size, min(asked, size), max(0, asked - size)),
                PoolUse("write", 1, 1 if self._writer.waiting else 0, self._writer.waiting),
            ]
        asked, size = self._fetcher.asked, self._fetcher.size
        engines = {"read": self._reading_engine, "write": self._engine}
        return [
            *(PoolUse(name, self._sizes[name], _checked_out(engine), None) for name, engine in engines.items()),
            PoolUse("fetch", size, min(asked, size), max(0, asked - size)),
        ]

    async def close(self) -> None:
        """Waits for the active reads and writes, then closes every connection."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._readers is not None and self._writer is not None:
            await self._readers.close()
            await self._writer.close()
        else:
            await self._engine.dispose()
            await self._reading_engine.dispose()
            await self._fetcher.close()


def _checked_out(engine: AsyncEngine) -> int:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def _postgresql_engine(server: PostgresServer, pool_size: int, settings: Mapping[str, str]) -> AsyncEngine:
    """Returns an engine for sessions with these settings of the server."""
    engine = server.engine(
        settings,
        pool_size=pool_size,
        pool_timeout=POOL_TIMEOUT,
        max_overflow=0,  # Opening a connection for one statement would cost more than waiting for one.
        pool_use_lifo=True,  # A few connections with all statements prepared are used, not all of them in turn.
    )
    event.listen(engine.sync_engine, "checkout", _reject_closed_connection)
    return engine


def _reject_closed_connection(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    # The server was restarted while the connection was idle, so the request is not at fault.
    if dbapi_connection.driver_connection.is_closed():
        raise InvalidatePoolError


@contextmanager
def _typed_timeouts() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if sqlite.is_interrupted(error.orig) or getattr(error.orig, "sqlstate", None) == _CANCELLED:
            raise QueryTimeoutError from error
        raise


def _typed_driver_error(error: Exception) -> Exception | None:
    """Returns the typed error for one of asyncpg itself, as `_typed_errors` and `_typed_timeouts` raise for
    SQLAlchemy's; None for an error of the statement."""
    if not isinstance(error, asyncpg.PostgresError) or isinstance(error, asyncpg.PostgresConnectionError):
        return DatabaseUnavailableError()
    code = error.sqlstate or ""
    if code == _CANCELLED:
        return QueryTimeoutError()
    return DatabaseUnavailableError() if code.startswith(_UNAVAILABLE) else None


def _typed_sqlite_error(error: sqlite3.OperationalError) -> Exception:
    """Returns the typed error for one of the SQLite driver."""
    return QueryTimeoutError() if sqlite.is_interrupted(error) else DatabaseUnavailableError()


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise ConflictError from error
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError, TimeoutError) as error:
        raise DatabaseUnavailableError(_reason(error)) from error
    except DBAPIError as error:
        if not _is_unavailable(error):
            raise
        raise DatabaseUnavailableError(_reason(error)) from error


def _is_unavailable(error: DBAPIError) -> bool:
    # An error without a statement comes from opening the connection.
    code = getattr(error.orig, "sqlstate", None) or ""
    return error.statement is None or error.connection_invalidated or code.startswith(_UNAVAILABLE)


def _reason(error: Exception) -> str | None:
    """Returns a hint for people about an unusual cause; None if there is none."""
    cause = getattr(error, "orig", None)
    state, name = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorname", None) or ""
    if sqlite.is_full(cause):
        # SQLite reports both alike: large statements keep their journals in temporary files.
        return "The database or the folder for temporary files has no space left: nothing can be written at the moment."
    if state == _FULL:
        return "The database has no space left: nothing can be written at the moment."
    if state == _READ_ONLY or name.startswith("SQLITE_READONLY"):
        return "The database is read-only: nothing can be written at the moment."
    return None
