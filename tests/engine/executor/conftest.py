"""Fixtures of the executor's tests."""

import pytest

from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness


@pytest.fixture(autouse=True)
def still(fake_clock: FakeClock, worker: WorkerHarness) -> FakeClock:
    """A clock that stands still unless the test moves it."""
    fake_clock.watch(worker.database)
    return fake_clock
