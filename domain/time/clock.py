"""The only source of time. All code that reads the time or waits does so through this module.

The clock of the process is module state, because every layer depends on time and passing a clock everywhere would hide
what functions need. Tests replace the clock with `set_clock`.
"""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

T = TypeVar("T")

_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Reads the time and waits for it."""

    def now(self) -> datetime:
        """Returns the current time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        ...

    async def timeout(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        """Returns the result of `awaitable`. Cancels it and raises TimeoutError after `seconds`; None: no limit."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def timeout(self, seconds: float | None, awaitable: Awaitable[T]) -> T:
        async with asyncio.timeout(seconds):
            return await awaitable


_current: Clock = SystemClock()


def set_clock(clock: Clock) -> Clock:
    """Makes `clock` the source of time of this process; returns the previous one."""
    global _current
    previous, _current = _current, clock
    return previous


def now() -> datetime:
    """Returns the current time, in UTC."""
    return _current.now()


def milliseconds_since(start: datetime, end: datetime | None = None) -> int:
    """Returns the whole milliseconds from `start` to `end` (default: now); 0 if the clock was set back in between."""
    return max(((end or now()) - start) // _MILLISECOND, 0)


async def sleep(seconds: float) -> None:
    """Returns after `seconds`."""
    await _current.sleep(seconds)


async def timeout(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Returns the result of `awaitable`. Cancels it and raises TimeoutError after `seconds`; None: no limit."""
    return await _current.timeout(seconds, awaitable)


async def wait_for(event: asyncio.Event, seconds: float | None) -> bool:
    """Waits up to `seconds` for `event` (None: without limit). Returns False on timeout."""
    try:
        await timeout(seconds, event.wait())
    except TimeoutError:
        return False
    return True
