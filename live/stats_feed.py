"""Statistics over runs, and how they are told again when something in their scope changed.

Who asks for statistics over the same runs shares them: each part is computed once, for all who select it, and at most
once a second.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from db.core.database import Database
from domain import clock
from domain.run_filter import RunFilter
from live.hub import Hub
from live.topics import RunsTopic

P = ParamSpec("P")
T = TypeVar("T")

INTERVAL = timedelta(seconds=1)
"""At the shortest, between two tellings."""


class Statistics:
    """The statistics over the runs that a filter means, at one instant; computed part by part when asked for."""

    def __init__(self, database: Database, wanted: RunFilter) -> None:
        self.wanted = wanted
        self.now = clock.now()
        """The instant, up to which runs that go on have taken their time."""
        self._database = database
        self._parts: dict[Hashable, asyncio.Future[Any]] = {}

    async def part(
        self, query: Callable[Concatenate[Any, RunFilter, datetime, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of `query(connection, filter, instant, …)`; further arguments must be hashable."""
        name = (query, args, tuple(kwargs.items()))
        if name not in self._parts:
            read = self._database.read(query, self.wanted, self.now, *args, **kwargs)
            self._parts[name] = asyncio.ensure_future(read)
            self._parts[name].add_done_callback(lambda done: self._keep(name, done))
        # Others may wait for it too.
        found: T = await asyncio.shield(self._parts[name])
        return found

    def _keep(self, name: Hashable, done: asyncio.Future[Any]) -> None:
        # A database that was away is asked again by whoever asks again.
        if not _succeeded(done):
            del self._parts[name]


class StatsFeeds:
    """Tells the statistics over the runs of one database; one feed for all who follow the same."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._feeds: dict[RunFilter, _Feed] = {}

    async def follow(self, wanted: RunFilter) -> AsyncGenerator[Statistics, None]:
        """The statistics now, and again after each second in which a run in the scope of the filter changed.

        Who is slow to take them gets the latest.
        """
        feed = self._feeds.get(wanted)
        if feed is None or feed.failed:
            feed = self._feeds[wanted] = _Feed(self._database, self._hub, wanted)
        feed.followers += 1
        try:
            while True:
                coming = feed.coming
                if (current := feed.current()) is not None:
                    yield current
                await asyncio.shield(coming)
        finally:
            feed.followers -= 1
            if not feed.followers:
                feed.close()
                if self._feeds.get(wanted) is feed:
                    del self._feeds[wanted]


class _Feed:
    """The statistics over the runs that one filter means, kept as current as they are told."""

    def __init__(self, database: Database, hub: Hub, wanted: RunFilter) -> None:
        self.followers = 0
        self.coming: asyncio.Future[Statistics] = asyncio.get_running_loop().create_future()
        """What is told next."""
        self._latest: Statistics | None = None
        self._database = database
        self._hub = hub
        self._wanted = wanted
        self._changed = asyncio.Event()
        # All subscribers share the tasks: they do not carry the log fields of the one that comes first.
        self._tasks = [asyncio.create_task(work, context=Context()) for work in (self._watch(), self._tell())]

    @property
    def failed(self) -> bool:
        """Whether nothing will be told any more."""
        return self.coming.done()

    def current(self) -> Statistics | None:
        """Those told last, or newer ones; None before the first."""
        # A clock that was set back must not keep old ones for an hour.
        if self._latest is not None and not timedelta(0) <= clock.now() - self._latest.now < INTERVAL:
            self._latest = Statistics(self._database, self._wanted)
        return self._latest

    def close(self) -> None:
        """Follow the log no longer."""
        for task in self._tasks:
            task.cancel()

    async def _watch(self) -> None:
        try:
            async with aclosing(self._hub.subscribe(RunsTopic(self._wanted), None)) as changes:
                while await changes.batch():
                    self._changed.set()
        except Exception as error:
            self.close()
            self.coming.set_exception(error)
            self.coming.exception()  # seen, also when nobody waits for it any more

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._latest = Statistics(self._database, self._wanted)
            told, self.coming = self.coming, asyncio.get_running_loop().create_future()
            told.set_result(self._latest)
            await clock.sleep(INTERVAL.total_seconds())


def _succeeded(done: asyncio.Future[Any]) -> bool:
    # To look at an error that nobody waits for any more tells the event loop that it is no fault.
    return not done.cancelled() and done.exception() is None
