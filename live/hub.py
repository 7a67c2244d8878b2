"""One reader a process follows the event log, and hands what it reads to all subscribers.

A row takes its number before its transaction commits, on PostgreSQL, so a lower number can appear after a higher one:
the reader stops at a number that is missing until it has come, or never will (db/events.py). Signals are hints; the
reader also looks every second.

A subscriber joins without a gap. It reads the log by itself until it has come to the end, then it joins the reader, who
stands at some place: what is between is read from the log, what comes behind comes from the reader.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextvars import Context
from typing import Any
from uuid import UUID

from db.core import pubsub
from db.core.database import Database
from db.events import log as event_log
from db.events.log import Gaps, LogPosition, Page, Tail
from db.sql.rows import AnyRow
from domain import clock
from domain.errors import DatabaseUnavailableError
from live.topics import Matcher, Topic, routing_keys, routing_keys_of

_logger = logging.getLogger(__name__)

PAGE = 500
"""Events read at once: a subscriber that catches up holds no more of them in memory."""
MAX_WAITING = 1_000
"""Events that wait for one subscriber; one more, and it is too slow."""
LOOK_SECONDS = 1.0
"""At the longest, between two looks at the log: other processes may send no signals."""
LOOK_AGAIN_SECONDS = 0.01
"""Until the next look at a number that is missing."""
RETRY_SECONDS = 1.0
"""Until the log is read again when the database was away."""
CATCHING_UP_AT_ONCE = 4
"""Subscribers of one process that read the log at one time: thousands that reconnect leave connections to others."""


class HubError(Exception):
    """A subscription ends."""


class SlowConsumerError(HubError):
    """The subscriber takes events more slowly than they come. `place` is that of the last one it took."""

    def __init__(self, place: LogPosition) -> None:
        super().__init__("The subscriber is too slow.")
        self.place = place


class ReaderFailedError(HubError):
    """The reader of the log met what it should not, and tells its subscribers instead of leaving them in silence."""


class HubClosedError(HubError):
    """The process stops."""


class Batch:
    """Events that were read together."""

    __slots__ = ("memo",)

    def __init__(self) -> None:
        self.memo: dict[Hashable, Any] = {}
        """What is made for these events once, for all their subscribers."""


class Event:
    """A row of the log, the same object for all subscribers."""

    __slots__ = ("batch", "memo", "place", "row")

    def __init__(self, row: AnyRow, batch: Batch) -> None:
        self.row = row
        self.place: LogPosition = row.seq
        self.batch = batch
        self.memo: dict[Hashable, Any] = {}
        """What is made of the event once, for all its subscribers."""


class MatchedEvent:
    """An event as it is told to the subscribers of one selector."""

    __slots__ = ("event", "matches")

    def __init__(self, event: Event, matches: bool) -> None:
        self.event = event
        self.matches = matches
        """Whether what the event changed is meant after the change."""

    @property
    def place(self) -> LogPosition:
        """Where the event stands in the log."""
        return self.event.place


class CaughtUp:
    """All events up to `place` were told; what follows happens from now on. Told once."""

    __slots__ = ("place",)

    def __init__(self, place: LogPosition) -> None:
        self.place = place


Item = MatchedEvent | CaughtUp
TryDeliver = Callable[[Sequence[MatchedEvent]], "int | asyncio.Future[None]"]
"""Takes events for a subscriber on the spot: how many it took, from the first one. A future: ask again when that is
done."""


class _Topic:
    """The subscribers whose selectors are equal."""

    __slots__ = ("compiled", "feeds", "scope", "selector")

    def __init__(self, selector: Topic) -> None:
        self.selector = selector
        self.scope = selector.scope
        self.compiled: Matcher = selector.compiled()
        self.feeds: set[Subscription] = set()

    def meant(self, made: Sequence[Event], runs: Mapping[UUID, AnyRow]) -> list[MatchedEvent]:
        """Those of `made`, events in its scope, that are told."""
        kinds, told = self.scope.kinds, self.compiled.told
        return [
            MatchedEvent(event, matches)
            for event in made
            if (kinds is None or event.row.kind in kinds)
            and (matches := told(event.row, runs.get(event.row.run_id))) is not None
        ]


class Hub:
    """Where subscribers of this process get at the event log. Belongs to one event loop.

    The reader starts with the first subscriber and ends after the last.
    """

    def __init__(self, database: Database, *, max_waiting: int = MAX_WAITING) -> None:
        """Of the log in `database`; a subscriber is too slow when more than `max_waiting` events wait for it."""
        self._database = database
        self._max_waiting = max_waiting
        self._reader: _LogTailer | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._feeds: set[Subscription] = set()
        self._catching_up = asyncio.Semaphore(CATCHING_UP_AT_ONCE)
        self._closed = False

    def subscribe(self, selector: Topic, after: LogPosition | None) -> "Subscription":
        """The events of `selector` behind a place (None: behind the one where the reader stands).

        To be entered as a context manager, and iterated: first come those that were missed, then `CaughtUp` once,
        then what happens.
        """
        return Subscription(self, selector, after, self._max_waiting)

    @property
    def subscribers(self) -> int:
        """How many there are."""
        return len(self._feeds)

    async def close(self) -> None:
        """End every subscription, and the reader."""
        self._closed = True
        for feed in list(self._feeds):
            feed.fail(HubClosedError())
        self._stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # What feeds use.

    def enter(self, feed: "Subscription") -> None:
        """Count `feed` among the subscribers; with the first, the reader starts."""
        if self._closed:
            raise HubClosedError
        self._feeds.add(feed)
        if self._reader is None:
            self._reader = _LogTailer(self._database, self)

    def leave(self, feed: "Subscription") -> None:
        """Count it no more; with the last, the reader ends."""
        self._feeds.discard(feed)
        if self._reader is not None:
            self._reader.remove(feed)
        if not self._feeds:
            self._stop()

    def reader(self) -> "_LogTailer":
        """The one under way."""
        assert self._reader is not None  # a feed that was entered keeps it
        return self._reader

    async def read(self, after: LogPosition, until: LogPosition, selector: Topic, columns: Collection[str]) -> Page:
        """A page of the log, up to a place at which that is complete; waits for a database that is away.

        Raises:
            CursorExpiredError: events behind `after` are kept no longer.
        """
        while True:
            try:
                async with self._catching_up:
                    return await self._database.read(event_log.page, after, until, selector.scope, PAGE, columns)
            except DatabaseUnavailableError:
                await clock.sleep(RETRY_SECONDS)

    def reader_failed(self, reader: "_LogTailer", error: Exception) -> None:
        """Tell every subscriber; the next one starts another reader."""
        _logger.error("The reader of the event log failed", exc_info=error)
        if self._reader is reader:
            self._reader = None
        for feed in list(self._feeds):
            feed.fail(ReaderFailedError())
        self._feeds.clear()
        reader.started.set()

    def _stop(self) -> None:
        if self._reader is not None:
            task = self._reader.task
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()
            self._reader = None


class _LogTailer:
    """Follows the log from its end on, and hands what it reads to the subscribers that joined."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._channels: dict[Topic, _Topic] = {}
        self._shelves: dict[Hashable, dict[Topic, _Topic]] = {}
        self.position: LogPosition | None = None
        """All up to here was handed out."""
        self._gaps: Gaps | None = None
        self.started = asyncio.Event()
        """Set once it has a position."""
        # All subscribers share the task: it does not carry the log fields of the one that comes first.
        self.task = asyncio.create_task(self._run(), name="event-log-reader", context=Context())

    def add(self, feed: "Subscription") -> None:
        """Hand out to `feed` what comes behind the present position."""
        channel = self._channels.get(feed.selector)
        if channel is None:
            channel = self._channels[feed.selector] = _Topic(feed.selector)
            for shelf in routing_keys(channel.scope):
                self._shelves.setdefault(shelf, {})[feed.selector] = channel
        channel.feeds.add(feed)

    def remove(self, feed: "Subscription") -> None:
        """Hand out nothing more to `feed`."""
        channel = self._channels.get(feed.selector)
        if channel is None:
            return
        channel.feeds.discard(feed)
        if not channel.feeds:
            self._drop(channel)

    def _drop(self, channel: _Topic) -> None:
        del self._channels[channel.selector]
        for shelf in routing_keys(channel.scope):
            del self._shelves[shelf][channel.selector]
            if not self._shelves[shelf]:
                del self._shelves[shelf]

    async def _run(self) -> None:
        try:
            with self._database.signals.listen(pubsub.EVENTS) as written:
                await self._follow(written)
        except Exception as error:
            self._hub.reader_failed(self, error)

    async def _follow(self, written: asyncio.Event) -> None:
        is_away = False
        while True:
            written.clear()
            try:
                has_more = await self._look()
            except DatabaseUnavailableError:
                if not is_away:
                    _logger.warning("The event log cannot be read: the database is away; trying again")
                is_away = True
                await clock.sleep(RETRY_SECONDS)
                continue
            is_away = False
            if self._gaps is not None and self._gaps.writers:
                await clock.wait_for(written, LOOK_AGAIN_SECONDS)
            elif not has_more:
                await clock.wait_for(written, LOOK_SECONDS)

    async def _look(self) -> bool:
        """Read what is new and hand it out; whether more may be had at once. At first, find out where the log ends."""
        if self.position is None:
            self._gaps = await self._newest(self._gaps)
            if self._gaps.writers:
                return False
            self.position, self._gaps = self._gaps.until, None
            self.started.set()
            return True
        columns = self._columns()
        tail = await self._database.read(event_log.tail, self.position, self._gaps, PAGE, columns)
        runs = tail.runs
        while tail.rows and not (wanted := self._columns()) <= columns:
            # Somebody joined during the read and looks at other columns.
            columns |= wanted
            runs = await self._database.read(event_log.changed_runs, tail.rows, columns)
        self._gaps = tail.gaps
        self._hand_out(tail, runs)
        return not tail.is_last or tail.gaps is not None

    async def _newest(self, gaps: Gaps | None) -> Gaps:
        if gaps is None:
            return await self._database.read(event_log.end)
        return await self._database.read(event_log.remaining, gaps)

    def _columns(self) -> frozenset[str]:
        return frozenset[str]().union(*(each.compiled.columns for each in self._channels.values()))

    def _hand_out(self, tail: Tail, runs: Mapping[UUID, AnyRow]) -> None:
        # Nobody joins or leaves in the middle: there is no await from here to the new position.
        batch = Batch()
        concerned: dict[_Topic, list[Event]] = {}
        for row in tail.rows:
            event = Event(row, batch)
            for shelf in routing_keys_of(row):
                for channel in self._shelves.get(shelf, {}).values():
                    concerned.setdefault(channel, []).append(event)
        for channel, made in concerned.items():
            self._tell(channel, made, runs)
        self.position = tail.end

    def _tell(self, channel: _Topic, made: Sequence[Event], runs: Mapping[UUID, AnyRow]) -> None:
        try:
            told = channel.meant(made, runs)
        except Exception:
            # A fault in what one selector asks must not end the streams of all others.
            _logger.exception("Events cannot be told to the subscribers of %s", channel.selector)
            for feed in list(channel.feeds):
                feed.fail(ReaderFailedError())
            return
        if told:
            for feed in list(channel.feeds):
                feed.put(told)


class Subscription:
    """The events of one subscriber, an async iterator. Whoever has it closes it (`contextlib.aclosing`).

    Raises:
        SlowConsumerError: too many events waited. What waited is gone; go on behind the error's place.
        CursorExpiredError: it begins behind a place from which on not every event is kept.
        ReaderFailedError, HubClosedError: there will be no more.
    """

    __slots__ = (
        "_after",
        "_channel",
        "_failure",
        "_has_begun",
        "_hub",
        "_is_asked_later",
        "_items",
        "_max_waiting",
        "_number",
        "_take",
        "_until",
        "_waiting",
        "_waiting_count",
        "_wake",
        "place",
        "selector",
    )

    def __init__(self, hub: Hub, selector: Topic, after: LogPosition | None, max_waiting: int) -> None:
        """See `Hub.subscribe`. Nothing happens before the first item is asked for."""
        self.selector = selector
        self.place = after
        """Of the last item taken, or where the subscriber began."""
        self._hub = hub
        self._max_waiting = max_waiting
        self._after = after
        self._until: LogPosition | None = None
        # Of a subscriber that reads the log by itself.
        self._channel: _Topic | None = None
        self._has_begun = False
        self._waiting: list[
            Sequence[MatchedEvent]
        ] = []  # a deque takes ten times the room, and is empty most of the time
        self._waiting_count = 0
        self._wake: asyncio.Future[None] | None = None
        self._take: TryDeliver | None = None
        self._is_asked_later = False
        self._failure: Exception | None = None
        self._items: Sequence[Item] = ()
        self._number = 0

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Item:
        while self._number >= len(self._items):
            self._items, self._number = await self.batch(), 0
        self._number += 1
        return self._items[self._number - 1]

    async def batch(self, take: TryDeliver | None = None) -> Sequence[Item]:
        """The next items, as many as came together.

        What happens while this waits is offered to `take` first. As long as that takes everything, this goes on to
        wait: a thousand subscribers are told without waking a task of each.
        """
        if not self._has_begun:
            self._hub.enter(self)
            self._has_begun = True
            self._channel = _Topic(self.selector)
        items = await (self._next_batch(take) if self._channel is None else self._catch_up(self._channel))
        self.place = items[-1].place
        return items

    async def aclose(self) -> None:
        """Take nothing more."""
        self._hub.leave(self)
        self._waiting.clear()
        self._items = ()
        self._failure = self._failure or HubClosedError()

    # What the reader uses.

    def put(self, told: Sequence[MatchedEvent]) -> None:
        """Have `told` wait for the subscriber, unless that is too much."""
        if self._waiting_count + len(told) > self._max_waiting:
            self._hub.leave(self)
            assert self.place is not None  # it has one when it joins
            self.fail(SlowConsumerError(self.place))
            return
        self._waiting.append(told)
        self._waiting_count += len(told)
        if self._take is None:
            self._wake_up()
        elif not self._is_asked_later:
            self._offer()

    def fail(self, error: Exception) -> None:
        """End the subscription; what waits is given up."""
        self._failure = self._failure or error
        self._waiting.clear()
        self._waiting_count = 0
        self._wake_up()

    def _offer(self) -> None:
        """Have what waits taken on the spot, as far as that is done; what is left is for the subscriber's task."""
        while self._waiting and self._take is not None:
            told = self._next()
            try:
                taken = self._take(told) if told else 0
            except Exception:
                taken = 0  # the subscriber's task meets it too, and tells it: it is no matter of the reader
            if isinstance(taken, asyncio.Future):
                self._put_back(told)
                self._is_asked_later = True
                taken.add_done_callback(self._ask_again)
                return
            if taken:
                self.place = told[taken - 1].place
            if taken < len(told):
                self._put_back(told[taken:])
                self._wake_up()

    def _ask_again(self, _: "asyncio.Future[None]") -> None:
        self._is_asked_later = False
        self._offer()

    def _wake_up(self) -> None:
        self._take = None
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # What the subscriber uses.

    async def _next_batch(self, take: TryDeliver | None) -> Sequence[Item]:
        while True:
            self._check()
            if self._waiting:
                if told := self._next():
                    return told
                continue
            self._wake, self._take = asyncio.get_running_loop().create_future(), take
            try:
                await self._wake
            finally:
                self._take = None

    def _next(self) -> Sequence[MatchedEvent]:
        """What waits in front, but for what the subscriber read by itself: the reader may have stood before that."""
        told = self._waiting.pop(0)
        self._waiting_count -= len(told)
        if self._after is not None:
            if told[0].place <= self._after:
                return [each for each in told if each.place > self._after]
            self._after = None
        return told

    def _put_back(self, told: Sequence[MatchedEvent]) -> None:
        self._waiting.insert(0, told)
        self._waiting_count += len(told)

    async def _catch_up(self, channel: _Topic) -> Sequence[Item]:
        reader = self._hub.reader()
        if self._after is None:
            self._after = await self._join(reader)
            return self._caught_up([])
        while True:
            self._check()
            until = self._until if self._until is not None else await self._position(reader)
            page = await self._hub.read(self._after, until, self.selector, channel.compiled.columns)
            self._after = page.end
            batch = Batch()
            items: list[Item] = list(channel.meant([Event(row, batch) for row in page.rows], page.runs))
            if page.is_last and self._until is None:
                self._until = await self._join(reader)
            if page.is_last and self._until is not None and self._until <= self._after:
                return self._caught_up(items)
            if items:
                return items

    async def _join(self, reader: _LogTailer) -> LogPosition:
        """Have the reader hand out what comes from now on; returns the place where it stands."""
        position = await self._position(reader)
        reader.add(self)
        return position

    async def _position(self, reader: _LogTailer) -> LogPosition:
        await reader.started.wait()
        self._check()
        assert reader.position is not None
        return reader.position

    def _caught_up(self, items: list[Item]) -> list[Item]:
        assert self._after is not None
        self._channel = None
        return [*items, CaughtUp(self._after)]

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
