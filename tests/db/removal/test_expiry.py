"""Retention of runs by status, and the archiving of old successes: what goes, when, and what stays."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, select, update

from db.core.database import Database
from db.events import log as event_log
from db.models import AuditEvent, FlowRun, Project, RunEvent
from db.models.types import table
from db.removal import expiry
from db.rollups import check
from domain.enums import RunStatus
from domain.time import clock
from engine.worker import maintenance
from engine.worker.maintenance import archive_old_runs, delete_expired_runs
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow

_run = table(FlowRun).c
_event = table(RunEvent).c
DAY = timedelta(days=1)
RETENTION = {RunStatus.SUCCEEDED: 30, RunStatus.FAILED: 90}


@pytest.fixture
async def published(database: Database, fake_clock: FakeClock) -> PublishedFlow:
    fake_clock.watch(database)
    return await database.write(factory.make_project_with_flow)


async def add(
    database: Database, published: PublishedFlow, status: RunStatus, days: float, /, count: int = 1, **values: Any
) -> list[UUID]:
    """Adds runs that were created a day before they ended, so many days ago."""
    ended = clock.now() - days * DAY
    rows = [
        {"id": factory.uuid_at(ended - DAY, number), "status": status, "finished_at": ended} | values
        for number in range(count)
    ]
    return await database.write(factory.make_runs, published, rows)


async def set_project(database: Database, published: PublishedFlow, **values: Any) -> None:
    change = update(table(Project)).where(table(Project).c.id == published.project_id).values(**values)
    await database.write(lambda uow: uow.conn.execute(change))


def remaining(conn: Connection) -> set[UUID]:
    return set(conn.execute(select(_run.id)).scalars())


def shown(conn: Connection) -> set[UUID]:
    return set(conn.execute(select(_run.id).where(_run.archived_at.is_(None))).scalars())


def audited(conn: Connection) -> list[tuple[str, Any]]:
    event = table(AuditEvent).c
    rows = conn.execute(select(event.action, event.details, event.actor).order_by(event.id)).all()
    assert all(orjson.loads(row.actor)["kind"] == "SYSTEM" for row in rows)
    return [(row.action, orjson.loads(row.details)) for row in rows]


async def test_runs_go_by_status_with_their_families_and_never_before_them(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    await set_project(database, published, run_retention=expiry.encode(RETENTION))
    (old,) = await add(database, published, RunStatus.SUCCEEDED, 31)
    (archived,) = await add(database, published, RunStatus.SUCCEEDED, 40, archived_at=clock.now())
    below: dict[str, Any] = {"root_run_id": old, "parent_run_id": old, "depth": 1}
    (child,) = await add(database, published, RunStatus.FAILED, 32, **below)
    gone = {old, archived, child}
    kept = {
        *await add(database, published, RunStatus.SUCCEEDED, 29.9),
        *await add(database, published, RunStatus.FAILED, 33),
        *await add(database, published, RunStatus.STOPPED, 1_000),
    }
    # What waits: a family with a live run; a child of a family that is kept; a retry of a run that is kept.
    (top,) = await add(database, published, RunStatus.SUCCEEDED, 50)
    live: dict[str, Any] = {"root_run_id": top, "parent_run_id": top, "depth": 1, "finished_at": None}
    kept |= {top, *await add(database, published, RunStatus.PAUSED, 51, **live)}
    (failed,) = await add(database, published, RunStatus.FAILED, 60)
    below = {"root_run_id": failed, "parent_run_id": failed, "depth": 1}
    retry: dict[str, Any] = {"retry_of_id": failed, "attempt": 2}
    kept |= {failed, *await add(database, published, RunStatus.SUCCEEDED, 61, **below)}
    kept |= set(await add(database, published, RunStatus.SUCCEEDED, 59, **retry))
    # A chain whose runs are all old enough goes from its first run on.
    (first,) = await add(database, published, RunStatus.FAILED, 100)
    (second,) = await add(database, published, RunStatus.SUCCEEDED, 99, retry_of_id=first, attempt=2)
    await fake_clock.drive(maintenance.keep_counts(database))

    counted = await database.read(expiry.count_expired, published.project_id, RETENTION)
    assert counted == {RunStatus.SUCCEEDED: 3, RunStatus.FAILED: 1}  # with the one whose family is live
    assert await fake_clock.drive(delete_expired_runs(database)) == 4
    assert await database.read(remaining) == {*kept, second}
    assert await fake_clock.drive(delete_expired_runs(database)) == 1
    assert await database.read(remaining) == kept
    assert await fake_clock.drive(delete_expired_runs(database)) == 0

    events = await database.read(audited)
    assert {action for action, _ in events} == {"DELETE_RUNS"}
    assert events[0][1] == {
        "runRetention": {"status": "SUCCEEDED", "days": 30},
        "runs": {"FAILED": 1, "SUCCEEDED": 2},
    }
    assert sum((Counter(details["runs"]) for _, details in events), Counter()) == {"SUCCEEDED": 3, "FAILED": 2}
    appended = select(_event.run_id).where(_event.kind == event_log.RUN_DELETED)
    assert Counter(await database.read(lambda conn: conn.execute(appended).scalars().all())) == Counter(
        [*gone, first, second]
    )
    await fake_clock.drive(maintenance.keep_counts(database))
    assert await database.read(check.differences) == []


async def test_a_new_retention_holds_from_the_next_chunk_on(database: Database, published: PublishedFlow) -> None:
    runs = sorted(await add(database, published, RunStatus.FAILED, 100, count=4))
    await set_project(database, published, run_retention='{"FAILED": 90}')
    arguments = (published.project_id, RunStatus.FAILED)
    swept = await database.write(expiry.delete_expired, *arguments, UUID(int=0), 2)
    assert swept is not None
    assert (swept.through, swept.total) == (runs[1], 2)
    await set_project(database, published, run_retention='{"FAILED": 365}')
    assert await database.write(expiry.delete_expired, *arguments, swept.through, 2) is None
    assert await database.read(remaining) == set(runs[2:])


async def test_old_successes_are_archived_once(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    old = await add(database, published, RunStatus.SUCCEEDED, 31, count=5)
    below: dict[str, Any] = {"root_run_id": old[0], "parent_run_id": old[0], "depth": 1}
    old += await add(database, published, RunStatus.FAILED, 32, **below)
    young = await add(database, published, RunStatus.SUCCEEDED, 29)
    kept = {*young, *await add(database, published, RunStatus.FAILED, 100)}
    assert await database.read(expiry.count_old, published.project_id, 30) == 5
    assert await fake_clock.drive(archive_old_runs(database)) == 0
    await set_project(database, published, archive_after_days=30)
    # Those that ended at one instant are taken together, however many fit into a chunk.
    assert await database.write(expiry.archive_old, published.project_id, 2) == (5, False)
    assert await fake_clock.drive(archive_old_runs(database)) == 0
    assert await database.read(shown) == kept
    assert await database.read(audited) == [("ARCHIVE_RUNS", {"archiveSucceededAfterDays": 30, "runs": 6})]
    # A run that is taken out of the archive stays outside; the others follow as they grow old.
    unarchive = update(table(FlowRun)).where(_run.id == old[1]).values(archived_at=None)
    await database.write(lambda uow: uow.conn.execute(unarchive))
    fake_clock.block(2 * DAY.total_seconds())
    assert await fake_clock.drive(archive_old_runs(database)) == 1
    assert await database.read(shown) == (kept - set(young)) | {old[1]}
    await fake_clock.drive(maintenance.keep_counts(database))
    assert await database.read(check.differences) == []
