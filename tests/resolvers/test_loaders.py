"""Dataloaders of a request."""

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from db.core.database import Database
from resolvers.loaders import Loaders


def _same(_: Connection, keys: Sequence[str]) -> Mapping[str, str]:
    return {key: key for key in keys}


async def test_cancelled_field_does_not_cancel_another_that_loads_the_same_row(database: Database) -> None:
    loaders = Loaders(database)
    cancelled, other = (asyncio.create_task(loaders.load(_same, "key")) for _ in range(2))
    await asyncio.sleep(0)  # Both await the batch now.
    cancelled.cancel()
    assert await other == "key"
    assert cancelled.cancelled()
