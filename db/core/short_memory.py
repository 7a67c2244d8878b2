"""Remembers for a short time what a database has answered."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Pool

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShortMemory(Generic[K, V]):
    """Values by their keys, for each database, of which each is forgotten after `seconds`.

    A database is known by the pool of connections that reads it.
    """

    def __init__(self, seconds: float, size: int, now: Callable[[], float] = time.monotonic) -> None:
        """Remembers up to `size` values of a database; `now` returns seconds."""
        self._seconds, self._size, self._now = seconds, size, now
        self._by_database: WeakKeyDictionary[Pool, dict[K, tuple[float, V]]] = WeakKeyDictionary()

    def find(self, pool: Pool, key: K) -> V | None:
        """Returns the value of `key` if it is still remembered of the database that `pool` reads."""
        until, value = self._of(pool).get(key, (0.0, None))
        return value if until > self._now() else None

    def put(self, pool: Pool, key: K, value: V) -> None:
        """Remembers the value of `key`."""
        own = self._of(pool)
        if len(own) >= self._size:
            own.clear()  # Threads share it: to look for the oldest, one would have to keep the others out.
        own[key] = (self._now() + self._seconds, value)

    def clear(self) -> None:
        """Forgets all values."""
        self._by_database.clear()

    def _of(self, pool: Pool) -> dict[K, tuple[float, V]]:
        return self._by_database.setdefault(pool, {})
