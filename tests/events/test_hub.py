"""Following the log: what was missed, in order and once, then what happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from db import events
from db.events import EVERYTHING, Place
from db.models import RunEvent
from db.models.types import table
from db.session import Database
from domain import clock
from domain.run_filter import RunFilter
from events.hub import PAGE, CaughtUp, Feed, Hub, Told
from events.selectors import OfRuns
from tests.support.engine import Bench, Flow, transform

PATIENCE = 30.0
ALL = OfRuns(RunFilter())
BEGINNING = Place(0, 0)


@pytest.fixture
async def bench(database: Database) -> Bench:
    return await Bench.on(database)


@pytest.fixture
async def flow(bench: Bench) -> Flow:
    return await bench.publish(transform("only", 1))


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    made = Hub(database)
    yield made
    await made.close()


async def take(feed: Feed, count: int) -> list[Any]:
    """The rows of the next `count` events; the mark between those missed and those that happen is passed over."""
    found: list[Any] = []
    # Open transactions in any database of the server may hold events up for a moment.
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            item = await anext(feed)
            found += [item.event.row] if isinstance(item, Told) else []
    return found


async def read(hub: Hub, projects: list[UUID] | None, after: Place, count: int) -> list[Any]:
    """The next `count` events."""
    async with aclosing(hub.subscribe(OfRuns(RunFilter(project_ids=projects)), after)) as feed:
        return await take(feed, count)


async def test_all_that_came_after_a_place_comes_once_and_in_order(bench: Bench, flow: Flow, hub: Hub) -> None:
    run_ids = await bench.start_many(flow, PAGE + 10)
    rows = await read(hub, None, BEGINNING, PAGE + 10)
    assert [row.run_id for row in rows] == run_ids
    middle = events.place_of(rows[PAGE // 2])
    rest = await read(hub, None, middle, PAGE // 2 + 9)
    assert [row.run_id for row in rest] == run_ids[PAGE // 2 + 1 :]


async def test_without_a_place_only_what_happens_from_now_on_comes(bench: Bench, flow: Flow, hub: Hub) -> None:
    await bench.start(flow)
    async with aclosing(hub.subscribe(ALL, None)) as feed:
        assert isinstance(await anext(feed), CaughtUp)
        coming = asyncio.ensure_future(take(feed, 1))
        run_id = await bench.start(flow)
        (row,) = await asyncio.wait_for(coming, PATIENCE)
        assert (row.run_id, row.from_status, row.to_status) == (run_id, None, "QUEUED")


async def test_other_projects_are_not_told_of(bench: Bench, flow: Flow, database: Database, hub: Hub) -> None:
    await bench.start(flow)
    other = await Bench.on(database)
    mine = await other.start(await other.publish(transform("only", 1)))
    rows = await read(hub, [other.project_id], BEGINNING, 1)
    assert [row.run_id for row in rows] == [mine]


async def test_what_is_rolled_back_is_never_told(bench: Bench, flow: Flow, database: Database, hub: Hub) -> None:
    run_id = await bench.start(flow)
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda conn: (bench._create(conn, flow, {}), 1 / 0))
    last = await bench.start(flow)
    rows = await read(hub, None, BEGINNING, 2)
    assert [row.run_id for row in rows] == [run_id, last]


async def test_an_event_committed_late_is_not_lost(
    bench: Bench, flow: Flow, database: Database, dialect: str, hub: Hub
) -> None:
    """Two open transactions that commit in the other order: a reader of the highest number alone would lose one."""
    if dialect == "sqlite":
        return  # one writer at a time: the order of numbers is that of commits
    first, second = await bench.start_many(flow, 2)
    start = await database.read(events.end)
    late = database._engine.connect()
    conn = await late.start()
    try:
        await conn.execute(insert(table(RunEvent)).values(_event(bench, flow, first, "late")))
        await database.write(lambda c: events.append(c, [_event(bench, flow, second, "early")]))
        seen = await database.read(events.page, start, EVERYTHING, 10)
        assert "early" not in {row.message for row in seen.rows}
        await conn.commit()
    finally:
        await conn.close()
    rows = await read(hub, None, BEGINNING, 4)
    assert [row.message for row in rows[2:]] == ["late", "early"]


async def test_the_end_of_the_log_is_behind_all_that_was_committed(
    bench: Bench, flow: Flow, database: Database
) -> None:
    await bench.start(flow)
    end = await database.read(events.end)
    assert (await database.read(events.page, end, EVERYTHING, 10)).rows == ()


def _event(bench: Bench, flow: Flow, run_id: UUID, message: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "project_id": bench.project_id,
        "flow_id": flow.id,
        "kind": events.RUN_STATUS,
        "from_status": "QUEUED",
        "to_status": "RUNNING",
        "message": message,
        "at": clock.now(),
    }
