"""The connections of this process that carry streams, over whatever transport: counted by key, and watched.

One look every few seconds serves all of them. It ends the connections of keys that are no longer in force, by one query
for all keys, and cuts off those whose client takes nothing any more.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from db import api_keys
from db.core.database import Database
from domain.errors import (
    DatabaseUnavailableError,
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from domain.time import clock

LOOK_SECONDS = 3.0
"""Between two looks: how long the streams of a revoked key may go on."""
LOOKS_STUCK = 7
"""Looks in a row that find the same write under way, after which a client counts as gone."""
MAX_CONNECTIONS = 1_000
MAX_SUBSCRIPTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may have open at a time, in this process."""

    connections: int = MAX_CONNECTIONS
    subscriptions: int = MAX_SUBSCRIPTIONS


class Connection:
    """A connection under watch. Its transport tells of each write: `is_writing` while it lasts, `written` after."""

    __slots__ = ("_connections", "_looks", "_seen", "abort", "end", "is_writing", "key_id", "written")

    def __init__(
        self,
        connections: "Connections",
        key_id: UUID,
        end: Callable[[UnauthenticatedError], None],
        abort: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._seen = 0
        self._looks = 0
        self.key_id = key_id
        self.end = end
        """Tells the client that its key is no longer in force, and closes the connection."""
        self.abort = abort
        """Drops the connection, without waiting for the client."""
        self.is_writing = False
        self.written = 0

    @contextmanager
    def subscription(self) -> Iterator[None]:
        """Count one more subscription for as long as the block lasts.

        Raises:
            TooManySubscriptionsError: the key has no more.
        """
        self._connections.count_subscription(self.key_id)
        try:
            yield
        finally:
            self._connections.forget_subscription(self.key_id)

    def close(self) -> None:
        """Watch it no more."""
        self._connections.forget(self)

    def look(self) -> bool:
        """Whether its client still takes what is written. To be asked at regular times."""
        if not self.is_writing or self.written != self._seen:
            self._seen, self._looks = self.written, 0
        else:
            self._looks += 1
        return self._looks < LOOKS_STUCK


class Connections:
    """All of them. Belongs to one event loop."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._open: defaultdict[UUID, set[Connection]] = defaultdict(set)
        self._subscriptions: defaultdict[UUID, int] = defaultdict(int)
        self._any = asyncio.Event()

    def open(
        self, key_id: UUID, *, end: Callable[[UnauthenticatedError], None], abort: Callable[[], None]
    ) -> Connection:
        """One more connection of a key, to be closed by whoever opened it; `end` and `abort`: see `Connection`.

        Raises:
            TooManyConnectionsError: the key has no more.
        """
        if len(self._open[key_id]) >= self._limits.connections:
            raise TooManyConnectionsError
        made = Connection(self, key_id, end, abort)
        self._open[key_id].add(made)
        self._any.set()
        return made

    async def watch(self) -> None:
        """Look at the connections until cancelled."""
        while True:
            await self._any.wait()
            await clock.sleep(LOOK_SECONDS)
            self._cut_off_the_stuck()
            await self._end_revoked()

    def _cut_off_the_stuck(self) -> None:
        for connection in [each for opened in self._open.values() for each in opened if not each.look()]:
            connection.abort()

    async def _end_revoked(self) -> None:
        if not self._open:
            return
        try:
            in_force = await self._database.read(api_keys.in_force, list(self._open))
        except DatabaseUnavailableError:
            return  # nothing can be told while the database is away
        for key_id in self._open.keys() - in_force:
            for connection in list(self._open[key_id]):
                connection.end(UnauthenticatedError("The key is no longer in force."))

    # What connections use.

    def forget(self, connection: Connection) -> None:
        """Count `connection` no more."""
        opened = self._open[connection.key_id]
        opened.discard(connection)
        if not opened:
            del self._open[connection.key_id]
        if not self._open:
            self._any.clear()

    def count_subscription(self, key_id: UUID) -> None:
        """Count one more.

        Raises:
            TooManySubscriptionsError: the key has no more.
        """
        if self._subscriptions[key_id] >= self._limits.subscriptions:
            raise TooManySubscriptionsError
        self._subscriptions[key_id] += 1

    def forget_subscription(self, key_id: UUID) -> None:
        """Count one less."""
        self._subscriptions[key_id] -= 1
        if not self._subscriptions[key_id]:
            del self._subscriptions[key_id]
