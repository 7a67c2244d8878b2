"""A bench on which runs are executed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from db.session import Database
from tests.support.engine import Bench, Engine


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    """Runs and executors on the database of the test."""
    async with AsyncExitStack() as closing:
        yield Engine(database, (await Bench.on(database)).project_id, closing)
