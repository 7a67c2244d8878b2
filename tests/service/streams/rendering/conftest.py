"""Fixtures of the tests of streams."""

from collections.abc import AsyncIterator

import pytest

from tests.support.processes.server import AppServer, run_server


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[AppServer]:
    async with run_server(database_url) as served:
        yield served
