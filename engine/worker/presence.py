"""A worker reports itself: that it lives, and which runs it executes. Views of the workers show it."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from db.core.database import Database
from db.queue import workers
from db.queue.workers import WorkerIdentity
from domain import reasons
from domain.errors import DatabaseUnavailableError
from domain.time import clock
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
"""Time between two heartbeats, in seconds. A worker counts as lost after `db.queue.workers.LOST_AFTER`, which is
several of them."""
LOOK_SECONDS = 1.0
"""Time between two looks at what the worker executes, in seconds: a run that it executes for so long is reported by a
heartbeat of its own, unless the last one named it."""


class Presence(BackgroundService):
    """Writes the heartbeats of one worker, and removes the worker at the end."""

    def __init__(
        self, database: Database, worker: WorkerIdentity, executing: Callable[[], Mapping[UUID, datetime]]
    ) -> None:
        """`executing` returns the runs that the worker executes, each with the time at which it began."""
        super().__init__("presence", LOOK_SECONDS)
        self.worker = worker
        self._database = database
        self._executing = executing
        self._reported: frozenset[UUID] = frozenset()
        self._reported_at: datetime | None = None
        self._is_draining = False

    def drain(self) -> None:
        """Report from now on that the worker claims no more runs."""
        self._is_draining = True
        self._reported_at = None
        self.wake()

    async def work(self) -> float:
        """Write a heartbeat if it is time, or if the worker executes a run that is not reported."""
        now, executing = clock.now(), self._executing()
        if self._is_due(now, executing):
            run_ids = sorted(executing, key=lambda run_id: (executing[run_id], run_id))
            await self._database.write(workers.report, self.worker, run_ids, draining=self._is_draining)
            self._reported, self._reported_at = frozenset(run_ids), now
        return LOOK_SECONDS

    async def shut_down(self) -> None:
        """Remove the worker."""
        try:
            await self._database.write(workers.remove, self.worker.id)
        except DatabaseUnavailableError as error:
            _logger.warning("database unavailable", extra={"service": self.name, "reason": reasons.of_database(error)})

    def _is_due(self, now: datetime, executing: Mapping[UUID, datetime]) -> bool:
        if self._reported_at is None or not 0 <= (now - self._reported_at).total_seconds() < HEARTBEAT_SECONDS:
            return True
        before = now - timedelta(seconds=LOOK_SECONDS)
        return any(begun <= before and run_id not in self._reported for run_id, begun in executing.items())
