"""Wakes subscribers when another process has written to the same SQLite file.

SQLite sends no notifications, but `PRAGMA data_version` changes with each commit of another connection. Reading it
takes some microseconds and waits for no lock. It is read only while there are subscribers. Writes of this process
change it, too. They have woken the subscribers already, so the second wake-up finds nothing new.
"""

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
from sqlalchemy import make_url

from db.core import pubsub
from db.core.pubsub import PubSub

POLL_SECONDS = 0.05
"""Seconds between two reads of `data_version`: the latency of events from other processes."""


class DataVersionPoller:
    """Publishes `pubsub.EVENTS` within this process for the commits of other processes, while `run` is active."""

    def __init__(self, url: str, local: PubSub) -> None:
        """Polls the SQLite database at `url` for the subscribers of `local`."""
        name = make_url(url).database
        # The poller must not create the file.
        self._uri = f"{Path(name).absolute().as_uri()}?mode=rw" if name and name != ":memory:" else None
        self._local = local

    async def run(self) -> None:
        """Polls until cancelled. Errors are ignored: a file that cannot be read has no new events."""
        while self._uri is not None:
            try:
                async with aiosqlite.connect(self._uri, uri=True, timeout=0) as connection:
                    await self._look(connection)
            except sqlite3.Error:
                await asyncio.sleep(POLL_SECONDS)

    async def _look(self, connection: aiosqlite.Connection) -> None:
        seen = None
        while True:
            # The pace follows the loop's time, not the service's clock, which tests set.
            await asyncio.sleep(POLL_SECONDS)
            if not self._local.has_subscribers(pubsub.EVENTS):
                seen = None
                continue
            ((version,),) = await connection.execute_fetchall("PRAGMA data_version")
            if version != seen:
                seen = version
                self._local.publish_local([pubsub.EVENTS])
