"""A worker reports itself: heartbeats in time, long runs soon, and nothing after its end."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from db.core.database import Database
from db.queue import workers
from db.queue.workers import LOST_AFTER, WorkerIdentity
from db.row_types import WorkerRow
from db.sql.keyset import Page
from domain import ids
from domain.enums import WorkerStatus
from domain.time import clock
from engine.worker.maintenance import LOST_AGE, prune_lost_workers
from engine.worker.presence import HEARTBEAT_SECONDS, Presence
from tests.support.app import statements
from tests.support.clock import FakeClock


async def listed(database: Database, *statuses: WorkerStatus) -> Sequence[WorkerRow]:
    found: Sequence[WorkerRow] = await database.read(
        workers.LISTING.page,
        frozenset({"executing", "run_ids", "draining", "heartbeat_at", "host", "started_at"}),
        statuses or None,
        Page(10),
    )
    return found


def identity() -> WorkerIdentity:
    return WorkerIdentity(ids.new_uuid(), "host.test", 7, "0.0.1", 4, clock.now())


async def test_heartbeats_and_long_runs_are_reported_until_the_end(database: Database, fake_clock: FakeClock) -> None:
    fake_clock.watch(database)
    executing: dict[UUID, datetime] = {}
    presence = Presence(database, identity(), lambda: dict(executing))
    task = asyncio.create_task(presence.run())
    await fake_clock.advance(0)
    (row,) = await listed(database)
    assert (row.host, row.executing, workers.status(row, clock.now())) == ("host.test", 0, WorkerStatus.ACTIVE)

    with statements() as written:
        short = ids.new_uuid()
        executing[short] = clock.now()
        await fake_clock.advance(0.5)
        del executing[short]
        await fake_clock.advance(HEARTBEAT_SECONDS - 1)
    assert not [text for text in written.texts if "worker" in text]

    second, first = ids.new_uuid(), ids.new_uuid()
    executing |= {second: clock.now(), first: clock.now() - timedelta(seconds=1)}
    await fake_clock.advance(2)
    (row,) = await listed(database)
    assert (workers.run_ids(row), row.executing) == ([first, second], 2)

    await fake_clock.advance(60)
    (row,) = await listed(database, WorkerStatus.ACTIVE)
    assert clock.now() - row.heartbeat_at < timedelta(seconds=HEARTBEAT_SECONDS + 1)

    presence.drain()
    await fake_clock.advance(0)
    assert [each.draining for each in await listed(database, WorkerStatus.DRAINING)] == [True]
    assert await listed(database, WorkerStatus.ACTIVE, WorkerStatus.LOST) == []
    presence.stop()
    await fake_clock.drive(task)
    assert await listed(database) == []


async def test_lost_worker_is_listed_as_lost_and_then_pruned(database: Database, fake_clock: FakeClock) -> None:
    lost, alive = identity(), identity()
    await database.write(workers.report, lost, [], draining=True)
    await fake_clock.advance((LOST_AFTER + timedelta(seconds=1)).total_seconds())
    await database.write(workers.report, alive, [], draining=False)
    assert [row.id for row in await listed(database, WorkerStatus.LOST)] == [lost.id]
    assert [row.id for row in await listed(database)] == [alive.id, lost.id]
    assert [row.id for row in await listed(database, WorkerStatus.DRAINING, WorkerStatus.ACTIVE)] == [alive.id]

    await fake_clock.advance(LOST_AGE.total_seconds())
    await database.write(workers.report, alive, [], draining=False)
    await prune_lost_workers(database)
    assert [row.id for row in await listed(database)] == [alive.id]

    # It was only cut off.
    await database.write(workers.report, lost, [], draining=False)
    assert {row.id for row in await listed(database, WorkerStatus.ACTIVE)} == {alive.id, lost.id}
