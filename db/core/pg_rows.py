"""Rows of plain SQL from PostgreSQL, by the driver alone: neither SQLAlchemy nor a task stands in between.

Each connection keeps the statements that it has prepared.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from db.core.postgres import PostgresServer

_STATEMENTS = 500
"""Prepared statements that a connection keeps."""
_MAX_STATEMENT = 256 * 1024
"""Characters of the longest statement that is kept prepared."""
_CONNECTION_LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, OSError)


class RowFetcher:
    """A pool of connections that execute statements in text; the one that was used last is used next."""

    def __init__(self, server: PostgresServer, size: int, settings: Mapping[str, str], pool_timeout: float) -> None:
        """Opens no connection yet; at most `size` at a time, with these settings of the session.

        `pool_timeout` is the number of seconds that a statement waits for a connection which others use.
        """
        self._server = server
        self._settings = dict(settings)
        self._pool_timeout = pool_timeout
        self.size = size
        """Connections that are open at most."""
        self.asked = 0
        """Statements under way, with those that wait for a connection."""
        self._room = asyncio.Semaphore(size)
        self._idle: list[Any] = []

    async def fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Returns the rows. A connection that was lost while it was idle is replaced, and nobody notices.

        Raises:
            TimeoutError: no connection became free in time.
        """
        self.asked += 1
        try:
            return await self._fetch_in_room(statement, arguments)
        finally:
            self.asked -= 1

    async def _fetch_in_room(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        if self._room.locked():
            async with asyncio.timeout(self._pool_timeout):
                await self._room.acquire()
        else:
            await self._room.acquire()  # without a timer, which costs more than the room
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
            self._room.release()

    async def _fetch(self, conn: Any, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        try:
            rows: Sequence[Any] = await conn.fetch(statement, *arguments)
        except asyncpg.PostgresError:
            self._give_back(conn)
            raise
        except BaseException:
            # Cancelled, or lost: nobody knows its state.
            conn.terminate()
            raise
        self._idle.append(conn)
        return rows

    def _give_back(self, conn: Any) -> None:
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
        """Closes the idle connections, which are all if nothing is under way."""
        while self._idle:
            await self._idle.pop().close()
