"""What a schedule does at a fire time while an earlier run of it is live."""

from datetime import timedelta
from uuid import UUID

import pytest

from db.core.database import Database
from db.runs import cancellation
from domain import ids
from domain.enums import MissedFires, RunStatus, ScheduleOverlap, SkipReason
from domain.ids import IdKind
from engine.compiled_flow import FlowCache
from engine.worker.scheduler import Scheduler
from tests.engine.worker.test_scheduler import add, fires, row_of, runs_of
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow

HOUR = timedelta(hours=1)


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    """A clock that stands still unless the test moves it."""
    fake_clock.watch(database)
    return fake_clock


@pytest.fixture
async def published(still: FakeClock, database: Database) -> PublishedFlow:
    return await database.write(factory.make_project_with_flow)


@pytest.fixture
def scheduler(database: Database, still: FakeClock) -> Scheduler:
    return Scheduler(database, FlowCache(database))


async def make_run(database: Database, published: PublishedFlow, schedule_id: UUID, status: RunStatus) -> UUID:
    source = ids.encode(IdKind.SCHEDULE, schedule_id)
    return await database.write(factory.make_run, published, status=status, source=source)


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED])
@pytest.mark.parametrize("overlap", ScheduleOverlap)
async def test_live_run_at_a_fire_time(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    overlap: ScheduleOverlap,
    status: RunStatus,
) -> None:
    schedule_id = await database.write(add, published, overlap=overlap)
    previous = await make_run(database, published, schedule_id, status)
    # Runs of others, and runs that have ended, are no reason to wait.
    other = await database.write(factory.make_run, published, status=RunStatus.RUNNING, source="elsewhere")
    await make_run(database, published, schedule_id, RunStatus.FAILED)
    await still.advance(3_600)
    await scheduler.fire_due()
    runs = {row.id: row.status for row in await runs_of(database)}
    started = [row.scheduled_for for row in await runs_of(database) if row.scheduled_for]
    row = await row_of(database, schedule_id)
    assert row.next_fire_at == START + 2 * HOUR
    assert runs[other] == RunStatus.RUNNING
    if overlap is ScheduleOverlap.SKIP:
        assert (started, runs[previous]) == ([], status)
        assert (row.last_skipped_at, row.last_skipped_reason) == (START + HOUR, SkipReason.OVERLAP)
        assert row.last_fired_at is None
        await database.write(cancellation.stop, previous, "Cancelled")
        await still.advance(3_600)
        await scheduler.fire_due()
        assert (await fires(database))[-1] == START + 2 * HOUR
    else:
        expected = RunStatus.STOPPED if overlap is ScheduleOverlap.CANCEL_PREVIOUS else status
        assert (started, runs[previous]) == ([START + HOUR], expected)
        assert (row.last_skipped_at, row.last_fired_at) == (None, START + HOUR)


@pytest.mark.parametrize(
    ("overlap", "started"),
    [(ScheduleOverlap.QUEUE, [1, 2, 3]), (ScheduleOverlap.SKIP, [1]), (ScheduleOverlap.CANCEL_PREVIOUS, [3])],
)
async def test_missed_fires_overlap_with_each_other(
    database: Database,
    published: PublishedFlow,
    still: FakeClock,
    scheduler: Scheduler,
    overlap: ScheduleOverlap,
    started: list[int],
) -> None:
    await database.write(add, published, overlap=overlap, missed_fires=MissedFires.FIRE_ALL)
    await still.advance(3.5 * 3_600)
    await scheduler.fire_due()
    assert await fires(database) == [START + number * HOUR for number in started]


async def test_descendants_are_cancelled_with_the_previous_run(
    database: Database, published: PublishedFlow, still: FakeClock, scheduler: Scheduler
) -> None:
    schedule_id = await database.write(add, published, overlap=ScheduleOverlap.CANCEL_PREVIOUS)
    previous = await make_run(database, published, schedule_id, RunStatus.PAUSED)
    child = await database.write(
        factory.make_run, published, status=RunStatus.RUNNING, parent_run_id=previous, root_run_id=previous, depth=1
    )
    await still.advance(3_600)
    await scheduler.fire_due()
    statuses = {row.id: row.status for row in await runs_of(database)}
    assert statuses[previous] == statuses[child] == RunStatus.STOPPED
    assert list(statuses.values()).count(RunStatus.QUEUED) == 1
