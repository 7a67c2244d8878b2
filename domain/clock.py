"""The one source of time. Everything that reads the time or waits asks here, so that a test can move it."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

T = TypeVar("T")

_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Reads the time and waits for it."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...

    async def within(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        """The awaitable's result; cancels it and raises TimeoutError after `seconds` (None: waits for ever)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def within(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await awaitable


_current: Clock = SystemClock()


def set_clock(clock: Clock) -> Clock:
    """Make `clock` the source of time for this process; returns the one used until now."""
    global _current
    previous, _current = _current, clock
    return previous


def now() -> datetime:
    """The present instant, in UTC."""
    return _current.now()


def milliseconds_since(start: datetime, end: datetime | None = None) -> int:
    """Whole milliseconds from `start` to `end`, by default to now; none when the clock was set back in between."""
    return max(((end or now()) - start) // _MILLISECOND, 0)


async def sleep(seconds: float) -> None:
    """Return after `seconds`."""
    await _current.sleep(seconds)


async def timeout(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """The awaitable's result; cancels it and raises TimeoutError after `seconds` (None: waits for ever)."""
    return await _current.within(seconds, awaitable)


async def wait_for(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for `event`, for `seconds` at the most; whether it came."""
    try:
        await timeout(seconds, event.wait())
    except TimeoutError:
        return False
    return True
