"""Write batches: one unit of work that serves several callers at once.

Journal writes of runs are alike and small: most of their cost is the transaction and the round trips of its statements.
Callers that arrive during a batch wait, and the next batch serves them together with the same few statements.
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
"""Largest number of callers in one batch. A batch of 64 ends within milliseconds."""
MAX_IN_FLIGHT = 2
"""Largest number of simultaneous batches: while the database executes one, this process prepares the next."""


class WriteBatcher:
    """Serves the callers of one `BatchWrite`. Callers that arrive at the same time share a unit of work."""

    def __init__(self, write: Callable[[Sequence[Any]], Awaitable[Collection[Hashable]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Hashable, Any, asyncio.Future[bool]]] = []
        self._in_flight = 0

    @property
    def needs_drain(self) -> bool:
        """True if the next caller must call `drain`."""
        return self._in_flight < MAX_IN_FLIGHT and len(self._waiting) == 1

    def submit(self, key: Hashable, item: Any) -> asyncio.Future[bool]:
        """Adds `item` to a batch. Returns True if it was written; otherwise nothing was written for it."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((key, item, done))
        return done

    async def drain(self) -> None:
        """Serves the waiting callers, and those that arrive until none waits."""
        self._in_flight += 1
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write_batch(batch)
        finally:
            self._in_flight -= 1

    async def _write_batch(self, batch: Sequence[tuple[Hashable, Any, asyncio.Future[bool]]]) -> None:
        written: Collection[Hashable] = ()
        error: Exception | None = None
        try:
            written = await self._write([item for _, item, _ in batch])
        except DatabaseUnavailableError as unavailable:
            error = unavailable
        except Exception:
            # One of the items caused the error, but it is unknown which. Each caller repeats its own.
            _logger.warning(
                "write batch failed, each caller writes alone", extra={"callers": len(batch)}, exc_info=True
            )
        for key, _, done in batch:
            if done.done():  # The caller was cancelled.
                continue
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(key in written)
