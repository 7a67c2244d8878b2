"""Sends alerts while no worker runs, which is when people must hear that nothing does.

The relay and the notifier are parts of a worker. A process without one, such as an API process, runs this instead: as
long as no worker reports itself, it counts what is late, and sends the notifications that are due. It leaves the event
log to the workers.
"""

from db.core.database import Database
from db.queue import workers
from domain.time import clock
from engine.alerts.notifier import Notifier
from engine.deliveries.relay import Relay
from engine.worker.background_service import BackgroundService

INTERVAL_SECONDS = 10.0
"""Seconds between two looks for a worker: half of the time after which it counts as lost."""


class AlertStandby(BackgroundService):
    """Does the alerting of one database while it has no worker. Any number of processes can run one."""

    def __init__(self, database: Database, relay: Relay, notifier: Notifier) -> None:
        """`relay` and `notifier` belong to this standby, and are not run by themselves."""
        super().__init__("alert standby", INTERVAL_SECONDS)
        self._database = database
        self._relay = relay
        self._notifier = notifier

    async def work(self) -> float:
        """Counts and sends what is due, unless a worker does; returns the seconds until the next look."""
        if await self._database.read(workers.has_active, clock.now()):
            return self.interval
        await self._relay.count_late()
        seconds = 0.0
        while seconds <= 0 and not self.is_stopping:
            seconds = await self._notifier.work()
        return min(seconds, self.interval)

    def stop(self) -> None:
        """Starts no further turn; attempts under way get the grace of the notifier."""
        super().stop()
        self._notifier.stop()

    async def shut_down(self) -> None:
        """Ends the threads of the notifier."""
        await self._notifier.shut_down()
