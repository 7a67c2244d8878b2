"""The budgets of a process: what it has taken from those of the database, and charges operations to."""

import asyncio
import logging
import math
from dataclasses import dataclass, field
from uuid import UUID

from db.core.database import Database
from db.queue import budgets
from db.queue.budgets import Budget, full
from domain import reasons
from domain.errors import DatabaseUnavailableError, QueryTooComplexError, RateLimitedError
from domain.observation.observer import SILENT, Limited, Observer
from domain.time import clock

_logger = logging.getLogger(__name__)

GRANTS = 20
"""Grants in a limit: a process takes a twentieth of it at a time, which is one write in three seconds for a key that
spends its whole limit. So much of a limit may each process hold unspent."""
REFUSED_COST = 10
"""Cost of a request that is refused before it is executed, such as one with an invalid document: that of a small query.
"""
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
    """Below 0: what the key owes for refused requests. The next request pays it before it is read."""
    rest: Budget | None = None
    """The budget of the database when it was last seen. By now there is at most what this one has when refilled."""
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def refilled(self) -> Budget:
        """Returns what the rest of the budget is now, as far as the process knows."""
        return full(self.limit) if self.rest is None else self.rest.refilled(self.limit, clock.now())

    def drain(self, cost: int) -> None:
        """Subtracts `cost`, or what is left, from what the process knows to be left."""
        rest, of_grant = self.refilled(), min(max(self.granted, 0), cost)
        self.granted -= of_grant
        self.rest = rest._replace(remaining=max(rest.remaining - (cost - of_grant), 0))


class Budgets:
    """Charges operations to the keys that send them, or calls to webhooks. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        default_limit: int | None = None,
        *,
        limited: Limited = Limited.KEY,
        observer: Observer = SILENT,
    ) -> None:
        """`default_limit` is that of keys without one of their own; None: they have no limit."""
        self._database = database
        self._default_limit = default_limit
        self._limited = limited
        self._observer = observer
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
        await self._ensure(key_id, held, cost)
        held.granted -= cost
        return RateLimit(limit, max(held.granted + held.refilled().remaining, 0))

    async def admit(self, key_id: UUID, cost_per_minute: int | None) -> None:
        """Lets the key pay what it owes for refused requests. Callers do this before they read a request.

        Raises:
            RateLimitedError: the key has nothing left.
        """
        held = self._held.get(key_id)
        if held is not None and held.limit == self.limit_of(cost_per_minute):
            await self._ensure(key_id, held, 1)

    def charge_refused(self, key_id: UUID, cost_per_minute: int | None) -> None:
        """Charges a request that was refused. If the process holds too little, the key owes the cost."""
        limit = self.limit_of(cost_per_minute)
        if limit is not None:
            held = self._of(key_id, limit)
            # A debt of the whole limit could never be paid together with a request.
            held.granted = max(held.granted - REFUSED_COST, min(held.granted, 1 - limit))

    def refund(self, key_id: UUID, cost_per_minute: int | None, cost: int) -> None:
        """Gives back a part of what was charged, for what the key did not get."""
        held = self._held.get(key_id)
        if held is not None and held.limit == self.limit_of(cost_per_minute):
            held.granted += max(cost, 0)

    def charge_limited(self, key_id: UUID, cost_per_minute: int | None, cost: int) -> None:
        """Charges a request that was refused because `cost` is not left, after its document was read: `REFUSED_COST`,
        or what is left. The key owes nothing, or a client that waits as it is told would be refused again.

        Raises:
            RateLimitedError: with the time until `cost` is left.
        """
        limit = self.limit_of(cost_per_minute)
        if limit is not None:
            held = self._of(key_id, limit)
            held.drain(REFUSED_COST)
            _check(held.refilled(), cost - held.granted, limit)

    async def _ensure(self, key_id: UUID, held: _Held, cost: int) -> None:
        """Takes from the budget what is missing for `cost`.

        Raises:
            RateLimitedError: so much is not left.
        """
        if held.granted >= cost:
            return
        try:
            async with held.taking:
                # Others may spend what was taken before this one gets to it.
                while held.granted < cost:
                    await self._take(key_id, held, cost - held.granted)
        except RateLimitedError:
            self._observer.rate_limited(self._limited)
            raise

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
            _check(held.refilled(), needed, held.limit)
        requested = max(needed, held.limit // GRANTS)
        try:
            grant = await self._database.write(budgets.take, key_id, held.limit, needed, requested)
        except DatabaseUnavailableError as error:
            _logger.warning(
                "budget of a key not written: limited by this process", extra={"reason": reasons.of_database(error)}
            )
            grant = budgets.granted(held.refilled(), needed, requested)
        held.rest = grant.budget
        held.granted += grant.taken
        if not grant.taken:
            _check(grant.budget, needed, held.limit)


def _check(rest: Budget, needed: int, limit: int) -> None:
    """Raises RateLimitedError if less than `needed` is left."""
    if rest.remaining < needed:
        seconds = (rest.available_at(needed, limit) - clock.now()).total_seconds()
        raise RateLimitedError(max(math.ceil(seconds), 1))
