"""Statistics over runs that follow the event log: published again after runs in their scope changed.

Subscribers of equal filters share one feed. Each part of the statistics is computed once for all subscribers who select
it, and at most once a second.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import aclosing
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from db.core.database import Database
from domain.runs.run_filter import RunFilter
from domain.time import clock
from live.events import Memo, ReadBatch, TrySend
from live.hub import Hub
from live.topics import RunsTopic

P = ParamSpec("P")
T = TypeVar("T")

INTERVAL = timedelta(seconds=1)
"""Shortest time between two publications of a feed."""
MAX_LOAD = 0.05
"""Largest share of time in which a feed reads the database. Statistics from kept counts take milliseconds; statistics
that read all runs are published less often than each INTERVAL."""


class Statistics:
    """Statistics over the runs that match a filter, at one instant. A part is computed when it is first requested."""

    position = None
    """Statistics are an `Item` outside the event log."""

    def __init__(self, database: Database, run_filter: RunFilter, before: "Statistics | None" = None) -> None:
        """`before` are the previous statistics of the same filter."""
        self.filter = run_filter
        self.now = clock.now()
        """The instant of the statistics. Live runs have lasted until then."""
        self.batch = ReadBatch()
        self.memo: Memo = {}
        self.reading = timedelta(0)
        """The total time for reading the parts requested so far."""
        self._reading_before = timedelta(0) if before is None else before.reading
        self._database = database
        self._parts: dict[Hashable, asyncio.Future[Any]] = {}

    async def part(
        self, query: Callable[Concatenate[Any, RunFilter, datetime, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Returns the result of `query(connection, filter, instant, …)`. Further arguments must be hashable.

        Raises:
            DatabaseUnavailableError: the next call tries again.
        """
        name = (query, args, tuple(kwargs.items()))
        if name not in self._parts:
            self._parts[name] = asyncio.ensure_future(self._read(query, *args, **kwargs))
            self._parts[name].add_done_callback(lambda done: self._drop_failed(name, done))
        # Shielded, because other subscribers may wait for it, too.
        result: T = await asyncio.shield(self._parts[name])
        return result

    async def _read(
        self, query: Callable[Concatenate[Any, RunFilter, datetime, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        began = clock.now()
        try:
            return await self._database.read(query, self.filter, self.now, *args, **kwargs)
        finally:
            self.reading += max(clock.now() - began, timedelta(0))

    @property
    def interval(self) -> timedelta:
        """The time after which the statistics may be read again.

        They count as expensive if the previous ones took long, too: once alone, it was the opening of connections, or
        a busy machine, and no reason to show old numbers for many seconds.
        """
        return max(INTERVAL, min(self.reading, self._reading_before) / MAX_LOAD)

    def _drop_failed(self, name: Hashable, done: asyncio.Future[Any]) -> None:
        # `exception()` also marks the error as retrieved, in case no subscriber waits for it any more.
        if done.cancelled() or done.exception() is not None:
            del self._parts[name]


class StatsFeeds:
    """The feeds of statistics of one process, by filter."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._feeds: dict[RunFilter, _Feed] = {}

    def subscribe(self, run_filter: RunFilter) -> "StatsSubscription":
        """Returns a subscription to the statistics over the runs that match a scoped filter. The caller closes it."""
        return StatsSubscription(self, run_filter)

    # Called by subscriptions

    def join(self, run_filter: RunFilter) -> "_Feed":
        """Adds a subscriber to the feed of a filter. The first one starts the feed."""
        feed = self._feeds.get(run_filter)
        if feed is None or feed.has_failed:
            feed = self._feeds[run_filter] = _Feed(self._database, self._hub, run_filter)
        feed.subscribers += 1
        return feed

    def leave(self, feed: "_Feed") -> None:
        """Removes a subscriber. The last one ends the feed."""
        feed.subscribers -= 1
        if not feed.subscribers:
            feed.close()
            if self._feeds.get(feed.filter) is feed:
                del self._feeds[feed.filter]


class StatsSubscription:
    """The statistics of one filter for one subscriber, an `ItemSource`: now, and again when they may have changed.

    It delivers at most one item a second. A slow subscriber gets only the latest statistics.
    """

    def __init__(self, feeds: StatsFeeds, run_filter: RunFilter) -> None:
        """See `StatsFeeds.subscribe`. Joins the feed at the first call of `batch`."""
        self._feeds = feeds
        self._filter = run_filter
        self._feed: _Feed | None = None
        self._next: asyncio.Future[Statistics] | None = None
        """The publication after the statistics that `batch` returned last."""

    async def batch(self, try_send: TrySend | None = None) -> Sequence[Statistics]:
        """See `ItemSource.batch`. Nothing is sent by `try_send`: a subscriber gets one item a second."""
        if self._feed is None:
            self._feed = self._feeds.join(self._filter)
        elif self._next is not None:
            await asyncio.shield(self._next)
        while True:
            self._next = self._feed.next
            if (latest := self._feed.latest()) is not None:
                return [latest]
            await asyncio.shield(self._next)

    async def aclose(self) -> None:
        """See `ItemSource.aclose`."""
        if self._feed is not None:
            self._feeds.leave(self._feed)
            self._feed = None


class _Feed:
    """The statistics of one filter, published again when they may have changed."""

    def __init__(self, database: Database, hub: Hub, run_filter: RunFilter) -> None:
        self.filter = run_filter
        self.subscribers = 0
        self.next: asyncio.Future[Statistics] = asyncio.get_running_loop().create_future()
        """The next publication."""
        self._latest: Statistics | None = None
        self._database = database
        self._hub = hub
        self._changed = asyncio.Event()
        # All subscribers share the tasks, so these must not have the log fields of the first one.
        self._tasks = [asyncio.create_task(work, context=Context()) for work in (self._watch(), self._publish())]

    @property
    def has_failed(self) -> bool:
        """True if nothing will be published any more."""
        return self.next.done()

    def latest(self) -> Statistics | None:
        """Returns the statistics published last, or newer ones if those are too old; None before the first
        publication."""
        # The age is negative after the clock was set back, and would look small for that long.
        if self._latest is not None and not timedelta(0) <= clock.now() - self._latest.now < self._latest.interval:
            self._latest = Statistics(self._database, self.filter, self._latest)
        return self._latest

    def close(self) -> None:
        """Ends the feed."""
        for task in self._tasks:
            task.cancel()

    async def _watch(self) -> None:
        try:
            async with aclosing(self._hub.subscribe(RunsTopic(self.filter), None)) as changes:
                while await changes.batch():
                    self._changed.set()
        except Exception as error:
            self.close()
            self.next.set_exception(error)
            self.next.exception()  # marked as retrieved, in case no subscriber waits for it any more

    async def _publish(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._latest = Statistics(self._database, self.filter, self._latest)
            published, self.next = self.next, asyncio.get_running_loop().create_future()
            published.set_result(self._latest)
            await clock.sleep(INTERVAL.total_seconds())
            # By now the statistics were read, or no subscriber selects a part that is read.
            await clock.sleep((self._latest.interval - INTERVAL).total_seconds())
