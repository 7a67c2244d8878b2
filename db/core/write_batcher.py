"""Units of work that are done for several callers at once.

What runs under way journal is alike and small, and most of what it costs is the transaction and the round trips of its
statements. So those who come while others are being served wait, and are served together by the same few statements.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Any

from db.core.unit_of_work import UnitOfWork
from domain.errors import DatabaseUnavailableError

_logger = logging.getLogger(__name__)

BatchWrite = Callable[[UnitOfWork, Sequence[Any]], Collection[Hashable]]
"""Does as much as it can of what several callers want; returns the keys of what it did. It waits for nobody."""

MAX_BATCH = 64
"""Callers served by one unit of work: it ends within milliseconds."""
MAX_IN_FLIGHT = 2
"""Units of work under way at once: while the database has one, this process prepares the other."""


class WriteBatcher:
    """Serves the callers of one `BatchWrite`, those that come at the same time in one unit of work."""

    def __init__(self, write: Callable[[Sequence[Any]], Awaitable[Collection[Hashable]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Hashable, Any, asyncio.Future[bool]]] = []
        self._serving = 0

    @property
    def has_room(self) -> bool:
        """Whether somebody has to `serve` who comes now."""
        return self._serving < MAX_IN_FLIGHT and len(self._waiting) == 1

    def put(self, key: Hashable, item: Any) -> asyncio.Future[bool]:
        """Have `item` done; the result is whether it was. If not, nothing of it was written."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((key, item, done))
        return done

    async def serve(self) -> None:
        """Serve those who wait, and those who come meanwhile."""
        self._serving += 1
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._serve(some)
        finally:
            self._serving -= 1

    async def _serve(self, some: Sequence[tuple[Hashable, Any, asyncio.Future[bool]]]) -> None:
        written: Collection[Hashable] = ()
        error: Exception | None = None
        try:
            written = await self._write([item for _, item, _ in some])
        except DatabaseUnavailableError as away:
            error = away
        except Exception:
            # It is one of them, and nobody knows which: each finds out by itself.
            _logger.warning("A unit of work for %d callers failed; each goes on by itself", len(some), exc_info=True)
        for key, _, done in some:
            if done.done():  # whoever asked was cancelled
                continue
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(key in written)
