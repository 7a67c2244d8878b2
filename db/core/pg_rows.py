"""Fetches rows of plain SQL from PostgreSQL by the driver alone, without SQLAlchemy and without a task.

Each connection keeps its prepared statements.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from db.core.postgres import Pooling, PostgresServer

PLANNED_WITH_VALUES = "/* planned with values */ "
"""The beginning of a statement that is planned each time. Of a prepared statement PostgreSQL may keep one plan for all
values, which reads all runs for a value that few runs have, if most values are common."""
_STATEMENTS = 500
"""Largest number of prepared statements that a connection keeps."""
_MAX_STATEMENT = 256 * 1024
"""Length in characters of the longest statement that is kept prepared."""
_CONNECTION_LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, OSError)


class RowFetcher:
    """A pool of connections that execute statements in text. The connection that was used last is used next."""

    def __init__(self, server: PostgresServer, size: int, settings: Mapping[str, str], pool_timeout: float) -> None:
        """Opens no connection yet. The pool opens at most `size` connections, with these settings of the session.

        `pool_timeout` is the number of seconds for which a statement waits for a free connection.
        """
        self._server = server
        self._settings = dict(settings)
        self._pool_timeout = pool_timeout
        self.size = size
        """Largest number of open connections."""
        self.asked = 0
        """Number of statements that are executed or wait for a connection."""
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []

    async def fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Returns the rows. A connection that was lost while it was idle is replaced without an error.

        Raises:
            TimeoutError: no connection became free in time.
        """
        self.asked += 1
        try:
            return await self._fetch_on_free(statement, arguments)
        finally:
            self.asked -= 1

    async def _fetch_on_free(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        if self._free.locked():
            async with asyncio.timeout(self._pool_timeout):
                await self._free.acquire()
        else:
            await self._free.acquire()  # No timer is needed here, which would cost more than the semaphore.
        try:
            while self._idle:
                conn = self._idle.pop()
                if conn.is_closed():
                    continue
                try:
                    return await self._fetch(conn, statement, arguments)
                except _CONNECTION_LOST:
                    if not conn.is_closed():
                        raise
            return await self._fetch(await self._connect(), statement, arguments)
        finally:
            self._free.release()

    async def _fetch(self, conn: Any, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        try:
            rows: Sequence[Any]
            if statement.startswith(PLANNED_WITH_VALUES) and self._server.pooling is not Pooling.TRANSACTION:
                # A statement without a name is planned with its values; a pooler's connections have no others.
                rows = await (await conn.prepare(statement, name="")).fetch(*arguments)
            else:
                rows = await conn.fetch(statement, *arguments)
        except asyncpg.PostgresError:
            self._release(conn)
            raise
        except BaseException:
            # The statement was cancelled, or the connection was lost: its state is unknown.
            conn.terminate()
            raise
        self._idle.append(conn)
        return rows

    def _release(self, conn: Any) -> None:
        if not conn.is_closed():
            self._idle.append(conn)

    async def _connect(self) -> Any:
        return await self._server.connect(
            self._settings,
            statement_cache_size=_STATEMENTS,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=_MAX_STATEMENT,
        )

    async def close(self) -> None:
        """Closes the idle connections. When no statement is being executed, these are all."""
        while self._idle:
            await self._idle.pop().close()
