"""Dispatchers for tests, on both databases."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from db.core.database import Database
from engine.worker.dispatcher import Dispatcher, DispatcherSettings
from tests.conftest import Dialect


@dataclass(frozen=True)
class Limits:
    """Settings of a dispatcher. Times are in seconds."""

    concurrency: int = 64
    lease: float = 15.0
    grace: float = 10.0


def dispatcher(database: Database, limits: Limits) -> Dispatcher:
    settings = DispatcherSettings(concurrency=limits.concurrency, lease=limits.lease, grace=limits.grace)
    return Dispatcher(database, settings)


@dataclass(frozen=True)
class Backend:
    """Makes dispatchers, on some databases."""

    create: Callable[[Database, Limits], Dispatcher]
    dialects: tuple[Dialect, ...]
    latency: float
    """Seconds after which it has noticed the writes of other processes, at the latest."""


BACKENDS = {"dispatcher": Backend(dispatcher, ("sqlite", "postgresql"), latency=1.0)}
CASES = [pytest.param((each, on), id=f"{name}-{on}") for name, each in BACKENDS.items() for on in each.dialects]
