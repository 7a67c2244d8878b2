"""Tells a process when another one wrote to the SQLite file that they share.

SQLite sends nothing, but `PRAGMA data_version` is another number after each commit of another connection. A look takes
some microseconds and waits for nobody; it is taken while there are subscribers. What this process wrote itself it was
told of already; then a look finds nothing new, and the reader of the log neither.
"""

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
from sqlalchemy import make_url

from db.core import pubsub
from db.core.pubsub import PubSub

POLL_SECONDS = 0.05
"""Seconds between two looks."""


class DataVersionPoller:
    """Sends `pubsub.EVENTS` within this process for what others write, while `run` does."""

    def __init__(self, url: str, local: PubSub) -> None:
        """Of the SQLite database at `url`, whose signals within this process are `local`."""
        name = make_url(url).database
        # It is not for a watch to create the file.
        self._uri = f"{Path(name).absolute().as_uri()}?mode=rw" if name and name != ":memory:" else None
        self._local = local

    async def run(self) -> None:
        """Look until cancelled; while the file cannot be read, there is nothing to be told of."""
        while self._uri is not None:
            try:
                async with aiosqlite.connect(self._uri, uri=True, timeout=0) as connection:
                    await self._look(connection)
            except sqlite3.Error:
                await asyncio.sleep(POLL_SECONDS)

    async def _look(self, connection: aiosqlite.Connection) -> None:
        seen = None
        while True:
            # By the loop's own time: how often one looks is no business of the service's clock.
            await asyncio.sleep(POLL_SECONDS)
            if not self._local.is_heard(pubsub.EVENTS):
                seen = None
                continue
            ((version,),) = await connection.execute_fetchall("PRAGMA data_version")
            if version != seen:
                seen = version
                self._local.deliver([pubsub.EVENTS])
