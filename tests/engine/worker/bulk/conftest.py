"""Fixtures of the bulk worker's tests."""

import pytest

from tests.support.worker import Flow, WorkerHarness, transform


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1), transform("b", 2))
