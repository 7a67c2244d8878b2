"""Fixtures of the tests of families."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from domain import ids
from domain.ids import IdKind
from tests.resolvers.families.harness import Families
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness


@pytest.fixture
async def families(fake_clock: FakeClock, idle_app: App) -> AsyncIterator[Families]:
    async with AsyncExitStack() as resources:
        project_id = ids.decode(IdKind.PROJECT, idle_app.project)
        yield Families(idle_app, WorkerHarness(idle_app.database, project_id, resources))
