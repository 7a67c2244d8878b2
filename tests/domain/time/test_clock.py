import asyncio
from datetime import UTC

import pytest

from domain.time import clock
from domain.time.clock import SystemClock
from tests.support.clock import START, FakeClock


async def never() -> None:
    await asyncio.Event().wait()


def test_system_time_is_in_utc_and_does_not_go_back() -> None:
    first, second = SystemClock().now(), SystemClock().now()
    assert first.tzinfo is UTC
    assert first <= second


async def test_now_reads_the_current_clock(fake_clock: FakeClock) -> None:
    assert clock.now() == START
    await fake_clock.advance(60)
    assert (clock.now() - START).total_seconds() == 60


def test_set_clock_returns_the_previous_clock() -> None:
    mine = SystemClock()
    before = clock.set_clock(mine)
    assert clock.set_clock(before) is mine


async def test_sleep_waits_by_the_current_clock(fake_clock: FakeClock) -> None:
    sleeping = asyncio.create_task(clock.sleep(3_600))
    await fake_clock.advance(3_599)
    assert not sleeping.done()
    await fake_clock.advance(1)
    assert sleeping.done()


async def test_timeout_returns_the_result(fake_clock: FakeClock) -> None:
    assert await clock.timeout(5, asyncio.sleep(0, "done")) == "done"
    assert fake_clock.timers == 0


async def test_timeout_cancels_the_awaitable(fake_clock: FakeClock) -> None:
    endless = asyncio.create_task(never())
    waiting = asyncio.create_task(clock.timeout(5, endless))
    await fake_clock.advance(5)
    with pytest.raises(TimeoutError):
        await waiting
    assert endless.cancelled()


async def test_wait_for_returns_false_on_timeout(fake_clock: FakeClock) -> None:
    event = asyncio.Event()
    first = asyncio.create_task(clock.wait_for(event, 5))
    await fake_clock.advance(5)
    assert await first is False
    second = asyncio.create_task(clock.wait_for(event, 5))
    await fake_clock.settle()
    event.set()
    assert await second is True


class TestSystemClock:
    async def test_sleep_of_zero_seconds_returns(self) -> None:
        await SystemClock().sleep(0)

    async def test_timeout_returns_the_result(self) -> None:
        assert await SystemClock().timeout(None, asyncio.sleep(0, "done")) == "done"

    async def test_timeout_cancels_the_awaitable(self) -> None:
        with pytest.raises(TimeoutError):
            await SystemClock().timeout(0, never())

    async def test_timeout_of_none_waits_without_limit(self) -> None:
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        assert await clock.wait_for(event, None) is True
