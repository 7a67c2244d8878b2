"""Fixtures of the dispatcher's tests."""

import pytest

from tests.conftest import Dialect
from tests.engine.faults.backends import Backend
from tests.engine.worker.dispatcher.harness import Work
from tests.support.worker import Flow, WorkerHarness, transform


@pytest.fixture
def dialect(case: tuple[Backend, Dialect]) -> Dialect:
    return case[1]


@pytest.fixture
def work(worker: WorkerHarness) -> Work:
    """Work with an open gate."""
    made = Work(worker)
    made.gate.set()
    return made


@pytest.fixture
def held_up(worker: WorkerHarness) -> Work:
    """Work with a shut gate."""
    return Work(worker)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1))
