"""The hub: the subscriptions of this process to the event log. One tailer reads the log for all of them."""

import asyncio
import logging

from db.core.database import Database
from db.events.log import LogPosition
from live.catch_up import CatchUp, LogReader
from live.events import HubClosedError, TailerFailedError
from live.log_tailer import LogTailer
from live.subscription import Subscription
from live.topics import Topic

_logger = logging.getLogger(__name__)

MAX_QUEUED = 1_000
"""Largest number of live events that wait for one subscriber. The subscription of a slower subscriber ends."""


class Hub:
    """Subscriptions to the event log of one database. Belongs to one event loop.

    The tailer starts with the first subscriber and ends with the last.
    """

    def __init__(self, database: Database, *, max_queued: int = MAX_QUEUED) -> None:
        """A subscription ends when more than `max_queued` events wait for its subscriber."""
        self._database = database
        self._max_queued = max_queued
        self._reader = LogReader(database)
        self._tailer: LogTailer | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        """Tasks of tailers that were stopped and have not ended yet."""
        self._subscriptions: set[Subscription] = set()
        self._is_closed = False

    def subscribe(self, topic: Topic, after: LogPosition | None) -> Subscription:
        """Returns a subscription to the events of `topic` after a position; None: from now on.

        Replayed events come first, then `CaughtUp`, then live events. The caller closes the subscription
        (`contextlib.aclosing`).
        """
        return Subscription(self, topic, after, self._max_queued)

    @property
    def subscribers(self) -> int:
        """The number of subscriptions that have begun and not ended."""
        return len(self._subscriptions)

    @property
    def published_until(self) -> LogPosition | None:
        """The position up to which this process has published events; None without subscribers."""
        return self._tailer.published_until if self._tailer is not None else None

    async def close(self) -> None:
        """Ends every subscription, and the tailer."""
        self._is_closed = True
        for subscription in list(self._subscriptions):
            subscription.fail(HubClosedError())
        self._stop_tailer()
        await asyncio.gather(*self._stopping, return_exceptions=True)

    # Called by subscriptions

    def join(self, subscription: Subscription, after: LogPosition | None) -> CatchUp:
        """See `SubscriptionHost.join`. With the first subscription, the tailer starts."""
        if self._is_closed:
            raise HubClosedError
        self._subscriptions.add(subscription)
        if self._tailer is None:
            self._tailer = LogTailer(self._database, self._on_tailer_failure)
        return CatchUp(self._reader, self._tailer, subscription, after)

    def leave(self, subscription: Subscription) -> None:
        """See `SubscriptionHost.leave`. After the last subscription, the tailer ends."""
        self._subscriptions.discard(subscription)
        if self._tailer is not None:
            self._tailer.leave(subscription)
        if not self._subscriptions:
            self._stop_tailer()

    def _on_tailer_failure(self, tailer: LogTailer, error: Exception) -> None:
        """Ends every subscription; the next one starts another tailer."""
        _logger.error("log tailer failed", exc_info=error)
        if self._tailer is tailer:
            self._tailer = None
        for subscription in list(self._subscriptions):
            subscription.fail(TailerFailedError())
        self._subscriptions.clear()

    def _stop_tailer(self) -> None:
        if self._tailer is not None:
            task = self._tailer.task
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
            self._tailer.stop(HubClosedError())
            self._tailer = None
