"""Carries on with bulk operations, beside the scheduler: chunk by chunk, one operation after the other in turn.

An operation belongs to the process that claimed it last, and is free again when that goes without a chunk for as long
as the lease. What a chunk changes commits with how far the operation has come (`db.bulk`), so any number of processes
may look for operations.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from db.bulk import operations as bulk_operations
from db.bulk.operations import BulkLease, OperationLostError, PipelineConflictError
from db.core import pubsub
from db.core.database import Database
from domain import clock, ids
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind

_logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
"""For which an operation is nobody else's; each chunk renews it."""
INTERVAL_SECONDS = 1.0
"""At the longest, between two looks for operations to go on with."""
AT_ONCE = 4
"""Operations that take turns in one process."""
CLEAR_UP = timedelta(minutes=1)
"""Between two looks for what was left behind."""
PLANS_KEPT = timedelta(days=1)
"""For which an expired plan is still known."""
_FORGOTTEN = 5_000
"""Runs of old plans that are forgotten at once."""
_NARROWER = 10


class ChunkPipeline:
    """Carries on with one operation. One run that cannot be dealt with does not keep it from the others."""

    def __init__(self, database: Database, held: BulkLease, size: int = bulk_operations.CHUNK) -> None:
        self._database = database
        self._held = held
        self._full = self._size = size
        self._left = 0
        # SQLite has one writer; of PostgreSQL's, one waits for the disk or for this process half of the time.
        self._abreast = database.dialect == "postgresql"

    async def step(self) -> bool:
        """Deal with the next runs, two chunks abreast where that is possible; whether there is nothing more to do here.

        Raises:
            DatabaseUnavailableError
        """
        if not self._abreast or self._size < self._full:
            return await self._first()
        second: list[asyncio.Task[bool]] = []

        def begun(through: UUID) -> None:
            # Told again when the database had it done once more.
            if not second:
                second.append(asyncio.create_task(self._ahead(through)))

        try:
            done = await self._first(begun)
        finally:
            ended = [await each for each in second]
        return done or any(ended)

    async def _first(self, begun: Callable[[UUID], None] | None = None) -> bool:
        try:
            done = await self._database.write(bulk_operations.process_chunk, self._held, self._size, LEASE, begun)
        except OperationLostError:
            return True
        except DatabaseUnavailableError:
            raise
        except Exception:
            return await self._narrow()
        self._widen()
        return done

    async def _ahead(self, after: UUID) -> bool:
        """Deal with the chunk behind the one under way; whatever keeps it from that, it comes again by itself."""
        try:
            return await self._database.write(bulk_operations.process_next_chunk, self._held, after, self._full, LEASE)
        except (OperationLostError, DatabaseUnavailableError):
            return False
        except PipelineConflictError:
            self._abreast = False
        except Exception:
            _logger.warning("Going on chunk by chunk", exc_info=True)
            self._abreast = False
        return False

    async def finish(self) -> None:
        """Deal with all of them.

        Raises:
            DatabaseUnavailableError
        """
        while not await self.step():
            pass

    async def release(self) -> None:
        """Leave the operation to other processes."""
        await self._database.write(bulk_operations.release, self._held)

    async def _narrow(self) -> bool:
        """After a fault: go on in smaller chunks, until it is known which run is at fault; that one has failed."""
        name = ids.encode(IdKind.BULK_OPERATION, self._held.operation_id)
        if self._size > 1:
            _logger.warning("%s met a fault; going on in smaller chunks", name, exc_info=True)
            self._left = max(self._left, self._size)
            self._size = max(1, self._size // _NARROWER)
            return False
        _logger.exception("%s could not deal with a run", name)
        try:
            done = await self._database.write(bulk_operations.fail_next, self._held, LEASE)
        except OperationLostError:
            return True
        self._widen()
        return done

    def _widen(self) -> None:
        """Go back to full chunks when the one with the fault is over."""
        self._left -= self._size
        if self._left <= 0:
            self._size = self._full


class BulkWorker:
    """Carries on with the bulk operations of one database."""

    def __init__(self, database: Database, chunk: int = bulk_operations.CHUNK) -> None:
        self._database = database
        self._chunk = chunk
        self._carriers: list[ChunkPipeline] = []
        self._clear_up_at = datetime.min.replace(tzinfo=clock.now().tzinfo)
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Begin no more chunks; `run` returns."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Carry on with operations until `stop`; those that have not ended by then are left to other processes."""
        with self._database.signals.listen(pubsub.BULK_DUE) as self._wake:
            while not self._stopping.is_set():
                self._wake.clear()
                if not await self._look():
                    await clock.wait_for(self._wake, INTERVAL_SECONDS)
        for carrier in self._carriers:
            await carrier.release()

    async def work_off(self) -> None:
        """Carry on with the operations that nobody works on, until they have ended."""
        while await self._turn():
            pass

    async def _look(self) -> bool:
        """One turn; whether there may be more to do at once."""
        try:
            await self._clear_up()
            return await self._turn()
        except DatabaseUnavailableError:
            _logger.warning("The database is away; looking for bulk operations again in %g s", INTERVAL_SECONDS)
            return False

    async def _turn(self) -> bool:
        if len(self._carriers) < AT_ONCE and await self._database.read(bulk_operations.any_waits):
            held = await self._database.write(bulk_operations.claim, LEASE)
            if held is not None:
                self._carriers.append(ChunkPipeline(self._database, held, self._chunk))
        for carrier in list(self._carriers):
            if self._stopping.is_set():
                break
            if await carrier.step():
                self._carriers.remove(carrier)
        return bool(self._carriers)

    async def _clear_up(self) -> None:
        now = clock.now()
        if now >= self._clear_up_at:
            await self._database.write(bulk_operations.expire_stale_plans, now, now - PLANS_KEPT, _FORGOTTEN)
            self._clear_up_at = now + CLEAR_UP
