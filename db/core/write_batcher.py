"""Write batches: one unit of work that serves several callers at once.

Journal writes of runs are alike and small: most of their cost is the transaction and the round trips of its statements.
Callers that arrive while a batch is under way wait, and the next batch serves them together with the same few
statements.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Any

from db.core.unit_of_work import UnitOfWork
from domain.errors import DatabaseUnavailableError

_logger = logging.getLogger(__name__)

BatchWrite = Callable[[UnitOfWork, Sequence[Any]], Collection[Hashable]]
"""Writes as many of the callers' items as it can, and returns their keys. Never blocks on a row lock (SKIP LOCKED)."""

MAX_BATCH = 64
"""Callers in one batch. With 64 it ends within milliseconds."""
MAX_IN_FLIGHT = 2
"""Batches under way at once: while the database executes one, this process prepares the next."""


class WriteBatcher:
    """Serves the callers of one `BatchWrite`. Callers that arrive at the same time share a unit of work."""

    def __init__(self, write: Callable[[Sequence[Any]], Awaitable[Collection[Hashable]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Hashable, Any, asyncio.Future[bool]]] = []
        self._serving = 0

    @property
    def has_room(self) -> bool:
        """True if the next caller has to call `serve`."""
        return self._serving < MAX_IN_FLIGHT and len(self._waiting) == 1

    def put(self, key: Hashable, item: Any) -> asyncio.Future[bool]:
        """Adds `item` to a batch. Returns True if it was written; otherwise nothing was written for it."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((key, item, done))
        return done

    async def serve(self) -> None:
        """Serves the waiting callers, and those that arrive until none waits."""
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
            # One of the items caused the error, but it is unknown which: each caller repeats its own.
            _logger.warning("Write batch of %d callers failed; each writes on its own", len(some), exc_info=True)
        for key, _, done in some:
            if done.done():  # the caller was cancelled
                continue
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(key in written)
