"""Remembers for a short time what a database has answered."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShortMemory(Generic[K, V]):
    """Values by their keys, for each database, of which each is forgotten after `seconds`."""

    def __init__(self, seconds: float, size: int, now: Callable[[], float] = time.monotonic) -> None:
        """Remembers up to `size` values of a database; `now` returns seconds."""
        self._seconds, self._size, self._now = seconds, size, now
        self._by_database: WeakKeyDictionary[Engine, dict[K, tuple[float, V]]] = WeakKeyDictionary()

    def find(self, conn: Connection, key: K) -> V | None:
        """Returns the value of `key` if it is still remembered."""
        until, value = self._of(conn).get(key, (0.0, None))
        return value if until > self._now() else None

    def put(self, conn: Connection, key: K, value: V) -> None:
        """Remembers the value of `key`."""
        own = self._of(conn)
        if len(own) >= self._size:
            own.clear()  # Threads share it: to look for the oldest, one would have to keep the others out.
        own[key] = (self._now() + self._seconds, value)

    def clear(self) -> None:
        """Forgets all values."""
        self._by_database.clear()

    def _of(self, conn: Connection) -> dict[K, tuple[float, V]]:
        return self._by_database.setdefault(conn.engine, {})
