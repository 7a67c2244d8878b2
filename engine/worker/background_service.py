"""The loop that the background services of a worker share: work, wait, back off after a failure, stop.

A subclass implements `work`, one turn. The base class runs turns until `stop`. Between two turns it waits until the
next one is due, until a wake-up arrives, or until `interval` has passed: a lost wake-up costs latency, never work. A
failed turn is logged and repeated, so one failure ends neither the service nor its neighbours.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext

from db.core.database import UNREADABLE
from db.core.pubsub import PubSub
from domain import reasons
from domain.time import clock
from engine.file_store import FileStoreError

_logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Pause after the first failure of a turn, in seconds. It doubles with each further failure, up to the interval."""


class BackgroundService(ABC):
    """A service that does work in turns until it is stopped. An instance runs once."""

    def __init__(self, name: str, interval: float, pubsub: PubSub | None = None, topic: Hashable | None = None) -> None:
        """
        Args:
            name: Names the service in log lines.
            interval: Longest time between two turns, in seconds.
            pubsub: Where `topic` is published; None: only `wake` starts a turn early.
            topic: Each message on it starts a turn at once.
        """
        self.name = name
        self.interval = interval
        self._pubsub, self._topic = pubsub, topic
        self._stopping = asyncio.Event()
        self._wake_up = asyncio.Event()
        self._retry_seconds = RETRY_SECONDS

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Starts no further turn; `run` returns when the current one has ended."""
        self._stopping.set()
        self._wake_up.set()

    def wake(self) -> None:
        """Starts the next turn at once."""
        self._wake_up.set()

    async def run(self) -> None:
        """Runs turns until `stop`, then `shut_down`. Failures of both are logged, not raised."""
        with self._subscription() as self._wake_up:
            while not self.is_stopping:
                self._wake_up.clear()
                seconds = await self._run_turn()
                if seconds > 0 and not self.is_stopping:
                    await clock.wait_for(self._wake_up, min(seconds, self.interval))
        try:
            await self.shut_down()
        except Exception:
            _logger.exception("background service not shut down", extra={"service": self.name})

    @abstractmethod
    async def work(self) -> float:
        """Does the work that is due now, and returns the seconds until the next turn (0 or less: at once).

        Failures may be raised: the turn is logged and repeated after a back-off.
        """

    async def shut_down(self) -> None:
        """Called after the last turn. The default does nothing."""
        return

    def _subscription(self) -> AbstractContextManager[asyncio.Event]:
        if self._pubsub is None:
            return nullcontext(self._wake_up)
        return self._pubsub.subscribe(self._topic)

    async def _run_turn(self) -> float:
        """Runs one turn; returns the seconds until the next one."""
        try:
            seconds = await self.work()
        except UNREADABLE as error:
            return await self._back_off(logging.WARNING, "database unavailable", reason=reasons.of_database(error))
        except FileStoreError as error:
            return await self._back_off(logging.WARNING, "file store unavailable", reason=str(error))
        except Exception:
            return await self._back_off(logging.ERROR, "background service failed", exc_info=True)
        self._retry_seconds = RETRY_SECONDS
        return seconds

    async def _back_off(self, level: int, event: str, *, exc_info: bool = False, **fields: object) -> float:
        seconds = min(self._retry_seconds, self.interval)
        self._retry_seconds = min(2 * seconds, self.interval)
        fields |= {"service": self.name, "retry_in_seconds": seconds}
        _logger.log(level, event, extra=fields, exc_info=exc_info)
        # Wake-ups do not shorten the pause: a failing service must not spin because others publish messages.
        await clock.wait_for(self._stopping, seconds)
        return 0
