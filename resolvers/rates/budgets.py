"""The budgets of a process: what it has taken from those of the database, and charges operations to."""

import asyncio
import logging
import math
from dataclasses import dataclass, field
from uuid import UUID

from db.core.database import Database
from db.queue import budgets
from db.queue.budgets import Budget
from domain.errors import DatabaseUnavailableError, QueryTooComplexError, RateLimitedError
from domain.time import clock

_logger = logging.getLogger(__name__)

GRANTS = 20
"""Grants in a limit: a process takes a twentieth of it at a time, which is one write in three seconds for a key that
spends its whole limit. So much of a limit may each process hold unspent."""
MAX_KEYS = 10_000
"""Keys whose budgets a process remembers. What it holds of the one that was charged first is lost when there are more.
"""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The rate limit of a key, and what is left of it."""

    limit: int
    """What its operations may cost in a minute."""
    remaining: int
    """About what they may cost now: other processes may have spent some of it."""


@dataclass(slots=True)
class _Held:
    """What the process holds of a key's budget, and what it knows of the rest."""

    limit: int
    granted: int = 0
    rest: Budget | None = None
    """The budget of the database when it was last seen. By now there is at most what this one has when refilled."""
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budgets:
    """Charges operations to the keys that send them. Belongs to one event loop."""

    def __init__(self, database: Database, default_limit: int | None = None) -> None:
        """`default_limit` is that of keys without one of their own; None: they have no limit."""
        self._database = database
        self._default_limit = default_limit
        self._held: dict[UUID, _Held] = {}

    def limit_of(self, cost_per_minute: int | None) -> int | None:
        """Returns the limit of a key with this setting; None if it has none."""
        return self._default_limit if cost_per_minute is None else cost_per_minute

    async def charge(self, key_id: UUID, cost_per_minute: int | None, cost: int) -> RateLimit | None:
        """Charges an operation to the key; returns None if the key has no limit.

        Raises:
            QueryTooComplexError: the operation costs more than the whole limit.
            RateLimitedError: the key cannot spend so much yet. Nothing was charged.
        """
        limit = self.limit_of(cost_per_minute)
        if limit is None:
            return None
        if cost > limit:
            message = f"The operation costs {cost:,}, and the key may spend {limit:,} a minute. Ask for less at once."
            raise QueryTooComplexError(message)
        held = self._of(key_id, limit)
        if held.granted < cost:
            async with held.taking:
                # Others may spend what was taken before this one gets to it.
                while held.granted < cost:
                    await self._take(key_id, held, cost - held.granted)
        held.granted -= cost
        rest = held.rest.refilled(limit, clock.now()).remaining if held.rest is not None else limit
        return RateLimit(limit, held.granted + rest)

    def _of(self, key_id: UUID, limit: int) -> _Held:
        held = self._held.get(key_id)
        if held is None or held.limit != limit:
            if len(self._held) >= MAX_KEYS:
                del self._held[next(iter(self._held))]
            # What was granted under another limit is dropped: it may be more than the new one allows.
            held = self._held[key_id] = _Held(limit)
        return held

    async def _take(self, key_id: UUID, held: _Held, needed: int) -> None:
        """Takes at least `needed` from the budget.

        While the database is unavailable, the process enforces the limit by itself, as if it were the only one.

        Raises:
            RateLimitedError: so much is not left.
        """
        if held.rest is not None:
            # There is no more than this, so a client that goes on asking costs no write.
            _check(held.rest.refilled(held.limit, clock.now()), needed, held.limit)
        requested = max(needed, held.limit // GRANTS)
        try:
            grant = await self._database.write(budgets.take, key_id, held.limit, needed, requested)
        except DatabaseUnavailableError as error:
            _logger.warning("budget of a key not written: limited by this process", extra={"reason": error.message})
            rest = held.rest.refilled(held.limit, clock.now()) if held.rest is not None else budgets.full(held.limit)
            grant = budgets.granted(rest, needed, requested)
        held.rest = grant.budget
        held.granted += grant.taken
        if not grant.taken:
            _check(grant.budget, needed, held.limit)


def _check(rest: Budget, needed: int, limit: int) -> None:
    """Raises RateLimitedError if less than `needed` is left."""
    if rest.remaining < needed:
        seconds = (rest.available_at(needed, limit) - clock.now()).total_seconds()
        raise RateLimitedError(max(math.ceil(seconds), 1))
