"""Counting runs against quotas: in their transaction, once, for the period in which they were started."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db import projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import QuotaUse
from db.models.types import table
from db.queue import quota
from db.runs import cancellation
from domain.quota import QuotaPeriod
from tests.support.clock import FakeClock
from tests.support.factory import create_run
from tests.support.slot_harness import SlotHarness


class _OopsError(Exception):
    pass


async def with_quota(database: Database, runs: int, period: QuotaPeriod = QuotaPeriod.DAY) -> SlotHarness:
    harness = await SlotHarness.on(database)
    await database.write(projects.change, harness.published.project_id, {"quota_runs": runs, "quota_period": period})
    return harness


async def used(harness: SlotHarness) -> int:
    key = harness.published.project_id
    return (await harness.database.read(quota.used_by_projects, [key])).get(key, 0)


async def test_one_transaction_creates_as_many_as_the_quota_has_left(database: Database) -> None:
    harness = await with_quota(database, 5)
    await harness.start(3)
    runs = await harness.start(4)
    assert await harness.statuses() == {"QUEUED": 5, "QUOTA_EXCEEDED": 2}
    assert {run for run in runs if (await harness.run(run)).finished_at is not None} == set(runs[2:])
    assert await harness.due() == set(await harness.claimed())
    assert await used(harness) == 5


async def test_rolled_back_run_is_not_counted(database: Database) -> None:
    harness = await with_quota(database, 5)

    def fail(uow: UnitOfWork) -> None:
        create_run(uow, harness.published)
        cancellation.apply_quota(uow)
        raise _OopsError

    with pytest.raises(_OopsError):
        await database.write(fail)
    assert await used(harness) == 0
    await harness.start()
    assert await used(harness) == 1


async def test_each_period_has_a_quota_of_its_own_and_the_last_is_forgotten(
    fake_clock: FakeClock, database: Database
) -> None:
    harness = await with_quota(database, 2, QuotaPeriod.HOUR)
    await harness.start(3)
    assert (await used(harness), (await harness.statuses())["QUOTA_EXCEEDED"]) == (2, 1)
    fake_clock.block(timedelta(hours=1).total_seconds())
    assert await used(harness) == 0
    await harness.start(2)
    assert (await used(harness), (await harness.statuses())["QUOTA_EXCEEDED"]) == (2, 1)
    rows = await database.read(lambda conn: conn.execute(select(func.count()).select_from(table(QuotaUse))).scalar())
    assert rows == 1


async def test_a_raised_quota_holds_at_once(database: Database) -> None:
    harness = await with_quota(database, 1)
    await harness.start(2)
    await database.write(projects.change, harness.published.project_id, {"quota_runs": 3})
    more: list[UUID] = await harness.start(3)
    assert [(await harness.run(run)).status for run in more] == ["QUEUED", "QUEUED", "QUOTA_EXCEEDED"]


async def test_projects_are_counted_apart(database: Database) -> None:
    harness = await with_quota(database, 1)
    await harness.start()

    def other(uow: UnitOfWork) -> UUID:
        return projects.create(uow, "other")

    key = await database.write(other)
    assert await database.read(quota.used_by_projects, [key]) == {}


async def test_take_returns_the_remaining_quota(fake_clock: FakeClock, database: Database) -> None:
    free = await database.write(projects.create, "without a quota")
    assert await database.write(quota.take, free, 1_000) == 1_000
    limited = await with_quota(database, 5, QuotaPeriod.HOUR)
    await limited.start()
    key = limited.published.project_id
    assert [await database.write(quota.take, key, requested) for requested in (3, 4, 4)] == [3, 1, 0]
    assert await used(limited) == 5
    await limited.start()
    assert await limited.statuses() == {"QUEUED": 1, "QUOTA_EXCEEDED": 1}
    fake_clock.block(timedelta(hours=1).total_seconds())
    assert await database.write(quota.take, key, 9) == 5


async def test_sets_taken_at_the_same_time_share_a_quota_exactly(database: Database) -> None:
    harness = await with_quota(database, 50)
    taken = await asyncio.gather(*(database.write(quota.take, harness.published.project_id, 7) for _ in range(10)))
    assert sum(taken) == 50
    assert await used(harness) == 50


async def test_a_set_that_is_rolled_back_was_not_counted(database: Database) -> None:
    harness = await with_quota(database, 5)

    def fail(uow: UnitOfWork) -> None:
        assert quota.take(uow, harness.published.project_id, 9) == 5
        raise _OopsError

    with pytest.raises(_OopsError):
        await database.write(fail)
    assert await used(harness) == 0
