"""Fixtures of the hub's tests."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from db.core.database import Database
from live.hub import Hub
from tests.live.hub.harness import complete
from tests.support.worker import Flow, WorkerHarness, transform


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("only", 1))


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    made = Hub(database)
    yield made
    await made.close()


@pytest.fixture
async def run_id(worker: WorkerHarness, flow: Flow, hub: Hub) -> UUID:
    found = await worker.start(flow)
    await complete(hub, 1)
    return found
