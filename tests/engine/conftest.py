"""Databases, workers and the clock for the tests of the engine."""

import math
from collections.abc import Iterator

import pytest

from db.core.database import Database
from engine.templates import meter
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


@pytest.fixture
def worker_pool() -> Iterator[WorkerPool]:
    """Workers in processes of their own."""
    with run_worker_pool() as found:
        yield found


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    """Time stands still unless a test moves it."""
    fake_clock.watch(database)
    return fake_clock


@pytest.fixture(scope="module")
def without_time_limit() -> Iterator[None]:
    """Removes the time limit of templates, so that the other limits decide alike on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "MAX_CPU_SECONDS", math.inf)
        yield
