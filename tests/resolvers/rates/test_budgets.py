"""Budgets: what several processes charge together never exceeds the limit by more than what each of them may hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest

from db.assembly import open_database
from db.core.database import Database
from db.migrate import upgrade
from db.queue import budgets
from domain import ids
from domain.errors import QueryTooComplexError, RateLimitedError
from domain.observation.observer import Limited, Observer
from resolvers.rates.budgets import GRANTS, REFUSED_COST, Budgets, RateLimit
from tests.support.clock import FakeClock
from tests.support.databases.postgres import PostgresServer

LIMIT = 6_000
"""100 a second; a grant is 300."""
KEY = ids.new_uuid()


async def spend(process: Budgets, cost: int = 100, limit: int = LIMIT) -> int:
    """Charges operations until one is refused; returns what they cost together."""
    spent = 0
    while True:
        try:
            await process.charge(KEY, limit, cost)
        except RateLimitedError:
            return spent
        spent += cost


class Counting(Observer):
    """Counts refusals."""

    def __init__(self) -> None:
        self.refused: list[Limited] = []

    def rate_limited(self, limited: Limited) -> None:
        self.refused.append(limited)


async def test_each_refusal_is_reported_once(fake_clock: FakeClock, database: Database) -> None:
    observer = Counting()
    process = Budgets(database, 3, limited=Limited.WEBHOOK, observer=observer)
    for _ in range(5):
        with suppress(RateLimitedError):
            await process.charge(KEY, None, 1)
    assert observer.refused == [Limited.WEBHOOK] * 2


async def refusal(process: Budgets, cost: int) -> int:
    """Returns the seconds after which a refused operation can be sent again."""
    with pytest.raises(RateLimitedError) as raised:
        await process.charge(KEY, LIMIT, cost)
    return raised.value.retry_after


async def test_processes_share_a_budget_and_write_rarely(
    fake_clock: FakeClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Budgets(database), Budgets(database)
    writes = 0
    write = database.write

    async def counted(*args: object) -> object:
        nonlocal writes
        writes += 1
        return await write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "write", counted)
    assert await first.charge(KEY, LIMIT, 100) == RateLimit(LIMIT, LIMIT - 100)
    assert writes == 1
    # The other process gets all but what the first one holds.
    assert await spend(second) == LIMIT - LIMIT // GRANTS
    assert await spend(first) == LIMIT // GRANTS - 100
    assert writes <= GRANTS + 2
    # Who is refused costs no write, until there may be enough.
    before = writes
    for process in (first, second):
        assert await refusal(process, 250) == 3
        assert await refusal(process, LIMIT) == 60
    await fake_clock.advance(2.9)
    assert await refusal(first, 300) == 1
    assert writes == before
    await fake_clock.advance(0.1)
    assert await first.charge(KEY, LIMIT, 300) == RateLimit(LIMIT, 0)
    assert await refusal(second, 100) == 1
    # An idle minute fills the budget, and no more.
    await fake_clock.advance(3_600)
    assert await spend(first) + await spend(second) == LIMIT
    # Rows of full budgets are of no use.
    await fake_clock.advance(2 * budgets.PERIOD.total_seconds())
    assert await database.write(budgets.purge) == 1
    assert await spend(second) == LIMIT


async def test_operations_at_the_same_time_are_charged_once_each(fake_clock: FakeClock, database: Database) -> None:
    process = Budgets(database)
    done = await asyncio.gather(*(process.charge(KEY, LIMIT, 250) for _ in range(40)), return_exceptions=True)
    charged = [each for each in done if isinstance(each, RateLimit)]
    assert len(charged) == LIMIT // 250
    assert min(each.remaining for each in charged) == 0


async def test_limit_changes_at_once_and_none_is_free(fake_clock: FakeClock, database: Database) -> None:
    process = Budgets(database, default_limit=LIMIT)
    assert await process.charge(KEY, None, LIMIT) == RateLimit(LIMIT, 0)
    with pytest.raises(QueryTooComplexError, match="6,001"):
        await process.charge(KEY, None, LIMIT + 1)
    assert await Budgets(database).charge(KEY, None, 10**9) is None
    # A higher limit fills the budget faster, a lower one takes away what is above it.
    await fake_clock.advance(1)
    assert await spend(process, 100, 10 * LIMIT) == 1_000
    await fake_clock.advance(60)
    assert await spend(process, 10, 100) == 100


async def test_clocks_that_differ_neither_stop_nor_double_the_refill(fake_clock: FakeClock, database: Database) -> None:
    assert await spend(Budgets(database)) == LIMIT
    fake_clock.jump(-10)  # a process whose clock is a little behind
    assert await refusal(Budgets(database), 100) == 11
    fake_clock.jump(10)
    await fake_clock.advance(10)
    assert await spend(Budgets(database)) == 1_000
    # The clock is set back by an hour: the budget grows from there, without the hour.
    fake_clock.jump(-3_600)
    process = Budgets(database)
    assert await spend(process) == 0
    await fake_clock.advance(2)
    assert await spend(process) == 200
    assert await refusal(Budgets(database), 100) == 1


async def test_refused_requests_of_one_process_count_in_the_others(fake_clock: FakeClock, database: Database) -> None:
    first, second = Budgets(database), Budgets(database)
    requests = 0
    for number in range(10_000):
        process = (first, second)[number % 2]
        try:
            await process.admit(KEY, LIMIT)
        except RateLimitedError:
            break
        process.charge_refused(KEY, LIMIT)
        requests += 1
    # Each process may have admitted one more than there was left for.
    assert LIMIT // REFUSED_COST - 2 * GRANTS <= requests <= LIMIT // REFUSED_COST + 2
    with pytest.raises(RateLimitedError) as raised:
        await process.admit(KEY, LIMIT)
    await fake_clock.advance(raised.value.retry_after)
    await process.admit(KEY, LIMIT)


@pytest.fixture
async def own_database(own_postgres: PostgresServer) -> AsyncIterator[Database]:
    await asyncio.to_thread(upgrade, own_postgres.url())
    database = open_database(own_postgres.url())
    yield database
    await database.close()


async def test_without_a_database_each_process_enforces_the_limit_alone(
    fake_clock: FakeClock, own_database: Database, own_postgres: PostgresServer
) -> None:
    known, unknown = Budgets(own_database), Budgets(own_database)
    await known.charge(KEY, LIMIT, 5_000)
    await asyncio.to_thread(own_postgres.stop)
    assert await spend(known, 500) == 1_000
    assert await spend(unknown, 500) == LIMIT
    assert await refusal(known, 500) == 5
    await fake_clock.advance(5)
    assert await spend(known, 500) == 500
    await asyncio.to_thread(own_postgres.start)
    await fake_clock.advance(timedelta(minutes=1).total_seconds())
    assert await spend(known, 500) == LIMIT
