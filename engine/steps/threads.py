"""Threads for functions that block.

Nothing can stop a function that runs in a thread. The threads are daemons, so one that never returns does not keep
the process from ending. A call that is given up leaves its thread behind and its place to the next one; when as many
are left behind as there are places, new calls are refused, before the process drowns in threads.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.errors import StepError

T = TypeVar("T")


class BlockingCalls:
    """Runs up to `places` functions at the same time, each in a thread of its own."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._most_abandoned = places
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """How many threads still run functions that nobody waits for."""
        return self._abandoned

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns; it must not raise. Waits for a place.

        Raises:
            StepError: WORKER_BUSY, too many threads were left behind.
        """
        async with self._places:
            if self._abandoned >= self._most_abandoned:
                message = f"{self._abandoned} Python actions were given up and are still running."
                raise StepError("WORKER_BUSY", message)
            call = _Call(function)
            try:
                return await call.start()
            except asyncio.CancelledError:
                self._leave(call)
                raise
            except RuntimeError as error:
                raise StepError("WORKER_BUSY", f"No thread can be started: {error}") from None

    def _leave(self, call: "_Call[T]") -> None:
        if not call.ended:
            self._abandoned += 1
            call.on_end(self._returned)

    def _returned(self) -> None:
        self._abandoned -= 1


class _Call(Generic[T]):
    """One function in one thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[T] = self._loop.create_future()
        self._callback: Callable[[], None] | None = None
        self.ended = False

    def start(self) -> "asyncio.Future[T]":
        """Begin; the future gets the result."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), name="python-action", daemon=True).start()
        return self._result

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on the event loop when the function returns after all."""
        self._callback = callback

    def _work(self) -> None:
        result = self._function()
        try:
            self._loop.call_soon_threadsafe(self._finish, result)
        except RuntimeError:
            # The event loop is closed: nobody is interested any more.
            return

    def _finish(self, result: T) -> None:
        self.ended = True
        if not self._result.done():
            self._result.set_result(result)
        if self._callback is not None:
            self._callback()
