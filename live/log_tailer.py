"""Follows the event log, and publishes what it reads to the subscribers of each topic.

On PostgreSQL an event takes its number before its transaction commits, so a lower number can appear after a higher one.
The tailer therefore stops at a missing number until that has appeared or never will (see db/events). Notifications from
writers are hints: the tailer also reads once a second, so a lost one costs latency and never an event.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import Context
from functools import reduce
from operator import or_
from typing import Protocol
from uuid import UUID

from db.core import pubsub
from db.core.database import UNREADABLE, Database
from db.events import log as event_log
from db.events.log import Gaps, LogPosition, NeededOfRuns, Tail
from db.row_types import RunRow
from domain import reasons
from domain.time import clock
from live.events import LogEvent, MatchedEvent, ReadBatch, SubscriptionError, TailerFailedError
from live.topics import Topic, match_all, routing_keys, routing_keys_of_event

_logger = logging.getLogger(__name__)

PAGE_SIZE = 500
"""Events in one read. The number bounds the memory of a read."""
READ_SECONDS = 1.0
"""Seconds between two reads without a notification: other processes may send none."""
GAP_SECONDS = 0.01
"""Seconds until the tailer checks again whether a missing number has appeared."""
RETRY_SECONDS = 1.0
"""Seconds until the next read after the database was unavailable."""


class Subscriber(Protocol):
    """A receiver of events from the tailer."""

    @property
    def topic(self) -> Topic:
        """The events to deliver."""
        ...

    def deliver(self, events: Sequence[MatchedEvent], *, is_end: bool) -> None:
        """Takes the next events, in the order of the log; `is_end` is true if no event of the topic can follow. Never
        blocks."""
        ...

    def fail(self, error: SubscriptionError) -> None:
        """Takes the error that ends the subscription."""
        ...


class _TopicSubscribers:
    """The subscribers of equal topics, and the matcher that they share."""

    __slots__ = ("matcher", "routing_keys", "subscribers", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.matcher = topic.matcher()
        self.routing_keys = routing_keys(topic.scope)
        self.subscribers: set[Subscriber] = set()

    def publish(self, events: Sequence[LogEvent], runs: Mapping[UUID, RunRow]) -> None:
        try:
            matched = match_all(self.topic, self.matcher, events, runs)
            is_end = any(self.topic.is_end(event.row) for event in matched)
        except Exception:
            # An error in one topic must not end the subscriptions of the others.
            _logger.exception("topic failed", extra={"topic": repr(self.topic)})
            for subscriber in list(self.subscribers):
                subscriber.fail(TailerFailedError())
            return
        if matched:
            # All subscribers get the same list object, by which rendering recognises a batch that it has rendered.
            for subscriber in list(self.subscribers):
                subscriber.deliver(matched, is_end=is_end)


class LogTailer:
    """Follows the log from its end, in a task of its own, while the process has subscribers."""

    def __init__(self, database: Database, on_failure: Callable[["LogTailer", Exception], None]) -> None:
        """Starts the task. Calls `on_failure` when the task ends by an unexpected error."""
        self._database = database
        self._on_failure = on_failure
        self._topics: dict[Topic, _TopicSubscribers] = {}
        self._routes: dict[Hashable, dict[Topic, _TopicSubscribers]] = {}
        self._position: LogPosition | None = None
        """The position up to which every event was published; None until the end of the log was found."""
        self._gaps: Gaps | None = None
        self._has_position = asyncio.Event()
        self._failure: SubscriptionError | None = None
        # All subscribers share the task, so it must not have the log fields of the first one.
        self.task = asyncio.create_task(self._run(), name="log-tailer", context=Context())

    async def position(self) -> LogPosition:
        """Returns the position up to which every event was published; waits for it when the tailer has just started.

        Raises:
            SubscriptionError: the tailer ended before it had a position.
        """
        await self._has_position.wait()
        if self._position is None:
            assert self._failure is not None  # Without a failure, `_has_position` is set only when there is a position.
            raise self._failure
        return self._position

    @property
    def published_until(self) -> LogPosition | None:
        """The position up to which every event was published; None until the end of the log was found."""
        return self._position

    async def join(self, subscriber: Subscriber) -> LogPosition:
        """Delivers to `subscriber` every event after the position that this returns.

        Raises:
            SubscriptionError: the tailer ended before it had a position.
        """
        position = await self.position()
        group = self._topics.get(subscriber.topic)
        if group is None:
            group = self._topics[subscriber.topic] = _TopicSubscribers(subscriber.topic)
            for key in group.routing_keys:
                self._routes.setdefault(key, {})[group.topic] = group
        group.subscribers.add(subscriber)
        return position

    def leave(self, subscriber: Subscriber) -> None:
        """Stops deliveries to `subscriber`."""
        group = self._topics.get(subscriber.topic)
        if group is None:
            return
        group.subscribers.discard(subscriber)
        if not group.subscribers:
            del self._topics[group.topic]
            for key in group.routing_keys:
                del self._routes[key][group.topic]
                if not self._routes[key]:
                    del self._routes[key]

    def stop(self, error: SubscriptionError) -> None:
        """Ends the task. Subscribers that wait for a position get `error`."""
        self._failure = error
        self._has_position.set()
        self.task.cancel()

    async def _run(self) -> None:
        try:
            with self._database.pubsub.subscribe(pubsub.EVENTS) as notified:
                await self._follow(notified)
        except Exception as error:
            self._failure = TailerFailedError()
            self._has_position.set()
            self._on_failure(self, error)

    async def _follow(self, notified: asyncio.Event) -> None:
        is_unavailable = False
        while True:
            notified.clear()
            try:
                has_more = await self._read()
            except UNREADABLE as error:
                if not is_unavailable:
                    fields = {"retry_seconds": RETRY_SECONDS, "reason": reasons.of_database(error)}
                    _logger.warning("event log unavailable", extra=fields)
                is_unavailable = True
                await clock.sleep(RETRY_SECONDS)
                continue
            if is_unavailable:
                _logger.info("event log available")
            is_unavailable = False
            if self._gaps is not None and self._gaps.writers:
                await clock.wait_for(notified, GAP_SECONDS)
            elif not has_more:
                await clock.wait_for(notified, READ_SECONDS)

    async def _read(self) -> bool:
        """Reads the next events and publishes them; returns True if more can be read at once.

        The first reads only find the end of the log, and wait until the log is complete up to there.
        """
        if self._position is None:
            self._gaps = await self._end_of_log(self._gaps)
            if self._gaps.writers:
                return False
            self._position, self._gaps = self._gaps.until, None
            self._has_position.set()
            return True
        needed = self._needed()
        tail = await self._database.read(event_log.tail, self._position, self._gaps, PAGE_SIZE, needed)
        runs = tail.runs
        while tail.rows and not needed.covers(needed_now := self._needed()):
            # A subscriber that joined during the read may need something else.
            needed |= needed_now
            runs = await self._database.read(event_log.changed_runs, tail.rows, needed)
        self._gaps = tail.gaps
        self._publish(tail, runs)
        return not tail.is_last or tail.gaps is not None

    async def _end_of_log(self, gaps: Gaps | None) -> Gaps:
        if gaps is None:
            return await self._database.read(event_log.end)
        return await self._database.read(event_log.remaining, gaps)

    def _needed(self) -> NeededOfRuns:
        return reduce(or_, (group.matcher.needed for group in self._topics.values()), event_log.NOTHING)

    def _publish(self, tail: Tail, runs: Mapping[UUID, RunRow]) -> None:
        # No await from here to the new position: no subscriber may join or leave in between.
        batch = ReadBatch()
        events_by_group: dict[_TopicSubscribers, list[LogEvent]] = {}
        for row in tail.rows:
            event = LogEvent(row, batch)
            for key in routing_keys_of_event(row):
                for group in self._routes.get(key, {}).values():
                    events_by_group.setdefault(group, []).append(event)
        for group, events in events_by_group.items():
            group.publish(events, runs)
        self._position = tail.end
