"""Which runs this process executes, and when."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from db.journal import Claimed

Execute = Callable[[Claimed], Awaitable[None]]
"""Carries a claimed run as far as it goes; raises nothing."""


class Dispatcher(Protocol):
    """Hands claimed runs to an executor. Delivery is at least once: the lease's token makes the journal exact."""

    async def run(self, execute: Execute) -> None:
        """Claim and execute runs until `stop`; returns when the last one under way has ended or was handed back."""
        ...

    def stop(self) -> None:
        """Claim no more."""
        ...
