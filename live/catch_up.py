"""Replays the log to one subscriber, and hands over to the tailer without a gap.

The subscriber reads pages of the log up to the tailer's position, then joins the tailer, which has a later position by
then. Events up to the position of joining are read from the log; the tailer delivers all later ones.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from db.core.database import Database
from db.events import log as event_log
from db.events.log import LogPosition, Page
from domain.errors import DatabaseUnavailableError
from domain.time import clock
from live.events import LogEvent, MatchedEvent, ReadBatch
from live.log_tailer import PAGE_SIZE, RETRY_SECONDS, LogTailer, Subscriber
from live.topics import Matcher, Topic, TopicState, match_all

T = TypeVar("T")

MAX_REPLAYS = 4
"""Subscribers of one process that read the log at the same time. When thousands reconnect, this leaves connections to
others."""


class LogReader:
    """Reads the log for subscribers that catch up. Waits while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(MAX_REPLAYS)

    async def page(self, after: LogPosition, until: LogPosition, topic: Topic, matcher: Matcher) -> Page:
        """Returns the next events of a topic's scope after `after`, up to `until`, where the log must be complete.

        Raises:
            CursorExpiredError: events after `after` were pruned.
        """

        async def read() -> Page:
            async with self._slots:
                return await self._database.read(event_log.page, after, until, topic.scope, PAGE_SIZE, matcher.needed)

        return await _when_available(read)

    async def state(self, topic: Topic, position: LogPosition) -> TopicState:
        """Returns the state of `topic` at `position`."""
        return await _when_available(lambda: topic.state_at(self._database, position))


class CatchUp:
    """The replay of one subscription."""

    __slots__ = ("_joined_at", "_matcher", "_reader", "_subscriber", "_tailer", "is_from_now", "position")

    def __init__(self, reader: LogReader, tailer: LogTailer, subscriber: Subscriber, after: LogPosition | None) -> None:
        """Replays the events after `after`; None: replays nothing, and only joins the tailer."""
        self._reader = reader
        self._tailer = tailer
        self._subscriber = subscriber
        self._matcher = subscriber.topic.matcher()
        self._joined_at: LogPosition | None = None
        self.is_from_now = after is None
        self.position = after
        """The position up to which `next` has returned every event."""

    @property
    def is_done(self) -> bool:
        """True if the replay has met the tailer, which delivers every event after `position`."""
        return self._joined_at is not None and self.position is not None and self._joined_at <= self.position

    async def next(self) -> Sequence[MatchedEvent]:
        """Returns the matching events of the next page, and joins the tailer when it has been reached.

        Raises:
            CursorExpiredError: events after the start of the replay were pruned.
            SubscriptionError: the tailer ended.
        """
        if self.position is None:
            self.position = self._joined_at = await self._tailer.join(self._subscriber)
            return ()
        topic = self._subscriber.topic
        until = self._joined_at if self._joined_at is not None else await self._tailer.position()
        page = await self._reader.page(self.position, until, topic, self._matcher)
        self.position = page.end
        batch = ReadBatch()
        matched = match_all(topic, self._matcher, [LogEvent(row, batch) for row in page.rows], page.runs)
        if page.is_last and self._joined_at is None:
            self._joined_at = await self._tailer.join(self._subscriber)
        return matched

    async def state(self) -> TopicState:
        """Returns the state of the topic at `position`."""
        assert self.position is not None  # `next` was called before.
        return await self._reader.state(self._subscriber.topic, self.position)


async def _when_available(read: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await read()
        except DatabaseUnavailableError:
            await clock.sleep(RETRY_SECONDS)
