"""A clock that stands still until a test moves it.

Time passes for everything that waits by `domain.time.clock`; input and output are real and take no time. So that a test
is the same each time, time moves from one timer to the next, and at each the event loop settles first: tasks run as far
as they can, work in other threads is done, and databases that are watched (`watch`) have read and written.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from db.core.database import Database
from domain import ids
from domain.time import clock

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
_ROUNDS = 30
"""Turns of the event loop without a wait, after which every task has run as far as it can."""
_PATIENCE = 60.0
"""Real seconds after which a test that waits for something that never happens fails, instead of hanging."""


@dataclass(order=True)
class _Timer:
    due: datetime
    number: int
    fire: Callable[[], None] = field(compare=False)


class FakeClock:
    """A `domain.time.clock.Clock` in virtual time. Belongs to the event loop of the test."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._skew = timedelta(0)
        self._timers: list[_Timer] = []
        self._count = 0
        self._added = asyncio.Event()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # What the code under test uses.

    def now(self) -> datetime:
        """The present instant."""
        return self._now + self._skew

    async def sleep(self, seconds: float) -> None:
        """Return when the test has moved the time by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        with self._timer(seconds, woken.set):
            await woken.wait()

    async def timeout(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        """The awaitable's result; cancels it and raises TimeoutError when the time has moved by `seconds`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None if seconds is None or seconds > 0 else 0) as timeout:
            if seconds is None or seconds <= 0:
                return await awaitable
            with self._timer(seconds, lambda: timeout.reschedule(loop.time())):
                return await awaitable

    # What the test uses.

    @property
    def timers(self) -> int:
        """How many sleeps and timeouts are pending."""
        return len(self._timers)

    def seconds_to_next(self) -> float | None:
        """Until the first pending sleep or timeout ends."""
        return (self._timers[0].due - self._now).total_seconds() if self._timers else None

    def watch(self, database: Database) -> None:
        """Let no time pass while `database` reads or writes."""
        for name in ("read", "write"):
            setattr(database, name, self._counted(getattr(database, name)))

    def watch_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets no time pass while a thread executes the work of a task (`asyncio.to_thread`)."""
        loop = asyncio.get_running_loop()
        start = loop.run_in_executor

        def run(*args: Any) -> "asyncio.Future[Any]":
            self._begin()
            done = start(*args)
            done.add_done_callback(lambda _: self._end())
            return done

        monkeypatch.setattr(loop, "run_in_executor", run)

    async def advance(self, seconds: float) -> None:
        """Moves the time by `seconds`: everything that is due in between happens in its order, at its time."""
        end = self._now + timedelta(seconds=seconds)
        await self.settle()
        while self._timers and self._timers[0].due <= end:
            await self._fire_next()
        self._now = max(self._now, end)
        await self.settle()

    def jump(self, seconds: float) -> None:
        """Sets the clock forward, or back: waits keep their remaining time."""
        self._skew += timedelta(seconds=seconds)

    def block(self, seconds: float) -> None:
        """Moves the time as code does that blocks the event loop: no task wakes up in between."""
        self._now += timedelta(seconds=seconds)

    async def drive(self, awaitable: Awaitable[T]) -> T:
        """Returns the awaitable's result; the time moves on whenever nothing else can happen before."""
        task = asyncio.ensure_future(awaitable)
        try:
            async with asyncio.timeout(_PATIENCE):
                while not task.done():
                    await self._pass_time(task)
            return await task
        finally:
            task.cancel()

    async def waiting(self, timers: int = 1) -> None:
        """Return when at least so many sleeps and timeouts are pending."""
        async with asyncio.timeout(_PATIENCE):
            while len(self._timers) < timers:
                self._added.clear()
                await self._added.wait()

    async def happened(self, event: asyncio.Event) -> None:
        """Return when `event` is set, which real input or output brings about; no time passes."""
        async with asyncio.timeout(_PATIENCE):
            await event.wait()

    async def settle(self) -> None:
        """Returns when no task can continue without time moving, or without real input that is not watched."""
        quiet = 0
        async with asyncio.timeout(_PATIENCE):
            while quiet < _ROUNDS:
                if self._idle.is_set():
                    await asyncio.sleep(0)
                    quiet += 1
                else:
                    await self._idle.wait()
                    quiet = 0

    async def _pass_time(self, task: "asyncio.Future[Any]") -> None:
        await self.settle()
        if task.done():
            return
        if self._timers:
            await self._fire_next()
            return
        self._added.clear()
        added = asyncio.ensure_future(self._added.wait())
        await asyncio.wait({task, added}, return_when=asyncio.FIRST_COMPLETED)
        added.cancel()

    async def _fire_next(self) -> None:
        timer = heapq.heappop(self._timers)
        self._now = max(self._now, timer.due)
        timer.fire()
        await self.settle()

    @contextmanager
    def _timer(self, seconds: float, fire: Callable[[], None]) -> Iterator[None]:
        self._count += 1
        timer = _Timer(self._now + timedelta(seconds=seconds), self._count, fire)
        heapq.heappush(self._timers, timer)
        self._added.set()
        try:
            yield
        finally:
            if timer in self._timers:
                self._timers.remove(timer)
                heapq.heapify(self._timers)

    def _counted(self, method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def call(*args: Any, **kwargs: Any) -> T:
            self._begin()
            try:
                return await method(*args, **kwargs)
            finally:
                self._end()

        return call

    def _begin(self) -> None:
        self._calls += 1
        self._idle.clear()

    def _end(self) -> None:
        self._calls -= 1
        if self._calls == 0:
            self._idle.set()


@contextmanager
def in_use(fake: FakeClock) -> Iterator[FakeClock]:
    """`fake` as the time of this process."""
    previous = clock.set_clock(fake)
    try:
        yield fake
    finally:
        clock.set_clock(previous)


@pytest.fixture(name="fake_clock")
async def provide_fake_clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeClock]:
    """The time of this process, in the test's hands."""
    # IDs, and with them creation times, would continue from a test with another clock.
    ids.follow_clock()
    with in_use(FakeClock()) as fake:
        fake.watch_threads(monkeypatch)
        yield fake
