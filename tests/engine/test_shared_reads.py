"""What runs of one flow, or of one project, need is read once for all that are executed at the same time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from db import flows, secrets
from db.assembly import COMMIT_STEPS
from db.core.database import Database
from engine.compiled_flow import FlowCache
from engine.secrets.key_ring import KeyRing
from engine.secrets.store import TRUSTED, SecretStore
from tests.support.clock import FakeClock
from tests.support.factory import make_project_with_flow

AT_ONCE = 20


class CountingDatabase(Database):
    """Counts its reads."""

    reads: Counter[Callable[..., Any]]

    async def read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Reads as every database does."""
        self.reads[query] += 1
        return await super().read(query, *args, **kwargs)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[CountingDatabase]:
    opened = CountingDatabase(database_url, COMMIT_STEPS)
    opened.reads = Counter()
    yield opened
    await opened.close()


async def test_flow_is_compiled_once(database: CountingDatabase) -> None:
    flow = await database.write(make_project_with_flow)
    cache = FlowCache(database)
    found = await asyncio.gather(*(cache.get(flow.version_id) for _ in range(AT_ONCE)))
    assert len(set(map(id, found))) == 1
    assert database.reads == {flows.definition: 1}


async def test_masks_are_checked_once_a_second(database: CountingDatabase, fake_clock: FakeClock) -> None:
    flow = await database.write(make_project_with_flow)
    store = SecretStore(database, KeyRing([]))
    for _ in range(2):
        await asyncio.gather(*(store.masker(flow.project_id) for _ in range(AT_ONCE)))
        await fake_clock.advance(TRUSTED.total_seconds())
    assert database.reads == {secrets.stamp: 2, secrets.all_values: 1}
