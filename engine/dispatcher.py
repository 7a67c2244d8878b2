"""Which runs this process executes, and when."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from db.runs.step_journal import Claimed

Execute = Callable[[Claimed], Awaitable[None]]
"""Carries a claimed run as far as it goes; raises nothing."""


class Queue(Protocol):
    """Where due runs are found.

    Raises:
        DatabaseUnavailableError: from both, when the database is away.
    """

    async def claim(self, at_most: int, lease: timedelta) -> Sequence[Claimed]:
        """Take up to `at_most` runs that are due, for as long as `lease`."""
        ...

    async def next_due(self) -> datetime | None:
        """When there will be something to claim next, as far as is known."""
        ...


class Dispatcher(Protocol):
    """Hands claimed runs to an executor. Delivery is at least once: the lease's token makes the journal exact."""

    async def run(self, execute: Execute) -> None:
        """Claim and execute runs until `stop`; returns when the last one under way has ended or was handed back."""
        ...

    def stop(self) -> None:
        """Claim no more."""
        ...
