"""Threads for functions that block.

Nothing can stop a function that runs in a thread. The threads are daemons, so a function that never returns does not
keep the process from ending. A call that is cancelled abandons its thread and frees its slot for the next call. When
there are as many abandoned threads as slots, new calls are refused, before the process runs out of threads.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.errors import StepError

T = TypeVar("T")


class BlockingCalls:
    """Runs up to `slots` functions at the same time, each in a thread of its own."""

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._max_abandoned = slots
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """Number of threads that still run functions of cancelled calls."""
        return self._abandoned

    async def run(self, function: Callable[[], T]) -> T:
        """Returns the result of `function`, which must not raise. Waits for a free slot.

        Raises:
            StepError: WORKER_BUSY, there are too many abandoned threads, or no thread can be started.
        """
        async with self._slots:
            if self._abandoned >= self._max_abandoned:
                message = f"{self._abandoned} Python actions were cancelled and are still running."
                raise StepError("WORKER_BUSY", message)
            call = _Call(function)
            try:
                return await call.start()
            except asyncio.CancelledError:
                self._abandon(call)
                raise
            except RuntimeError as error:
                raise StepError("WORKER_BUSY", f"No thread can be started: {error}") from None

    def _abandon(self, call: "_Call[T]") -> None:
        if not call.is_done:
            self._abandoned += 1
            call.on_done(self._returned)

    def _returned(self) -> None:
        self._abandoned -= 1


class _Call(Generic[T]):
    """One function in one thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[T] = self._loop.create_future()
        self._callback: Callable[[], None] | None = None
        self.is_done = False

    def start(self) -> "asyncio.Future[T]":
        """Start the thread; the future receives the result."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), name="python-action", daemon=True).start()
        return self._result

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop when the function returns."""
        self._callback = callback

    def _work(self) -> None:
        result = self._function()
        try:
            self._loop.call_soon_threadsafe(self._finish, result)
        except RuntimeError:
            # The event loop is closed: the result is not needed any more.
            return

    def _finish(self, result: T) -> None:
        self.is_done = True
        if not self._result.done():
            self._result.set_result(result)
        if self._callback is not None:
            self._callback()
