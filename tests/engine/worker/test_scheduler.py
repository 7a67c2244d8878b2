"""The scheduler: starts runs on time, once, and by the policy for missed fire times."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from db import flows, projects, schedules
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.row_types import ScheduleRow
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import Environment, MissedFires, RunStatus, SkipReason
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.quota import QuotaPeriod
from domain.time import clock
from domain.time.cron import CronSchedule, get_zone
from engine.compiled_flow import FlowCache, check
from engine.worker.scheduler import INTERVAL_SECONDS, MAX_CATCH_UP, Scheduler
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
_RUNS = table(FlowRun)


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    """A clock that stands still unless the test moves it."""
    fake_clock.watch(database)
    return fake_clock


@pytest.fixture
async def published(still: FakeClock, database: Database) -> PublishedFlow:
    """A project with a published flow."""
    return await database.write(factory.make_project_with_flow)


@pytest.fixture
def scheduler(database: Database, still: FakeClock) -> Scheduler:
    return Scheduler(database, FlowCache(database))


@pytest.fixture
async def running(still: FakeClock, scheduler: Scheduler) -> AsyncIterator[Scheduler]:
    """A running scheduler."""
    task = asyncio.create_task(scheduler.run())
    await still.settle()
    yield scheduler
    scheduler.stop()
    await still.drive(task)


def add(uow: UnitOfWork, /, published: PublishedFlow, cron: str = "0 * * * *", **values: Any) -> UUID:
    """Insert a schedule created now; returns its ID."""
    schedule_id = ids.new_uuid()
    now = clock.now()
    zone = values.get("time_zone", "UTC")
    row = {
        "id": schedule_id,
        "project_id": published.project_id,
        "flow_id": published.flow_id,
        "name": None,
        "enabled": True,
        "cron": cron,
        "time_zone": zone,
        "missed_fires": MissedFires.SKIP,
        "environment": Environment.PRODUCTION,
        "tags": [],
        "metadata": "{}",
        "input": "{}",
        "next_fire_at": CronSchedule(cron, get_zone(zone)).after(now),
        "created_at": now,
        "updated_at": now,
        **values,
    }
    schedules.create(uow, row)
    return schedule_id


async def runs_of(database: Database) -> list[AnyRow]:
    return await database.read(lambda conn: list(conn.execute(select(_RUNS).order_by(_RUNS.c.id))))


async def fires(database: Database) -> list[datetime]:
    """Returns the fire times of all runs, in the order of creation."""
    return [row.scheduled_for for row in await runs_of(database)]


async def row_of(database: Database, schedule_id: UUID) -> ScheduleRow:
    columns = {"next_fire_at", "last_fired_at", "last_skipped_at", "last_skipped_reason"}
    return (await database.read(schedules.by_ids, [schedule_id], columns))[schedule_id]


async def test_run_has_the_values_of_the_schedule(
    database: Database, published: PublishedFlow, still: FakeClock, running: Scheduler
) -> None:
    values = {"tags": ["nightly"], "metadata": '{"a": 1}', "input": '{"n": 2}', "environment": Environment.TESTING}
    schedule_id = await database.write(add, published, "1 0 * * *", **values)
    await still.advance(61)
    (run,) = await runs_of(database)
    assert (run.status, run.trigger_method) == (RunStatus.QUEUED, "SCHEDULE")
    assert (run.flow_id, run.flow_version_id) == (published.flow_id, published.version_id)
    assert (run.tags, run.input, run.environment) == (["nightly"], '{"n": 2}', "TESTING")
    assert run.metadata.replace(" ", "") == '{"a":1}'
    assert run.source == ids.encode(IdKind.SCHEDULE, schedule_id)
    assert run.scheduled_for == run.created_at == START + MINUTE
    row = await row_of(database, schedule_id)
    assert row.last_fired_at == run.scheduled_for
    assert row.next_fire_at == run.scheduled_for + timedelta(days=1)
    assert row.last_skipped_at is None


async def test_schedule_fires_at_each_of_its_times(
    database: Database, published: PublishedFlow, still: FakeClock, running: Scheduler
) -> None:
    await database.write(add, published, "* * * * *")
    await still.advance(200)
    runs = await runs_of(database)
    assert [run.scheduled_for for run in runs] == [START + number * MINUTE for number in (1, 2, 3)]
    assert all(run.created_at == run.scheduled_for for run in runs)


async def test_repeated_local_time_fires_once(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    await still.advance((datetime(2026, 10, 24, 12, tzinfo=UTC) - START).total_seconds())
    await database.write(add, published, "30 2 * * *", time_zone="Europe/Berlin")
    for _ in range(2 * 24 * 2):
        await still.advance(1_800)
        await scheduler.fire_due()
    assert await fires(database) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


async def test_schedule_made_by_another_process_is_noticed(
    database: Database, database_url: str, published: PublishedFlow, still: FakeClock, running: Scheduler
) -> None:
    other = open_database(database_url)
    await still.advance(58)
    await other.write(add, published, "* * * * *")
    await other.close()
    await still.advance(2 + INTERVAL_SECONDS)
    (run,) = await runs_of(database)
    assert run.created_at - run.scheduled_for <= timedelta(seconds=INTERVAL_SECONDS)


async def test_idle_scheduler_polls_at_its_interval(
    database: Database, published: PublishedFlow, still: FakeClock, running: Scheduler
) -> None:
    await database.write(add, published, "@yearly")
    await still.settle()
    assert still.seconds_to_next() == INTERVAL_SECONDS


@pytest.mark.parametrize(
    ("policy", "started", "skipped"),
    [
        (MissedFires.SKIP, [], 5),
        (MissedFires.FIRE_ONCE, [5], None),
        (MissedFires.FIRE_ALL, [1, 2, 3, 4, 5], None),
    ],
)
async def test_missed_fires_follow_the_policy(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    policy: MissedFires,
    started: list[int],
    skipped: int | None,
) -> None:
    schedule_id = await database.write(add, published, missed_fires=policy)
    await still.advance(5.5 * 3600)
    await scheduler.fire_due()
    assert await fires(database) == [START + number * HOUR for number in started]
    row = await row_of(database, schedule_id)
    assert row.next_fire_at == START + 6 * HOUR
    assert row.last_skipped_at == (START + skipped * HOUR if skipped else None)
    assert row.last_skipped_reason == (SkipReason.MISSED if skipped else None)
    await scheduler.fire_due()
    assert len(await fires(database)) == len(started)


@pytest.mark.parametrize(
    ("policy", "started"),
    [(MissedFires.SKIP, [3]), (MissedFires.FIRE_ONCE, [3]), (MissedFires.FIRE_ALL, [1, 2, 3])],
)
async def test_current_fire_time_starts_a_run_whatever_was_missed(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    policy: MissedFires,
    started: list[int],
) -> None:
    await database.write(add, published, missed_fires=policy)
    await still.advance(3 * 3600 + 60)
    await scheduler.fire_due()
    assert await fires(database) == [START + number * HOUR for number in started]


async def test_slightly_late_fire_is_not_missed(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    await database.write(add, published, "* * * * *")
    await still.advance(120.5)
    await scheduler.fire_due()
    assert await fires(database) == [START + 2 * MINUTE]
    await still.advance(59.5)
    await scheduler.fire_due()
    assert (await fires(database))[1:] == [START + 3 * MINUTE]


async def test_catch_up_is_bounded_to_the_latest_fire_times(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    schedule_id = await database.write(add, published, "* * * * *", missed_fires=MissedFires.FIRE_ALL)
    await still.advance(400 * 24 * 3600)
    await scheduler.fire_due()
    now = clock.now()
    assert await fires(database) == [now - number * MINUTE for number in reversed(range(MAX_CATCH_UP))]
    row = await row_of(database, schedule_id)
    assert row.last_skipped_reason == SkipReason.MISSED
    assert row.next_fire_at == now + MINUTE


async def test_clock_set_back_fires_nothing_twice(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    await database.write(add, published)
    await still.advance(3_600)
    await scheduler.fire_due()
    with_clock_set_back = FakeClock(START + 0.5 * HOUR)
    previous = clock.set_clock(with_clock_set_back)
    try:
        for _ in range(3):
            await scheduler.fire_due()
            await with_clock_set_back.advance(1_800)
    finally:
        clock.set_clock(previous)
    assert await fires(database) == [START + HOUR]
    await still.advance(3_600)
    await scheduler.fire_due()
    assert await fires(database) == [START + HOUR, START + 2 * HOUR]


async def test_clock_set_forward_is_like_a_time_without_workers(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    await database.write(add, published, missed_fires=MissedFires.FIRE_ONCE)
    await still.advance(1_000 * 3600)
    await scheduler.fire_due()
    assert await fires(database) == [START + 1_000 * HOUR]


def disable_flow(uow: UnitOfWork, published: PublishedFlow) -> None:
    flows.change(uow, published.flow_id, {"enabled": False})


def unpublish_flow(uow: UnitOfWork, published: PublishedFlow) -> None:
    flows.change(uow, published.flow_id, {"published_version_id": None})


def demand_more(uow: UnitOfWork, published: PublishedFlow) -> None:
    step = {"name": "a", "kind": "transform", "input": 1}
    checked = check({"inputSchema": {"type": "object", "required": ["n"]}, "steps": [step]})
    flows.publish(uow, published.flow_id, published.project_id, checked.text, checked.step_count)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (disable_flow, SkipReason.FLOW_DISABLED),
        (unpublish_flow, SkipReason.FLOW_NOT_PUBLISHED),
        (demand_more, SkipReason.INPUT_INVALID),
    ],
)
async def test_flow_that_cannot_be_started_skips_the_fire(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    spoil: Callable[[UnitOfWork, PublishedFlow], None],
    reason: SkipReason,
) -> None:
    schedule_id = await database.write(add, published, missed_fires=MissedFires.FIRE_ALL)
    await database.write(spoil, published)
    await still.advance(3_600)
    await scheduler.fire_due()
    row = await row_of(database, schedule_id)
    assert (row.last_skipped_at, row.last_skipped_reason) == (START + HOUR, reason)
    assert row.next_fire_at == START + 2 * HOUR
    assert row.last_fired_at is None
    # A skipped fire time is not caught up, and the next one fires as usual.
    await database.write(
        flows.change, published.flow_id, {"enabled": True, "published_version_id": published.version_id}
    )
    await still.advance(3_600)
    await scheduler.fire_due()
    assert await fires(database) == [START + 2 * HOUR]


async def test_unknown_time_zone_stops_only_its_schedule(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    lost = await database.write(add, published)
    await database.write(schedules.change, lost, {"time_zone": "Mars/Olympus"})
    await database.write(add, published)
    await still.advance(3_600)
    await scheduler.fire_due()
    row = await row_of(database, lost)
    assert (row.next_fire_at, row.last_skipped_reason) == (None, SkipReason.SCHEDULE_INVALID)
    assert await fires(database) == [START + HOUR]


async def test_unreadable_flow_skips_only_its_fire(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    broken = await database.write(factory.make_project_with_flow, "broken")
    await database.write(flows.publish, broken.flow_id, broken.project_id, "no definition", 1)
    spoilt = await database.write(add, broken)
    await database.write(add, published)
    await still.advance(3_600)
    await scheduler.fire_due()
    assert (await row_of(database, spoilt)).last_skipped_reason == SkipReason.INTERNAL_ERROR
    assert await fires(database) == [START + HOUR]


async def test_schedule_changed_during_the_fire_is_read_again(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule_id = await database.write(add, published)
    await still.advance(3_600)
    refusal = scheduler._run_input

    async def change_schedule(seen: AnyRow) -> tuple[str, SkipReason | None]:
        monkeypatch.setattr(scheduler, "_run_input", refusal)
        changes = {"input": '"new"', "updated_at": clock.now()}
        await database.write(schedules.change, schedule_id, changes)
        return "{}", None

    monkeypatch.setattr(scheduler, "_run_input", change_schedule)
    await scheduler.fire_due()
    assert await runs_of(database) == []
    await scheduler.fire_due()
    assert [run.input for run in await runs_of(database)] == ['"new"']


async def test_schedule_deleted_during_the_fire_starts_nothing(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule_id = await database.write(add, published)
    await still.advance(3_600)

    async def delete_schedule(seen: AnyRow) -> tuple[str, SkipReason | None]:
        assert await database.write(schedules.remove, schedule_id)
        return "{}", None

    monkeypatch.setattr(scheduler, "_run_input", delete_schedule)
    await scheduler.fire_due()
    assert await runs_of(database) == []


async def test_fire_whose_run_cannot_be_written_is_not_lost(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    # One transaction: if the run is not written, the schedule is not advanced.
    schedule_id = await database.write(add, published)
    await still.advance(3_600)
    write = database.write

    async def cut_off(work: Any, *args: Any) -> Any:
        def dying(uow: UnitOfWork) -> None:
            work(uow, *args)
            raise DatabaseUnavailableError

        return await write(dying)

    database.write = cut_off  # type: ignore[method-assign, assignment]
    with pytest.raises(DatabaseUnavailableError):
        await scheduler.fire_due()
    database.write = write  # type: ignore[method-assign]
    assert (await row_of(database, schedule_id)).next_fire_at == START + HOUR
    await scheduler.fire_due()
    assert await fires(database) == [START + HOUR]


async def test_scheduler_continues_when_the_database_is_back(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await database.write(add, published, "* * * * *")
    read = database.read

    async def away(*_: Any) -> None:
        raise DatabaseUnavailableError

    monkeypatch.setattr(database, "read", away)
    task = asyncio.create_task(scheduler.run())
    await still.advance(61)
    monkeypatch.setattr(database, "read", read)
    await still.advance(INTERVAL_SECONDS)
    assert await fires(database) == [START + MINUTE]
    scheduler.stop()
    await still.drive(task)


SCHEDULES, SCHEDULERS, HOURS = 30, 3, 3


async def test_many_workers_start_each_run_once(
    database: Database, database_url: str, published: PublishedFlow, still: FakeClock
) -> None:
    def add_many(uow: UnitOfWork) -> None:
        for _ in range(SCHEDULES):
            add(uow, published, missed_fires=MissedFires.FIRE_ALL)

    await database.write(add_many)
    async with AsyncExitStack() as closing:
        workers = []
        for _ in range(SCHEDULERS):
            own = open_database(database_url)
            closing.push_async_callback(own.close)
            workers.append(Scheduler(own, FlowCache(own)))
        for _ in range(HOURS):
            await still.advance(3_600)
            # Concurrently, on PostgreSQL on separate connections: only the database can decide who starts a run.
            await asyncio.gather(*(worker.fire_due() for worker in workers))
    fired = [(row.source, row.scheduled_for) for row in await runs_of(database)]
    assert len(fired) == len(set(fired)) == SCHEDULES * HOURS


async def test_run_that_exceeds_the_quota_is_logged_and_the_schedule_continues(
    database: Database, published: PublishedFlow, still: FakeClock, running: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    await database.write(projects.change, published.project_id, {"quota_runs": 1, "quota_period": QuotaPeriod.HOUR})
    schedule_id = await database.write(add, published, "*/20 * * * *")
    running.interval = 600.0  # Otherwise more than an hour would take eight hundred polls.
    await still.advance(4_000)
    runs = await runs_of(database)
    # After 20 and 40 minutes, and at the full hour, when the next period of the quota begins.
    assert [run.status for run in runs] == ["QUEUED", "QUOTA_EXCEEDED", "QUEUED"]
    (record,) = caplog.records
    assert record.message == "scheduled run exceeds the quota"
    fields = {"run_id": ids.encode(IdKind.RUN, runs[1].id), "schedule_id": ids.encode(IdKind.SCHEDULE, schedule_id)}
    assert vars(record).items() >= fields.items()
    row = await row_of(database, schedule_id)
    assert (row.last_fired_at, row.last_skipped_at) == (START + HOUR, None)
