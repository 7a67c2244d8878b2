"""The connections of this process that carry streams, for all transports: counted for each key, and watched.

One periodic check serves all connections. It closes those of revoked keys, by one query for all keys, and aborts those
whose client has stopped reading.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from db import access_tokens
from db.core.database import UNREADABLE, Database
from domain.errors import (
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from domain.time import clock

CHECK_SECONDS = 0.75
"""Seconds between two checks. The streams of a revoked key last at most as long."""
MAX_STALLED_CHECKS = 28
"""Consecutive checks that find the same write unfinished, after which the client counts as gone."""
MAX_CONNECTIONS = 1_000
"""Connections per key and process, by default."""
MAX_SUBSCRIPTIONS = 1_000
"""Subscriptions per key and process, by default."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for the connections and subscriptions of one key in this process."""

    connections: int = MAX_CONNECTIONS
    subscriptions: int = MAX_SUBSCRIPTIONS


class Credential(Protocol):
    """The credential of a connection: a key, or an access token."""

    @property
    def key_id(self) -> UUID:
        """The key, or the key that created the token."""

    @property
    def token_id(self) -> UUID | None: ...

    @property
    def expires_at(self) -> datetime | None: ...

    @property
    def holder(self) -> UUID:
        """The ID of the token or the key."""


class Connection:
    """A watched connection. Its transport sets `is_writing` during a write, and counts it in `written` afterwards."""

    __slots__ = (
        "_registry",
        "_stalled_checks",
        "_written_before",
        "abort",
        "close",
        "credential",
        "is_writing",
        "written",
    )

    def __init__(
        self,
        registry: "ConnectionRegistry",
        credential: "Credential",
        close: Callable[[UnauthenticatedError], None],
        abort: Callable[[], None],
    ) -> None:
        """See `ConnectionRegistry.open`."""
        self._registry = registry
        self._written_before = 0
        self._stalled_checks = 0
        self.credential = credential
        self.close = close
        """Sends the error to the client, and closes the connection. Does not wait."""
        self.abort = abort
        """Drops the connection, without waiting for the client."""
        self.is_writing = False
        self.written = 0

    @contextmanager
    def subscription(self) -> Iterator[None]:
        """Counts one more subscription of the key while the block lasts.

        Raises:
            TooManySubscriptionsError: the key has reached its limit.
        """
        self._registry.add_subscription(self.credential.holder)
        try:
            yield
        finally:
            self._registry.remove_subscription(self.credential.holder)

    def release(self) -> None:
        """Stops watching and counting the connection, which has ended."""
        self._registry.remove(self)

    def is_stalled(self) -> bool:
        """True if the client has stopped reading: too many checks, including this one, found the same write
        unfinished."""
        if not self.is_writing or self.written != self._written_before:
            self._written_before, self._stalled_checks = self.written, 0
        else:
            self._stalled_checks += 1
        return self._stalled_checks >= MAX_STALLED_CHECKS


class ConnectionRegistry:
    """All connections of the process that carry streams. Belongs to one event loop."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._connections: defaultdict[UUID, set[Connection]] = defaultdict(set)
        """The connections, by key or access token."""
        self._subscriptions: defaultdict[UUID, int] = defaultdict(int)
        """Number of subscriptions by key or access token."""
        self._has_connections = asyncio.Event()

    def open(
        self, credential: "Credential", *, close: Callable[[UnauthenticatedError], None], abort: Callable[[], None]
    ) -> Connection:
        """Registers a connection of a key or an access token. The caller releases it.

        For `close` and `abort` see `Connection`.

        Raises:
            TooManyConnectionsError: the key has reached its limit.
        """
        connections = self._connections[credential.holder]
        if len(connections) >= self._limits.connections:
            raise TooManyConnectionsError
        connection = Connection(self, credential, close, abort)
        connections.add(connection)
        self._has_connections.set()
        return connection

    @property
    def connections(self) -> int:
        """The number of connections that are open."""
        return sum(len(connections) for connections in self._connections.values())

    async def watch(self) -> None:
        """Checks the connections periodically, until cancelled."""
        while True:
            await self._has_connections.wait()
            await clock.sleep(CHECK_SECONDS)
            self._abort_stalled()
            await self._close_revoked()

    def _abort_stalled(self) -> None:
        open_now = [connection for connections in self._connections.values() for connection in connections]
        for connection in open_now:
            if connection.is_stalled():
                connection.abort()

    async def _close_revoked(self) -> None:
        if not self._connections:
            return
        shown = [next(iter(connections)).credential for connections in self._connections.values() if connections]
        keys = {each.key_id for each in shown}
        tokens = {each.token_id for each in shown if each.token_id is not None}
        try:
            active = await self._database.read(access_tokens.active, keys, tokens)
        except UNREADABLE:
            return  # The next check finds out which keys are active.
        for each in shown:
            has_expired = each.expires_at is not None and each.expires_at <= clock.now()
            if has_expired or not {each.key_id, each.holder} <= active:
                for connection in list(self._connections.get(each.holder, ())):
                    connection.close(UnauthenticatedError("The API key is no longer active."))

    # Called by connections

    def remove(self, connection: Connection) -> None:
        """Stops watching and counting `connection`."""
        holder = connection.credential.holder
        connections = self._connections[holder]
        connections.discard(connection)
        if not connections:
            del self._connections[holder]
        if not self._connections:
            self._has_connections.clear()

    def add_subscription(self, holder: UUID) -> None:
        """Counts one more subscription of a key or an access token.

        Raises:
            TooManySubscriptionsError: the key has reached its limit.
        """
        if self._subscriptions[holder] >= self._limits.subscriptions:
            raise TooManySubscriptionsError
        self._subscriptions[holder] += 1

    def remove_subscription(self, holder: UUID) -> None:
        """Counts one subscription less."""
        self._subscriptions[holder] -= 1
        if not self._subscriptions[holder]:
            del self._subscriptions[holder]
