"""A bench on which runs are executed, and the dispatchers that hand them out."""

from collections.abc import Iterator

import pytest

from db.core.database import Database
from tests.conftest import Dialect
from tests.engine.faults.backends import CASES, Backend
from tests.engine.worker.worker_pool import WorkerPool, run_worker_pool
from tests.support.clock import FakeClock


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Backend, Dialect]:
    """A way to make dispatchers, and a database that it works with."""
    chosen: tuple[Backend, Dialect] = request.param
    return chosen


@pytest.fixture
def backend(case: tuple[Backend, Dialect]) -> Backend:
    """The way of the `case`."""
    return case[0]


@pytest.fixture(scope="module")
def worker_pool() -> Iterator[WorkerPool]:
    """Workers in processes of their own."""
    with run_worker_pool() as found:
        yield found


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    """Time stands still unless a test moves it."""
    fake_clock.watch(database)
    return fake_clock
