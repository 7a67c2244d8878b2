"""The ways to make dispatchers: what every one of them does is tested on each."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from db.core.database import Database
from engine.dispatcher import Dispatcher
from engine.pgqueuer import ticket_dispatcher
from engine.polling import PollingDispatcher, PollingSettings
from tests.conftest import Dialect


@dataclass(frozen=True)
class Limits:
    """What a dispatcher is given; times in seconds."""

    concurrency: int = 64
    lease: float = 15.0
    grace: float = 10.0


def polling(database: Database, limits: Limits) -> Dispatcher:
    settings = PollingSettings(concurrency=limits.concurrency, lease=limits.lease, grace=limits.grace)
    return PollingDispatcher(database, settings)


@dataclass(frozen=True)
class Backend:
    """A way to make dispatchers, and the databases that they work with."""

    create: Callable[[Database, Limits], Dispatcher]
    dialects: tuple[Dialect, ...]
    latency: float
    """Seconds after which it has noticed, at the latest, what another process wrote."""


def by_tickets(database: Database, limits: Limits) -> Dispatcher:
    settings = PollingSettings(concurrency=limits.concurrency, lease=limits.lease, grace=limits.grace)
    return ticket_dispatcher(database, settings)


BACKENDS = {
    "polling": Backend(polling, ("sqlite", "postgresql"), latency=1.0),
    "tickets": Backend(by_tickets, ("postgresql",), latency=1.0),
}
CASES = [pytest.param((each, on), id=f"{name}-{on}") for name, each in BACKENDS.items() for on in each.dialects]
