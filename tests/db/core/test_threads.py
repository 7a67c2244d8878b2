"""Threads that make calls for an event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from db.core.threads import Threads

PATIENCE = 30.0


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, "test")
    async with asyncio.timeout(PATIENCE):
        yield made
        await made.close()


async def test_calls_return_and_raise(threads: Threads) -> None:
    assert await threads.run(pow, 2, 5) == 32
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(threading.current_thread) is not threading.current_thread()


async def test_no_more_calls_at_a_time_than_threads(threads: Threads) -> None:
    under_way, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def call() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        both.wait(PATIENCE)
        with lock:
            under_way -= 1

    await asyncio.gather(*(threads.run(call) for _ in range(6)))
    assert most == 2


async def test_cancelled_call_is_not_made_if_it_has_not_begun(threads: Threads) -> None:
    release, made = threading.Event(), list[str]()
    blocking = [asyncio.create_task(threads.run(release.wait, PATIENCE)) for _ in range(2)]
    waiting = asyncio.create_task(threads.run(made.append, "cancelled"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await asyncio.gather(*blocking) == [True, True]
    await threads.run(made.append, "later")
    assert made == ["later"]


async def test_closing_waits_for_calls_under_way(threads: Threads) -> None:
    release, made = threading.Event(), list[str]()

    def call() -> None:
        release.wait(PATIENCE)
        made.append("done")

    under_way = asyncio.create_task(threads.run(call))
    await asyncio.sleep(0)
    closing = asyncio.create_task(threads.close())
    release.set()
    await closing
    await under_way
    assert made == ["done"]
