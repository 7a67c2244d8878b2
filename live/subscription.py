"""Subscriptions: the events for one subscriber. First comes the replay, then `CaughtUp`, then live events from a
queue."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from db.events.log import LogPosition
from live.catch_up import CatchUp
from live.events import (
    FAILED,
    CaughtUp,
    HubClosedError,
    LogEvent,
    LogItem,
    MatchedEvent,
    QueueFullError,
    ReadBatch,
    SendResult,
    SendStatus,
    SubscriptionError,
    TrySend,
)
from live.topics import Topic


class SubscriptionHost(Protocol):
    """The hub as subscriptions see it."""

    def join(self, subscription: "Subscription", after: LogPosition | None) -> CatchUp:
        """Counts `subscription`, and returns its replay.

        Raises:
            HubClosedError: the process is stopping.
        """
        ...

    def leave(self, subscription: "Subscription") -> None:
        """Removes the subscription, to which nothing more is delivered."""
        ...


class Subscription:
    """The events of one topic for one subscriber: an async iterator, and an `ItemSource` of batches.

    Live events wait in a bounded queue. While the subscriber waits in `batch(try_send)`, events are sent by `try_send`
    as soon as they are delivered; its task wakes up only for events that could not be sent.

    Raises:
        QueueFullError: too many events waited. They are dropped; subscribe again from the error's position.
        CursorExpiredError: events after the subscription's start were pruned.
        TailerFailedError, HubClosedError: there will be no more events.
    """

    __slots__ = (
        "_after",
        "_catch_up",
        "_failure",
        "_has_ended",
        "_has_joined",
        "_host",
        "_is_rendering",
        "_items",
        "_max_queued",
        "_queue",
        "_queued",
        "_try_send",
        "_wake_up",
        "position",
        "topic",
    )

    def __init__(self, host: SubscriptionHost, topic: Topic, after: LogPosition | None, max_queued: int) -> None:
        """See `Hub.subscribe`. Joins the hub when the first items are requested."""
        self.topic = topic
        self.position = after
        """Position of the last item returned or sent; at first, the position at which the subscription begins."""
        self._host = host
        self._max_queued = max_queued
        self._has_joined = False
        self._catch_up: CatchUp | None = None
        self._after: LogPosition | None = after
        """Queued events up to this position were replayed already; None when all queued events follow it."""
        self._queue: list[Sequence[MatchedEvent]] = []
        """Delivered events that were not yet taken. The queue is mostly empty, and an empty list is a tenth as large as
        a deque."""
        self._queued = 0
        """The number of events in `_queue`."""
        self._has_ended = False
        """The last event of the topic was replayed or is in the queue."""
        self._failure: Exception | None = None
        self._wake_up: asyncio.Future[None] | None = None
        self._try_send: TrySend | None = None
        """Set while the subscriber waits in `batch`."""
        self._is_rendering = False
        """The first queued events are being rendered; `_send_queued` runs again when that is done."""
        self._items: list[LogItem] = []
        """Items that `batch` returned and `__anext__` did not yet return."""

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> LogItem:
        if not self._items:
            self._items = list(await self.batch())
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop(0)

    async def batch(self, try_send: TrySend | None = None) -> Sequence[LogItem]:
        """See `ItemSource.batch`."""
        if not self._has_joined:
            self._catch_up = self._host.join(self, self._after)
            self._has_joined = True
        items: Sequence[LogItem] = ()
        while not items and not self._is_over:
            items = await (self._live_batch(try_send) if self._catch_up is None else self._replay(self._catch_up))
        if items:
            self.position = items[-1].position
        return items

    async def aclose(self) -> None:
        """See `ItemSource.aclose`."""
        self._host.leave(self)
        self._queue.clear()
        self._queued = 0
        self._items = []
        self._failure = self._failure or HubClosedError()

    # Called by the tailer and the hub

    def deliver(self, events: Sequence[MatchedEvent], *, is_end: bool) -> None:
        """Queues live events for the subscriber, or sends them immediately. Ends the subscription if its queue is
        full."""
        if self._queued + len(events) > self._max_queued:
            self._host.leave(self)
            assert self.position is not None  # The subscription has had a position since it joined the tailer.
            self.fail(QueueFullError(self.position))
            return
        self._has_ended = self._has_ended or is_end
        if self._try_send is not None and not self._queue and self._after is None:
            # This is the usual case: the subscriber waits, and the queue would only cost time.
            self._send(self._try_send, events)
            if self._is_over:
                self._wake()
            return
        self._queue.append(events)
        self._queued += len(events)
        if self._try_send is None:
            self._wake()
        elif not self._is_rendering:
            self._send_queued()

    def fail(self, error: SubscriptionError) -> None:
        """Ends the subscription with `error`, and drops the queued events."""
        self._failure = self._failure or error
        self._queue.clear()
        self._queued = 0
        self._wake()

    def _send_queued(self, *, is_first_rendered: bool = False) -> None:
        """Sends queued events as far as possible without waiting. The subscriber's task sends the rest."""
        if not is_first_rendered:
            self._join_queued()
        while self._queue and self._try_send is not None:
            events = self._next_queued()
            self._join_queued()
            if events and not self._send(self._try_send, events) and self._is_rendering:
                return
        if self._is_over:
            self._wake()

    def _send(self, try_send: TrySend, events: Sequence[MatchedEvent]) -> bool:
        """Sends events as far as possible without waiting, and queues the rest before all others. Returns False if
        there is a rest: then they are being rendered, or the subscriber's task was woken up."""
        result = _try(try_send, events)
        if result.status is SendStatus.SENT:
            self.position = events[-1].position
            return True
        if result.sent:
            self.position = events[result.sent - 1].position
            events = events[result.sent :]
        self._queue.insert(0, events)
        self._queued += len(events)
        if result.rendered is None:
            self._wake()
        else:
            self._is_rendering = True
            result.rendered.add_done_callback(self._on_rendered)
        return False

    def _on_rendered(self, _: "asyncio.Future[None]") -> None:
        self._is_rendering = False
        self._send_queued(is_first_rendered=True)

    def _wake(self) -> None:
        self._try_send = None
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)

    # Called by the subscriber's task

    @property
    def _is_over(self) -> bool:
        """True if the last event of the topic was returned or sent."""
        return self._has_ended and self._catch_up is None and not self._queue and self._failure is None

    async def _live_batch(self, try_send: TrySend | None) -> Sequence[MatchedEvent]:
        """Returns the next queued events; empty when there are none yet, and the caller must call again."""
        self._raise_failure()
        if self._queue:
            self._join_queued()
            return self._next_queued()
        self._wake_up, self._try_send = asyncio.get_running_loop().create_future(), try_send
        try:
            await self._wake_up
        finally:
            self._try_send = None
        self._raise_failure()
        return ()

    def _join_queued(self) -> None:
        """Makes one batch of all that is queued. Rendering takes about as long for many events as for one, so a
        subscriber that is behind catches up."""
        if len(self._queue) > 1:
            self._queue = [[event for events in self._queue for event in events]]

    def _next_queued(self) -> Sequence[MatchedEvent]:
        """Takes the first events from the queue, without those that were replayed: the tailer delivers these again."""
        events = self._queue.pop(0)
        self._queued -= len(events)
        if self._after is not None:
            if events[0].position <= self._after:
                return [event for event in events if event.position > self._after]
            self._after = None
        return events

    async def _replay(self, catch_up: CatchUp) -> Sequence[LogItem]:
        """Returns the next replayed events; the last ones with `CaughtUp` after them."""
        self._raise_failure()
        events = await catch_up.next()
        if self.position is None:
            self.position = catch_up.position
        self._raise_failure()
        if not catch_up.is_done:
            return events
        state = await catch_up.state()
        self._raise_failure()
        assert catch_up.position is not None  # The replay is complete.
        self._after, self._catch_up = catch_up.position, None
        self._has_ended = self._has_ended or state.has_ended
        if self.topic.marks_caught_up:
            return [*events, CaughtUp(catch_up.position)]
        if catch_up.is_from_now and state.latest is not None:
            return [MatchedEvent(LogEvent(state.latest, ReadBatch()), matches=True)]
        return events

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _try(try_send: TrySend, events: Sequence[MatchedEvent]) -> SendResult:
    try:
        return try_send(events)
    except Exception:
        # The subscriber's task meets the same error and reports it to the client. The tailer must continue.
        return FAILED
