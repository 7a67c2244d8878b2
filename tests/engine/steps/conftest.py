"""The server and the HTTP step kind for the tests of HTTP steps."""

from collections.abc import AsyncIterator

import pytest

from engine.steps import KINDS, StepKind, StepSettings
from tests.engine.steps.http_server import LIMIT, Server
from tests.support.processes.listener import answering


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with answering(server.app) as server.url:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[StepKind]:
    settings = StepSettings(http_allow_private=True, max_response_bytes=LIMIT, http_timeout=20)
    async with KINDS.open(settings) as kinds:
        yield kinds["http"]
