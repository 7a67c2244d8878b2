"""Processes bulk operations in the background, one chunk of each in turn.

An operation belongs to the worker that claimed it last. Another worker can claim it when that worker has processed no
chunk for the length of the lease. The changes of a chunk commit together with the operation's position (`db.bulk`), so
any number of workers can run on one database.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from db.bulk import chunks, leases, plans
from db.bulk.chunks import CHUNK_SIZE, ChunkOutOfOrderError, PipelineConflictError
from db.bulk.leases import BulkLease, OperationLostError
from db.core import pubsub
from db.core.database import Database
from domain import ids
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.time import clock
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
"""Length of the lease of an operation. Each chunk renews it, and takes a small fraction of it."""
INTERVAL_SECONDS = 1.0
"""Seconds between two checks for operations without a wake-up: wake-ups from other processes may be lost."""
MAX_OPERATIONS = 4
"""Operations that one worker processes in turn, so that a short one does not wait for a long one."""
EXPIRE_INTERVAL = timedelta(minutes=1)
"""Time between two deletions of expired plans. A lost preparation counts as active for at most this long."""
PLANS_KEPT = timedelta(days=1)
"""Time for which an expired plan can still be read."""
_MAX_EXPIRED = 5_000
"""Outcomes of expired plans that are deleted in one transaction, so that it does not block others for long."""
_IN_PROGRESS = 3
"""Chunks of an operation in progress at a time. While one waits for the disk or this process, PostgreSQL works on the
others; more than three save no time on two cores, and each takes a connection."""
_NARROW_FACTOR = 10
"""Factor by which chunks shrink after a fault: the faulty run among 1,000 is found in three steps."""


@dataclass(frozen=True, slots=True)
class _ChunkAhead:
    """A chunk in progress that began before the previous one was committed."""

    after: UUID
    """The last run of the previous chunk."""
    done: "asyncio.Task[bool | None]"


class ChunkPipeline:
    """Processes one operation, chunk by chunk. A run that cannot be processed fails alone; the other runs are
    processed."""

    def __init__(self, database: Database, lease: BulkLease, size: int = CHUNK_SIZE) -> None:
        self._database = database
        self._lease = lease
        self._full_size = self._size = size
        self._runs_until_full_size = 0
        self._ahead: deque[_ChunkAhead] = deque()
        # A single PostgreSQL connection is idle half of the time, while it waits for the disk or this process. SQLite
        # has one writer.
        self._is_pipelined = database.dialect == "postgresql"

    async def process_next(self) -> bool:
        """Processes a chunk, while the one after it is in progress where the database and the action allow that.

        Returns True if the operation has ended, or belongs to another worker.

        Raises:
            DatabaseUnavailableError
        """
        if not self._ahead:
            return await self._begin()
        try:
            await self._begin_ahead(_IN_PROGRESS, self._ahead[-1].after)
        finally:
            outcome = await self._ahead.popleft().done
        if outcome is not False:
            # The operation has ended, or the chunk was not committed: those after it are not committed either.
            await self.settle()
        return bool(outcome)

    async def settle(self) -> bool:
        """Waits for the chunks in progress. Returns True if the operation has ended with them."""
        has_ended = False
        while self._ahead:
            has_ended = bool(await self._ahead.popleft().done) or has_ended
        return has_ended

    async def _begin(self) -> bool:
        """Processes the next chunk, and begins the one after it: more only if that one can be pipelined."""
        await self._begin_ahead(1, None)
        has_ended = True
        try:
            has_ended = await self._process_chunk()
        finally:
            if has_ended:  # It is the same if the database is unavailable.
                await self.settle()
        return has_ended

    async def _begin_ahead(self, number: int, after: UUID | None) -> None:
        """Begins chunks until there are `number`. The last one that has begun follows the run `after`; None: there is
        none."""
        while len(self._ahead) < number:
            after = await self._pipeline_boundary(after)
            if after is None:
                return
            self._ahead.append(_ChunkAhead(after, asyncio.create_task(self._process_next_chunk(after))))

    async def finish(self) -> None:
        """Processes all chunks.

        Raises:
            DatabaseUnavailableError
        """
        while not await self.process_next():
            pass

    async def release(self) -> None:
        """Lets other workers claim the operation at once."""
        await self.settle()
        await self._database.write(leases.release, self._lease)

    async def _pipeline_boundary(self, after: UUID | None) -> UUID | None:
        """Returns the run where the chunk after the run `after`, or the next one, ends, if the one after that may be
        processed in parallel."""
        if not self._is_pipelined or self._size < self._full_size:
            return None
        try:
            return await self._database.read(chunks.next_boundary, self._lease, self._size, after)
        except OperationLostError:
            return None  # The next write finds this out, too.

    async def _process_chunk(self) -> bool:
        try:
            has_ended = await self._database.write(chunks.process_chunk, self._lease, self._size, LEASE)
        except OperationLostError:
            return True
        except DatabaseUnavailableError:
            raise
        except Exception:
            return await self._narrow()
        self._widen()
        return has_ended

    async def _process_next_chunk(self, after: UUID) -> bool | None:
        """Processes the chunk after the one in progress. Returns True if the operation has ended, and None if nothing
        was committed: then the chunk is processed again by itself."""
        try:
            return await self._database.write(chunks.process_next_chunk, self._lease, after, self._full_size, LEASE)
        except (OperationLostError, DatabaseUnavailableError, ChunkOutOfOrderError):
            return None
        except PipelineConflictError:
            self._is_pipelined = False
        except Exception:
            _logger.warning("bulk pipeline disabled", extra=self._log_fields(), exc_info=True)
            self._is_pipelined = False
        return None

    async def _narrow(self) -> bool:
        """Handles a fault: continues in smaller chunks until one chunk is the faulty run alone; that run fails."""
        if self._size > 1:
            _logger.warning("bulk chunk failed", extra=self._log_fields(), exc_info=True)
            self._runs_until_full_size = max(self._runs_until_full_size, self._size)
            self._size = max(1, self._size // _NARROW_FACTOR)
            return False
        _logger.error("bulk run failed", extra=self._log_fields(), exc_info=True)
        try:
            has_ended = await self._database.write(chunks.fail_next_run, self._lease, LEASE)
        except OperationLostError:
            return True
        self._widen()
        return has_ended

    def _widen(self) -> None:
        """Returns to full chunks once the faulty chunk is processed."""
        self._runs_until_full_size -= self._size
        if self._runs_until_full_size <= 0:
            self._size = self._full_size

    def _log_fields(self) -> dict[str, object]:
        operation_id = ids.encode(IdKind.BULK_OPERATION, self._lease.operation_id)
        return {"operation_id": operation_id, "chunk_size": self._size}


class BulkWorker(BackgroundService):
    """Processes the bulk operations of one database. Any number of processes can run one."""

    def __init__(self, database: Database, chunk_size: int = CHUNK_SIZE) -> None:
        super().__init__("bulk worker", INTERVAL_SECONDS, database.pubsub, pubsub.BULK_DUE)
        self._database = database
        self._chunk_size = chunk_size
        self._pipelines: list[ChunkPipeline] = []
        self._expire_at = datetime.min.replace(tzinfo=clock.now().tzinfo)

    async def work(self) -> float:
        """Processes one chunk of each operation; returns the seconds until the next turn."""
        now = clock.now()
        if now >= self._expire_at:
            await self._database.write(plans.expire_stale_plans, now, now - PLANS_KEPT, _MAX_EXPIRED)
            self._expire_at = now + EXPIRE_INTERVAL
        return 0 if await self.process_turn() else self.interval

    async def shut_down(self) -> None:
        """Releases the operations that have not ended, for other workers."""
        for pipeline in self._pipelines:
            await pipeline.release()

    async def drain(self) -> None:
        """Processes the operations that no other worker has, until they have ended."""
        while await self.process_turn():
            pass

    async def process_turn(self) -> bool:
        """Claims an operation, if there is one, and processes a chunk of each claimed operation. Returns False if none
        is left."""
        if len(self._pipelines) < MAX_OPERATIONS and await self._database.read(leases.has_claimable):
            lease = await self._database.write(leases.claim, LEASE)
            if lease is not None:
                self._pipelines.append(ChunkPipeline(self._database, lease, self._chunk_size))
        for pipeline in list(self._pipelines):
            if self.is_stopping:
                break
            has_ended = await pipeline.process_next()
            if len(self._pipelines) > 1:
                # Several operations take turns instead of all having chunks in progress: others write, too.
                has_ended = await pipeline.settle() or has_ended
            if has_ended:
                self._pipelines.remove(pipeline)
        return bool(self._pipelines)
