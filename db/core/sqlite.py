"""SQLite: the set-up of connections, the threads that read, and the thread that writes.

A unit of work crosses threads once, not with each of its statements. SQLite allows one writer at a time. Tasks do not
compete for the lock: one thread takes whole units of work from a queue and commits those that wait at the same time in
one transaction, so callers share the cost of a commit. Each unit of work runs in a savepoint, so a failure rolls back
that unit only.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import orjson
from asyncpg.pgproto.pgproto import UUID
from sqlalchemy import URL, Connection, Dialect, Engine, Uuid, create_engine, event
from sqlalchemy.exc import DBAPIError

from db.core import unit_of_work
from db.core.terms import run_terms
from db.core.threads import Threads
from db.core.unit_of_work import CommitSteps, UnitOfWork
from domain.errors import DatabaseUnavailableError
from domain.flows.definition import unchanged_steps
from domain.runs import metadata_condition
from domain.text import fold, searched_json

T = TypeVar("T")

_MAX_GROUP = 64
"""Units of work in one commit. A group of 64 small ones takes milliseconds."""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # Readers see the last commit and never wait for the writer.
    "PRAGMA synchronous = NORMAL",  # A killed process loses nothing; a power cut may lose only the last commits.
    "PRAGMA busy_timeout = 10000",  # Milliseconds for which a write waits for the write of another process.
    "PRAGMA foreign_keys = ON",  # The default is OFF, for compatibility with old databases.
    "PRAGMA cache_size = -32768",  # In KiB. The default of 2 MiB is too small to keep the index pages of a list.
    "PRAGMA journal_size_limit = 67108864",  # Size in bytes to which the WAL shrinks after a burst.
)


def prepare(dbapi_connection: Any, _record: object) -> None:
    """Sets up a new connection; listens to SQLAlchemy's `connect` event."""
    cursor = dbapi_connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()
    dbapi_connection.create_function("json_contains", 2, json_contains)
    dbapi_connection.create_function("run_terms", 2, run_terms, deterministic=True)
    dbapi_connection.create_function("metadata_matches", 2, metadata_matches)
    dbapi_connection.create_function("unchanged_steps", 2, lru_cache(maxsize=256)(unchanged_steps), deterministic=True)
    dbapi_connection.create_function("search_fold", 1, fold, deterministic=True)
    dbapi_connection.create_function("search_json", 1, searched_json, deterministic=True)


class _Key(Uuid[UUID]):
    """Reads keys as UUIDs, like the PostgreSQL driver, in a sixth of the time that SQLAlchemy's type takes."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], UUID | None]:
        return lambda digits: None if digits is None else UUID(digits)


def read_keys_fast(dialect: Dialect) -> None:
    """Makes an engine of this dialect read keys as `_Key` does."""
    dialect.colspecs = {**dialect.colspecs, Uuid: _Key}


def json_contains(document: str, probe: str) -> bool:
    """Implements PostgreSQL's `jsonb @>`: True if `document` contains everything in `probe`, at the same places."""
    return contains(orjson.loads(document), _parsed(probe))


# The function is called for each row that a statement examines. Its callers do not change the result.
_parsed = lru_cache(maxsize=100)(orjson.loads)


def metadata_matches(document: str, condition: str) -> bool:
    """True if `document` matches a `MetadataCondition`, given as the text of `to_text`."""
    return _metadata_predicate(condition)(orjson.loads(document))


@lru_cache(maxsize=1_000)
def _metadata_predicate(condition: str) -> Callable[[Any], bool]:
    return metadata_condition.from_text(condition).predicate()


def contains(document: Any, probe: Any) -> bool:
    """Implements `json_contains` for parsed JSON."""
    if isinstance(probe, dict):
        return isinstance(document, dict) and all(
            name in document and contains(document[name], value) for name, value in probe.items()
        )
    if isinstance(probe, list):
        return isinstance(document, list) and all(any(contains(have, want) for have in document) for want in probe)
    # In Python 1 == True, in JSON 1 and true differ.
    return bool(document == probe) and isinstance(document, bool) is isinstance(probe, bool)


@dataclass(slots=True)
class _Job:
    work: Callable[[UnitOfWork], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Any, Sequence[Hashable]]]
    result: Any = None
    error: BaseException | None = None
    uow: UnitOfWork | None = None
    """The unit of work whose topics are published after the commit; None while its work has not succeeded."""

    def run(self, conn: Connection, steps: CommitSteps) -> None:
        """Runs the unit of work in a savepoint, which a failure rolls back."""
        conn.exec_driver_sql("SAVEPOINT job")
        try:
            self.result, self.uow = unit_of_work.run(conn, self.work, steps)
        except Exception as error:
            self.error = error
            conn.exec_driver_sql("ROLLBACK TO job")
        conn.exec_driver_sql("RELEASE job")

    def resolve(self) -> None:
        """Passes the result to the caller, in the thread of its event loop."""
        if self.done.done():  # The caller was cancelled.
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result((self.result, self.uow.topics if self.uow else ()))


_RECYCLE_SECONDS = 600
"""Seconds after which a reading connection is replaced: a connection reads the statistics of tables only when it
opens."""
_ANALYSED_ROWS = 1_000
"""Index entries from which statistics are computed. 1,000 take milliseconds, however large the table is."""
_STATEMENTS = 500
"""Prepared statements in text that a connection keeps."""
_STEPS_BETWEEN_CHECKS = 50_000
"""Steps of SQLite's virtual machine between two checks of the deadline: about a millisecond."""


def gather_statistics(conn: Connection) -> None:
    """Updates the statistics of SQLite's query planner on the values of indexed columns."""
    _analyse(conn, "ANALYZE")


def _analyse(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(f"PRAGMA analysis_limit = {_ANALYSED_ROWS}")
    conn.exec_driver_sql(statement)


def is_full(error: BaseException | None) -> bool:
    """Returns True if an error of the driver means that the disk, or the one of temporary files, has no space left.

    When the database is opened on a full disk, the file of its shared memory cannot be made.
    """
    return getattr(error, "sqlite_errorname", None) in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


def is_interrupted(error: BaseException | None) -> bool:
    """Returns True if an error of the driver means that a read exceeded its deadline."""
    return getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT"


class Deadline:
    """The instant at which a connection interrupts its read."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: float | None = None

    def set(self, seconds: float | None) -> None:
        """Interrupts the next read after `seconds`; None: no limit."""
        self._at = None if seconds is None else time.monotonic() + seconds

    def is_over(self) -> bool:
        """Returns True if the deadline has passed. SQLite's progress handler calls it."""
        return self._at is not None and time.monotonic() > self._at


class _TimedConnection(sqlite3.Connection):
    """A connection with a deadline for its reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = Deadline()
        self.set_progress_handler(self.deadline.is_over, _STEPS_BETWEEN_CHECKS)


class _TextConnection:
    """A connection for statements in text, without SQLAlchemy: checking one out of its pool would cost more than a
    short read.

    Only one thread at a time may use it.
    """

    __slots__ = ("_conn", "_renewed_at")

    def __init__(self, names: Sequence[Any], options: Mapping[str, Any]) -> None:
        own = {"check_same_thread": False, "isolation_level": None, "cached_statements": _STATEMENTS}
        self._conn = sqlite3.connect(*names, **{**options, **own}, factory=_TimedConnection)
        prepare(self._conn, None)
        self._renewed_at = time.monotonic() + _RECYCLE_SECONDS

    def is_old(self) -> bool:
        """Returns True if the connection is due for replacement."""
        return time.monotonic() > self._renewed_at

    def fetch(self, statement: str, arguments: Sequence[object], timeout: float | None) -> Sequence[Any]:
        """Returns the rows of a statement, which is interrupted after `timeout` seconds."""
        self._conn.deadline.set(timeout)
        rows: Sequence[Any] = self._conn.execute(statement, arguments).fetchall()
        return rows

    def close(self) -> None:
        """Closes the connection."""
        self._conn.close()


class Readers:
    """Executes reads in a fixed number of threads, each with a connection of its own. Further reads wait.

    A read that takes longer than `timeout` seconds is interrupted: the driver raises SQLITE_INTERRUPT.
    """

    def __init__(self, url: URL, count: int, timeout: float | None = None) -> None:
        # Each statement sees everything that was committed before it, so there is no transaction to begin or to roll
        # back.
        self.engine = create_engine(
            url.set(drivername="sqlite"),
            pool_size=count,
            max_overflow=0,
            pool_use_lifo=True,  # A few connections with warm caches are used, not all of them in turn.
            pool_recycle=_RECYCLE_SECONDS,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            connect_args={"factory": _TimedConnection},
        )
        read_keys_fast(self.engine.dialect)
        event.listen(self.engine, "connect", prepare)
        self._timeout = timeout
        self.pool = self.engine.pool
        self._arguments = self.engine.dialect.create_connect_args(url)
        self._idle: list[_TextConnection] = []
        self._threads = Threads(count, "sqlite-reader")
        self.size = count
        """Reads at a time, at most."""
        self._closed = False

    @property
    def asked(self) -> int:
        """Reads under way, with those that wait for a thread."""
        return self._threads.under_way

    async def run(self, query: Callable[[Connection], T]) -> T:
        """Returns the result of `query`."""
        if self._closed:
            raise DatabaseUnavailableError("The database was closed.")
        return await self._threads.run(self._read, query)

    def _read(self, query: Callable[[Connection], T]) -> T:
        with self.engine.connect() as conn:
            cast("_TimedConnection", conn.connection.dbapi_connection).deadline.set(self._timeout)
            return query(conn)

    async def fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Returns the rows of a statement in text."""
        if self._closed:
            raise DatabaseUnavailableError("The database was closed.")
        return await self._threads.run(self._fetch, statement, arguments)

    def _fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        try:
            # The connection that was used last has a warm cache, and has the statement prepared.
            conn = self._idle.pop()
        except IndexError:
            conn = _TextConnection(*self._arguments)
        if conn.is_old():
            conn.close()
            conn = _TextConnection(*self._arguments)
        try:
            rows = conn.fetch(statement, arguments, self._timeout)
        except BaseException as error:
            if is_interrupted(error):
                self._idle.append(conn)
            else:
                conn.close()  # Its state is unknown.
            raise
        self._idle.append(conn)
        return rows

    async def close(self) -> None:
        """Waits for the reads that were requested, then stops the threads."""
        self._closed = True
        await self._threads.close()
        while self._idle:
            self._idle.pop().close()
        self.engine.dispose()


class Writer:
    """Executes units of work one after the other, in a thread of its own, and commits them in groups."""

    def __init__(self, url: URL, steps: CommitSteps) -> None:
        self.engine = writing_engine(url)
        self._steps = steps
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[UnitOfWork], Any]) -> tuple[Any, Sequence[Hashable]]:
        """Returns the result of `work` after its commit, and the topics to publish."""
        if self._closed:
            raise DatabaseUnavailableError("The database was closed.")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._jobs.put(job)
        return await job.done

    @property
    def waiting(self) -> int:
        """The number of units of work that wait for the next group."""
        return self._jobs.qsize()

    async def close(self) -> None:
        """Waits for the units of work that were requested, then stops the thread."""
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        while (group := self._next_group()) is not None:
            self._commit(group)
        self._optimize()
        self.engine.dispose()

    def _optimize(self) -> None:
        """Updates the statistics of tables that have changed much. Connections that are opened later use them."""
        # The file may be deleted, or locked by another process, which updates the statistics as well.
        with suppress(DBAPIError), self.engine.connect() as conn:
            _analyse(conn, "PRAGMA optimize")

    def _next_group(self) -> list[_Job] | None:
        group: list[_Job] = []
        while len(group) < _MAX_GROUP:
            try:
                job = self._jobs.get(block=not group)
            except queue.Empty:
                break
            if job is None:
                if not group:
                    return None
                self._jobs.put(None)  # Stop after this group.
                break
            group.append(job)
        return group

    def _commit(self, group: list[_Job]) -> None:
        try:
            with self.engine.begin() as conn:
                for job in group:
                    job.run(conn, self._steps)
                if events := [event for job in group if job.uow is not None for event in job.uow.events]:
                    self._steps.append_events(conn, events)
        except Exception as error:  # Nothing of the group was committed, so each caller gets the error.
            for job in group:
                job.error = job.error or error
        # One call serves the group: each call wakes the loop's thread, and takes the interpreter lock from this one.
        group[0].loop.call_soon_threadsafe(_resolve_all, group)


def _resolve_all(group: list[_Job]) -> None:
    for job in group:
        job.resolve()


def writing_engine(url: URL) -> Engine:
    """Returns an engine whose transactions take the write lock at their beginning."""
    engine = create_engine(url.set(drivername="sqlite"), pool_size=1, max_overflow=0)
    read_keys_fast(engine.dialect)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "connect", _disable_driver_transactions)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _disable_driver_transactions(dbapi_connection: Any, _record: object) -> None:
    # Python's driver would begin transactions by itself, and only before some statements.
    dbapi_connection.isolation_level = None


def _begin_immediate(conn: Connection) -> None:
    # A transaction that begins with a read and writes later can fail half-way, if another process wrote in between.
    conn.exec_driver_sql("BEGIN IMMEDIATE")
