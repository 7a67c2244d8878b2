"""Tests of pruning the event log: old events go in batches, the history of runs is kept, old cursors expire."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import EVERYTHING, AttemptRef, LogPosition, RunRef
from db.models import RunEvent
from db.models.types import table
from domain.enums import RunStatus
from domain.errors import CursorExpiredError
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine.file_store import FileStore
from engine.worker import maintenance
from engine.worker.maintenance import maintenance_jobs, prune_events
from live.events import CaughtUp
from live.hub import Hub
from live.topics import RunsTopic
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow

DAYS = 30
START: LogPosition = 0
_EVENTS = table(RunEvent)


def write(uow: UnitOfWork, published: PublishedFlow, run_id: UUID) -> None:
    """Appends a status change of the run, a step event and log lines."""
    run = RunRef(run_id, published.project_id, published.flow_id)
    now = clock.now()
    event_log.append(uow, [event_log.step_row(run, AttemptRef(0, "a", 1), "PENDING", "RUNNING", now)])
    factory.make_events(uow, published, run_id, [RunStatus.QUEUED])
    event_log.append(uow, [event_log.lines_row(run, 1, 3, now)])


@pytest.fixture
async def run_id(database: Database, published: PublishedFlow) -> UUID:
    return await database.write(factory.make_run, published)


async def kinds(database: Database) -> list[str]:
    return await database.read(lambda c: list(c.execute(select(_EVENTS.c.kind).order_by(_EVENTS.c.seq)).scalars()))


async def log_positions(database: Database) -> list[LogPosition]:
    query = select(_EVENTS.c.seq).order_by(_EVENTS.c.seq)
    return list(await database.read(lambda c: c.execute(query).scalars().all()))


async def read_from(database: Database, position: LogPosition) -> Any:
    end = (await database.read(event_log.end)).until
    return (await database.read(event_log.page, position, end, EVERYTHING, 1_000)).rows


async def test_prune_deletes_old_events_except_run_status_changes(
    database: Database, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock
) -> None:
    await database.write(write, published, run_id)
    old = await log_positions(database)
    fake_clock.jump(DAYS * 86_400 + 1)
    await database.write(write, published, run_id)
    await prune_events(database, DAYS)
    assert await kinds(database) == ["RUN_STATUS", "STEP_STATUS", "RUN_STATUS", "LOG_LINES"]
    assert len((await database.read(event_log.status_changes_by_runs, [run_id]))[run_id]) == 2
    for position in [START, *old[:-1]]:
        with pytest.raises(CursorExpiredError):
            await read_from(database, position)
    assert [row.kind for row in await read_from(database, old[-1])] == ["STEP_STATUS", "RUN_STATUS", "LOG_LINES"]


async def test_prune_keeps_events_within_retention(
    database: Database, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock
) -> None:
    await database.write(write, published, run_id)
    fake_clock.jump(DAYS * 86_400)
    await prune_events(database, DAYS)
    await prune_events(database, None)
    assert len(await read_from(database, START)) == 3


async def test_prune_in_batches_deletes_same_events(
    database: Database, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "EVENT_BATCH", 2)
    for _ in range(5):
        await database.write(write, published, run_id)
    old = await log_positions(database)
    fake_clock.jump(DAYS * 86_400 + 1)
    await fake_clock.drive(prune_events(database, DAYS))
    assert await kinds(database) == ["RUN_STATUS"] * 5
    assert not await read_from(database, old[-1])
    with pytest.raises(CursorExpiredError):
        await read_from(database, old[-2])


async def test_second_prune_deletes_nothing(
    database: Database, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock
) -> None:
    await database.write(write, published, run_id)
    fake_clock.jump(DAYS * 86_400 + 1)
    before = clock.now() - timedelta(days=DAYS)
    assert await database.write(event_log.purge, before, 100) == 3
    assert await database.write(event_log.purge, before, 100) == 0


async def test_old_cursor_is_expired_after_restart(
    database: Database, database_url: str, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock
) -> None:
    await database.write(write, published, run_id)
    last = (await log_positions(database))[-1]
    fake_clock.jump(DAYS * 86_400 + 1)
    await prune_events(database, DAYS)
    again = open_database(database_url)
    hub = Hub(again)
    selector = RunsTopic(RunFilter(project_ids=[published.project_id]))
    expired = hub.subscribe(selector, START)
    with pytest.raises(CursorExpiredError):
        await anext(expired)
    await expired.aclose()
    feed = hub.subscribe(selector, last)
    assert isinstance(await anext(feed), CaughtUp)
    await feed.aclose()
    await hub.close()
    await again.close()


async def test_worker_prunes_events(
    database: Database, published: PublishedFlow, run_id: UUID, fake_clock: FakeClock, tmp_path: Any
) -> None:
    await database.write(write, published, run_id)
    fake_clock.jump(DAYS * 86_400 + 1)
    (job,) = [
        each for each in maintenance_jobs(database, FileStore(str(tmp_path)), None, DAYS) if "events" in each.name
    ]
    await job.work()
    count = await database.read(lambda c: c.execute(select(func.count()).select_from(_EVENTS)).scalar_one())
    assert count == 1
