"""What a worker does from time to time: makes way for runs that were forgotten, and purges old step data.

Every worker does it. They do not need to agree: what one has in hand, the others pass over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from db import admission, retention
from db.session import Database
from domain import clock
from domain.errors import DatabaseUnavailableError

_logger = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0
"""Between two looks at the lines of runs that wait for a place; whoever frees a place makes way at once."""
PURGE_SECONDS = 600.0
"""Between two looks for step data that are kept no longer."""
BATCH = 200
"""Runs purged in one transaction: with some steps each it ends within tens of milliseconds."""
REST_SECONDS = 0.1
"""Between two batches, for others who write."""


class Housekeeper:
    """Keeps one database in order. `retention_days` is how long step data are kept unless a project says otherwise."""

    def __init__(self, database: Database, retention_days: int | None = None) -> None:
        self._database = database
        self._retention_days = retention_days

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(SWEEP_SECONDS, self.sweep))
            tasks.create_task(_every(PURGE_SECONDS, self.purge))

    async def sweep(self) -> None:
        """Let runs go on that wait for a place although there is one."""
        for project_id, line in await self._database.read(admission.lines):
            await self._database.write(admission.sweep, project_id, line)

    async def purge(self) -> int:
        """Purge all step data that are kept no longer; returns the number of runs."""
        purged = 0
        while number := await self._database.write(retention.purge_expired, self._retention_days, BATCH):
            purged += number
            await clock.sleep(REST_SECONDS)
        if purged:
            _logger.info("Purged the step data of %d runs", purged)
        return purged


async def _every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except DatabaseUnavailableError:
            _logger.warning("The database is away; trying again in %g s", seconds)
        except Exception:
            _logger.exception("Housekeeping failed; trying again in %g s", seconds)
        await clock.sleep(seconds)
