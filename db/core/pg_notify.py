"""Passes signals on between the processes that share a PostgreSQL database.

Each process has a connection of its own for this, on which it listens, and notifies what is sent here. It notifies
after the commit and outside the transaction that wrote: a transaction that notifies takes a lock of the whole server at
its commit. What comes within a few milliseconds goes out together.

Signals are hints: while the connection is down they are lost, and whoever waits looks at the tables as ever.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import make_url

from db.core import pubsub
from db.core.database import Database
from db.core.pubsub import PubSub
from db.core.sqlite_poller import DataVersionPoller

_logger = logging.getLogger(__name__)

CHANNEL = "flow_runs"
DEBOUNCE = 0.01
"""Seconds between two notifications: of a thousand changes a second, a hundred commits tell."""
RECONNECT = 1.0
"""Seconds after which a lost connection is made anew."""
CONNECT_TIMEOUT = 5.0
"""Seconds after which a server that does not answer counts as away."""
HEARTBEAT = 30.0
"""Seconds after which an idle connection is tried."""
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_PAYLOAD = 200
"""Topics that one notification tells; PostgreSQL allows it 8,000 bytes."""
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_PLAIN = frozenset(
    {
        *(pubsub.EVENTS, pubsub.RUNS_STOPPED, pubsub.RUNS_DUE, pubsub.BULK_DUE, pubsub.KEY_REVOKED),
        pubsub.SECRETS_CHANGED,
    }
)
_OPERATION = "bulk:"


class Notifier:
    """Sends the signals of this process to the others, and theirs to this one, while `run` does."""

    def __init__(self, url: str, local: PubSub) -> None:
        """Of the PostgreSQL database at `url`, whose signals within this process are `local`."""
        self._dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._local = local
        self._outbox: dict[str, None] = {}
        self._filled = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while the connection is there."""

    async def run(self) -> None:
        """Listen and notify until cancelled; a lost connection is made anew."""
        with self._local.forwarded(self._put):
            while True:
                try:
                    await self._serve()
                except _AWAY as error:
                    _logger.warning("Signals between processes are down (%s); trying again", type(error).__name__)
                await asyncio.sleep(RECONNECT)

    async def _serve(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=CONNECT_TIMEOUT, server_settings={"application_name": "flow-runs signals"}
        )
        connection.add_termination_listener(lambda _: self._filled.set())
        try:
            await connection.add_listener(CHANNEL, self._receive)
            self.listening.set()
            # Whatever happened before is found by looking.
            self._local.deliver(_PLAIN)
            while not connection.is_closed():
                await self._notify(connection)
        finally:
            self.listening.clear()
            connection.terminate()

    async def _notify(self, connection: Any) -> None:
        # By the loop's own time: how a connection is paced is no business of the service's clock.
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._filled.wait()
        self._filled.clear()
        # Without anything to tell it is a sign of life: a dead connection does not tell by itself.
        await connection.execute(_NOTIFY, CHANNEL, self._take(), timeout=CONNECT_TIMEOUT)
        await asyncio.sleep(DEBOUNCE)

    def _put(self, topics: Iterable[Hashable]) -> None:
        self._outbox.update((encoded, None) for topic in topics if (encoded := _encode(topic)))
        if self._outbox:
            self._filled.set()

    def _take(self) -> list[str]:
        topics = list(self._outbox)
        self._outbox.clear()
        return [" ".join(topics[start : start + _PAYLOAD]) for start in range(0, len(topics), _PAYLOAD)]

    def _receive(self, connection: Any, sender: int, _channel: str, payload: object) -> None:
        if sender != connection.get_server_pid():
            self._local.deliver([_decode(topic) for topic in str(payload).split()])


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
    """Pass signals on between this process and others, as long as the block lasts; on SQLite the log's growth alone."""
    kind = DataVersionPoller if database.dialect == "sqlite" else Notifier
    task = asyncio.create_task(kind(url, database.signals).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
