"""Budgets: what the operations of an API key may still cost under its rate limit. Webhooks and answer links have
budgets too, from which each call takes 1.

A budget holds at most what the limit allows in a minute, and is refilled steadily. Processes do not write for each
operation: a process takes a grant, a small part of the budget, and spends it by itself. What all processes have taken
never exceeds the limit, so what they spend exceeds it at most by the grants that they held before.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import CostBudget
from db.models.types import table
from db.sql.insert_if_missing import InsertIfMissing
from domain.time import clock

PERIOD = timedelta(minutes=1)
"""Time in which an empty budget becomes full."""
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = PERIOD // _MICROSECOND
"""Those of `PERIOD`. Everything is counted in whole numbers, so nothing is lost to rounding."""

_table = table(CostBudget)
_budget = _table.c
_OF_KEY = _budget.key_id == bindparam("of_key_id")
_LOCKED = select(_budget.remaining, _budget.refilled_at).where(_OF_KEY).with_for_update()
_UPDATE = (
    update(_table).where(_OF_KEY).values(remaining=bindparam("new_remaining"), refilled_at=bindparam("new_refilled_at"))
)
_INSERT = InsertIfMissing(_table)


class Budget(NamedTuple):
    """What was left of a budget at an instant."""

    remaining: int
    refilled_at: datetime
    """The instant up to which `remaining` has grown. It grows by whole numbers, so this may be a little ago."""

    def refilled(self, limit: int, now: datetime) -> "Budget":
        """Returns the budget as it is `now`, under a limit per `PERIOD`."""
        if now < self.refilled_at:
            # The clock of another process is a little ahead, or the clock was set back, which must not stop the refill.
            is_ahead = self.refilled_at - now < PERIOD
            return Budget(min(self.remaining, limit), self.refilled_at if is_ahead else now)
        gained = (now - self.refilled_at) // _MICROSECOND * limit // _MICROSECONDS
        if self.remaining + gained >= limit:
            return Budget(limit, now)
        return Budget(self.remaining + gained, self.refilled_at + _time_of(gained, limit))

    def available_at(self, cost: int, limit: int) -> datetime:
        """Returns the instant from which `cost` can be taken."""
        return self.refilled_at + _time_of(max(cost - self.remaining, 0), limit)


def _time_of(cost: int, limit: int) -> timedelta:
    """Returns the time in which a budget grows by `cost`, rounded up."""
    return -(-cost * _MICROSECONDS // limit) * _MICROSECOND


class Grant(NamedTuple):
    """What a process has taken from a budget."""

    taken: int
    """0 if less was left than the process needs."""
    budget: Budget
    """What is left."""


def full(limit: int) -> Budget:
    """Returns the budget of a key that has not spent anything lately."""
    return Budget(limit, clock.now())


def granted(budget: Budget, needed: int, requested: int) -> Grant:
    """Returns what can be taken from a budget that was refilled: `requested`, or what is left if that is `needed`."""
    taken = min(budget.remaining, requested) if budget.remaining >= needed else 0
    return Grant(taken, budget._replace(remaining=budget.remaining - taken))


def take(uow: UnitOfWork, key_id: UUID, limit: int, needed: int, requested: int) -> Grant:
    """Takes `requested` from the budget of a key, less if less is left, and nothing if that is less than `needed`."""
    of_key = {"of_key_id": key_id}
    row = uow.conn.execute(_LOCKED, of_key).first()
    if row is None:
        new = {"key_id": key_id, "remaining": limit, "refilled_at": clock.now()}
        _INSERT.execute(uow.conn, new)
        row = uow.conn.execute(_LOCKED, of_key).one()
    grant = granted(Budget(*row).refilled(limit, clock.now()), needed, requested)
    if not grant.taken and grant.budget.refilled_at >= row.refilled_at:
        return grant  # the row says the same
    values = {"new_remaining": grant.budget.remaining, "new_refilled_at": grant.budget.refilled_at}
    uow.conn.execute(_UPDATE, {**of_key, **values})
    return grant


def purge(uow: UnitOfWork) -> int:
    """Deletes the budgets that are full by now, as those of keys without a row are; returns their number."""
    # Twice the period: the clocks of processes differ a little.
    return uow.conn.execute(delete(_table).where(_budget.refilled_at <= clock.now() - 2 * PERIOD)).rowcount
