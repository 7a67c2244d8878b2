"""Sends the notifications that are due, and turns groups of equal events into notifications.

A claimed notification has a lease: if the worker is lost, another one sends it after the lease has run out. So a
message is sent at least once, and a second time if a worker is killed between the answer and its record.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from db.alerts import groups, notifications, sources
from db.core import pubsub
from db.core.database import Database
from db.outbound_row_types import AlertRow, NotificationRow
from domain import ids
from domain.ids import IdKind
from domain.observation.observer import SILENT, Observer
from domain.time import clock
from engine.alerts import message
from engine.alerts.messenger import CHAT_SECONDS, Messenger
from engine.secrets.key_ring import KeyLostError, KeyRing, Sealed
from engine.secrets.store import SecretStore
from engine.secrets.url_masks import url_masker
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
"""Seconds between two looks for due groups and notifications without a wake-up."""
BATCH = 10
"""Notifications that one worker sends at the same time."""
GRACE_SECONDS = 10.0
"""Seconds for which attempts may go on when the worker stops."""
GROUP_BATCH = 500
"""Groups that one transaction turns into notifications."""
LEASE = timedelta(seconds=2 * CHAT_SECONDS)
"""Longer than an attempt can take, its record included."""


def target_context(alert_id: UUID) -> str:
    """Returns the context in which the target of an alert is encrypted."""
    return f"alert {alert_id}"


class Notifier(BackgroundService):
    """Sends the notifications of one database. Any number of processes can run one."""

    def __init__(
        self, database: Database, messenger: Messenger, secrets: SecretStore, observer: Observer = SILENT
    ) -> None:
        """`secrets` has the keys that decrypt targets; `observer` receives a report of each attempt."""
        super().__init__("notifier", INTERVAL_SECONDS, database.pubsub, pubsub.ALERTS_DUE)
        self._database = database
        self._messenger = messenger
        self._secrets = secrets
        self._observer = observer

    @property
    def _keys(self) -> KeyRing:
        return self._secrets.keys

    async def work(self) -> float:
        """Sends what is due; returns the seconds until the next look."""
        now = clock.now()
        due = await self._database.read(groups.next_due)
        if due is not None and due <= now:
            # None if another worker has locked them.
            return 0 if await self._database.write(groups.notify, now, GROUP_BATCH) else 1
        waiting = await self._database.read(notifications.next_due)
        if waiting is None or waiting > now:
            following = min((each for each in (due, waiting) if each is not None), default=None)
            return self.interval if following is None else (following - now).total_seconds()
        token = uuid4()
        claimed = await self._database.write(notifications.claim, token, now, LEASE, BATCH)
        if not claimed:
            return 1
        try:
            await self._end([asyncio.create_task(self._attempt(notification)) for notification in claimed])
        finally:
            # If the worker stops in between, another one sends the rest at once.
            await self._database.write(notifications.release, token, clock.now())
        return 0

    async def _end(self, attempts: Sequence[asyncio.Task[None]]) -> None:
        """Waits until attempts have ended, or for `GRACE_SECONDS` once the worker stops."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            pending = set(attempts)
            while pending and not stopping.done():
                _, rest = await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
                pending = {task for task in pending if task in rest}
            if pending:
                await asyncio.wait(pending, timeout=GRACE_SECONDS)
        finally:
            for task in (stopping, *attempts):
                task.cancel()
        for result in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def shut_down(self) -> None:
        """Ends the threads."""
        self._messenger.close()

    async def _attempt(self, notification: NotificationRow) -> None:
        found = await self._database.read(sources.load, notification)
        alert = found.alert
        if alert is None or not (alert.enabled or notification.is_test):
            problem: str | None = "The alert was deleted or disabled."
        else:
            problem = await self._send(notification, alert, found)
        self._observer.notification_attempted(is_sent=problem is None)
        await self._database.write(notifications.end_attempt, notification, problem, clock.now())
        if problem is not None:
            fields = {"notification_id": ids.encode(IdKind.NOTIFICATION, notification.id), "reason": problem}
            _logger.warning("notification not sent", extra=fields)

    async def _send(
        self, notification: NotificationRow, alert: AlertRow, found: sources.NotificationSources
    ) -> str | None:
        try:
            target = self._keys.open(Sealed(alert.key_id, alert.sealed), target_context(alert.id))
        except KeyLostError as error:
            return f"{error} Add it to FLOWRUNS_SECRET_KEYS of the worker."
        problem = await self._messenger.send(target, message.render(notification, alert, found))
        # The service may have repeated what it was sent.
        return None if problem is None else url_masker(target).cut_text(problem)
