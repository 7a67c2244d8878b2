"""Threads that make calls for an event loop, like `ThreadPoolExecutor`, in half the time for each call."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]

    def make(self) -> None:
        """Makes the call, unless its caller was cancelled, and passes on the result or the error."""
        if self.done.cancelled():
            return
        outcome: Any
        settle: Callable[[Any], None]
        try:
            settle, outcome = self._return, self.function(*self.arguments)
        except BaseException as error:
            settle, outcome = self._raise, error
        with suppress(RuntimeError):  # The loop was closed before the work ended.
            self.loop.call_soon_threadsafe(settle, outcome)

    # Called by the loop

    def _return(self, result: Any) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def _raise(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Threads:
    """At most `count` threads, each of which starts when it is needed. Further calls wait."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.under_way = 0
        """Calls under way, with those that wait for a thread."""

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Returns `function(*arguments)`, called in a thread."""
        loop = asyncio.get_running_loop()
        call = _Call(function, arguments, loop, loop.create_future())
        self.under_way += 1
        if self.under_way > len(self._threads) < self._count:
            self._start()
        self._calls.put(call)
        try:
            result: T = await call.done
        finally:
            self.under_way -= 1
        return result

    def _start(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call.make()
            del call  # It holds the result, and the next call may come much later.

    async def close(self) -> None:
        """Waits for the calls that were requested, then stops the threads."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
