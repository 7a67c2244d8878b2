"""Passes wake-ups between the processes that share a PostgreSQL database.

Each process has one connection on which it listens, and by which it notifies the others. It notifies after the commit,
and not in the transaction that wrote: a transaction that notifies takes a lock of the whole server at its commit.
Topics that are published within a few milliseconds are sent together.

Behind a pooler in transaction mode no connection can listen. There the process notifies as well, and checks several
times a second whether any transaction of the server has ended.

Wake-ups are hints: while the connection is down they are lost, and receivers read the tables periodically.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg

from db.core import pubsub
from db.core.database import Database
from db.core.postgres import Pooling, PostgresServer
from db.core.pubsub import PubSub
from db.core.sqlite_poller import DataVersionPoller

_logger = logging.getLogger(__name__)

CHANNEL = "flow_runs"
PAUSE = 0.002
"""Seconds before the next notification for each commit that the last one announced. A few commits, such as those of a
single run, are announced almost at once: a fixed pause would delay the end of every run that is shorter than it."""
MAX_PAUSE = 0.01
"""Longest of these pauses: a thousand changes a second cause at most a hundred notifications."""
RECONNECT = 1.0
"""Seconds after which a lost connection is replaced."""
STATEMENT_TIMEOUT = 5.0
"""Seconds after which a server without a response counts as unavailable."""
HEARTBEAT = 30.0
"""Seconds after which an idle connection is checked."""
POLL_SECONDS = 0.1
"""Seconds between two checks of a server behind a pooler in transaction mode."""
_SNAPSHOT = "SELECT txid_current_snapshot()::text"
"""Returns a text that changes whenever a transaction that has written begins or ends."""
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_SESSION = {
    "application_name": "flow-runs notifications",
    # A transaction that notifies is written to the server's log. Nobody has to wait for the disk because of a hint.
    "synchronous_commit": "off",
}
_PAYLOAD = 200
"""Largest number of topics in one notification; PostgreSQL allows 8,000 bytes."""
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_PLAIN = frozenset(
    {
        *(pubsub.EVENTS, pubsub.RUNS_STOPPED, pubsub.RUNS_DUE, pubsub.BULK_DUE, pubsub.KEY_REVOKED),
        pubsub.SECRETS_CHANGED,
        *(pubsub.ENDPOINTS_CHANGED, pubsub.DELIVERIES_DUE, pubsub.ALERTS_DUE),
    }
)
_OPERATION = "bulk:"


class Notifier:
    """Publishes the topics of this process in the others, and theirs in this one, while `run` is active."""

    def __init__(self, server: PostgresServer, local: PubSub) -> None:
        """`local` publishes within this process."""
        self._server = server
        self._local = local
        self._outbox: dict[str, None] = {}
        self._commits = 0
        """The number of commits whose topics are in the outbox."""
        self._filled = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while the connection is open."""

    async def run(self) -> None:
        """Listens and notifies until cancelled; replaces a lost connection."""
        with self._local.forwarding(self._put):
            while True:
                try:
                    await self._serve()
                except _AWAY as error:
                    _logger.warning("notifications unavailable", extra={"error": str(error) or type(error).__name__})
                await asyncio.sleep(RECONNECT)

    async def _serve(self) -> None:
        connection = await self._server.connect(_SESSION)
        connection.add_termination_listener(lambda _: self._filled.set())
        try:
            if await self._server.find_pooling() is Pooling.TRANSACTION:
                await self._poll(connection)
                return
            await connection.add_listener(CHANNEL, self._receive)
            self.listening.set()
            # Receivers read the tables for changes from before this connection.
            self._local.publish_local(_PLAIN)
            while not connection.is_closed():
                await self._notify(connection)
        finally:
            self.listening.clear()
            connection.terminate()

    async def _poll(self, connection: Any) -> None:
        seen = None
        self.listening.set()
        while not connection.is_closed():
            self._filled.clear()
            async with asyncio.timeout(STATEMENT_TIMEOUT), connection.transaction():
                if topics := self._take():
                    await connection.execute(_NOTIFY, CHANNEL, topics)
                snapshot = await connection.fetchval(_SNAPSHOT)
            if snapshot != seen:
                seen = snapshot
                self._local.publish_all_local()
            # The pace follows the loop's time, as in `_notify`.
            await asyncio.sleep(POLL_SECONDS)

    async def _notify(self, connection: Any) -> None:
        # The pace follows the loop's time: the service's clock does not control a connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._filled.wait()
        self._filled.clear()
        pause = min(PAUSE * self._commits, MAX_PAUSE)
        # Without topics, this checks an idle connection.
        await connection.execute(_NOTIFY, CHANNEL, self._take(), timeout=STATEMENT_TIMEOUT)
        await asyncio.sleep(pause)

    def _put(self, topics: Iterable[Hashable]) -> None:
        self._outbox.update((encoded, None) for topic in topics if (encoded := _encode(topic)))
        if self._outbox:
            self._commits += 1
            self._filled.set()

    def _take(self) -> list[str]:
        topics = list(self._outbox)
        self._outbox.clear()
        self._commits = 0
        return [" ".join(topics[start : start + _PAYLOAD]) for start in range(0, len(topics), _PAYLOAD)]

    def _receive(self, connection: Any, sender: int, _channel: str, payload: object) -> None:
        if sender != connection.get_server_pid():
            self._local.publish_local([_decode(topic) for topic in str(payload).split()])


def _encode(topic: Hashable) -> str | None:
    if topic in _PLAIN:
        return str(topic)
    match topic:
        case ("run", UUID() as run_id):
            return run_id.hex
        case ("bulk", UUID() as operation_id):
            return _OPERATION + operation_id.hex
    return None


def _decode(text: str) -> Hashable:
    if text in _PLAIN:
        return text
    if text.startswith(_OPERATION):
        return pubsub.operation_changed(UUID(text.removeprefix(_OPERATION)))
    return pubsub.run_changed(UUID(text))


@asynccontextmanager
async def listen_for_other_processes(database: Database, url: str) -> AsyncIterator[None]:
    """Passes wake-ups between this process and others while the block lasts; on SQLite only wake-ups of the event
    log."""
    if database.server is None:
        receiver: DataVersionPoller | Notifier = DataVersionPoller(url, database.pubsub)
    else:
        receiver = Notifier(database.server, database.pubsub)
    task = asyncio.create_task(receiver.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
