"""A bench on which runs are executed, and the dispatchers that hand them out."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from db.core.database import Database
from tests.conftest import Dialect
from tests.engine.adapters import CASES, Adapter
from tests.engine.processes import Processes, worker_processes
from tests.support.clock import FakeClock
from tests.support.engine import Bench, Engine


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    """Runs and executors on the database of the test."""
    async with AsyncExitStack() as closing:
        yield Engine(database, (await Bench.on(database)).project_id, closing)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Adapter, Dialect]:
    """A way to make dispatchers, and a database that it works with."""
    chosen: tuple[Adapter, Dialect] = request.param
    return chosen


@pytest.fixture
def adapter(case: tuple[Adapter, Dialect]) -> Adapter:
    """The way of the `case`."""
    return case[0]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Workers in processes of their own."""
    with worker_processes() as found:
        yield found


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    """Time stands still unless a test moves it."""
    fake_clock.watch(database)
    return fake_clock
