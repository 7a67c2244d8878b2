"""The dispatcher's queue on PostgreSQL: the tickets in PGQueuer's table.

Who makes a run due writes its ticket in the same transaction (`db.tickets`), so there is nothing to look for in the run
table, but for what has no ticket: the runs of lost workers, whose leases have ended, and those whose tickets were lost.
Those that became due since the last look are found every second; at the start, each minute, and after the database was
away, all are.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from db.core.database import Database
from db.queue import tickets
from db.runs import step_journal
from db.runs.step_journal import Claimed
from domain import clock
from domain.errors import DatabaseUnavailableError
from engine.polling import PollingDispatcher, PollingSettings

_logger = logging.getLogger(__name__)

SWEEP = timedelta(minutes=1)
"""Between two sweeps of all due runs."""
LOOK = timedelta(seconds=1)
"""Between two looks at the runs that became due since the last."""
OVERLAP = timedelta(seconds=5)
"""By which two such looks overlap: clocks differ, and a transaction may take a while."""
LOG_KEPT = timedelta(days=1)
"""For which the rows of PGQueuer's log are kept, if something else uses it."""
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class TicketQueue:
    """Hands out runs by their tickets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sweep_at = self._look_at = self._looked_at = _EVER

    async def claim(self, at_most: int, lease: timedelta) -> Sequence[Claimed]:
        """Take up to `at_most` tickets that are due, by priority, and claim their runs."""
        try:
            await self._replace_lost_tickets()
            return await self._database.write(step_journal.claim_tickets, at_most, lease)
        except DatabaseUnavailableError:
            # The tickets do not survive a crash of the server.
            self._sweep_at = self._look_at = _EVER
            raise

    async def next_due(self) -> datetime | None:
        """When the next ticket is due, or what has none is looked for again."""
        due_at = await self._database.read(tickets.next_due)
        return self._look_at if due_at is None else min(due_at, self._look_at)

    async def _replace_lost_tickets(self) -> None:
        now = clock.now()
        # As soon as that is over, or the clock was set back.
        if not timedelta(0) < self._sweep_at - now <= SWEEP:
            await self._database.write(tickets.prune, now, now - LOG_KEPT)
            since = _EVER
            self._sweep_at = now + SWEEP
        elif not timedelta(0) < self._look_at - now <= LOOK:
            since = min(self._looked_at, now) - OVERLAP
        else:
            return
        if count := await self._database.write(tickets.sweep, since, now):
            _logger.info("Wrote tickets for %d due runs without one", count)
        self._looked_at, self._look_at = now, now + LOOK


def ticket_dispatcher(database: Database, settings: PollingSettings | None = None) -> PollingDispatcher:
    """A dispatcher that executes the runs for which there are tickets in a PostgreSQL database."""
    return PollingDispatcher(database, settings, TicketQueue(database))
