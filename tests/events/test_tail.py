"""Following the log: what was missed, in order and once, then what happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from db import events
from db.events import Place
from db.models import RunEvent
from db.models.types import table
from db.session import Database
from domain import clock
from events.tail import PAGE, Caught, follow
from tests.support.engine import Bench, Flow, transform

PATIENCE = 30.0


@pytest.fixture
async def bench(database: Database) -> Bench:
    return await Bench.on(database)


@pytest.fixture
async def flow(bench: Bench) -> Flow:
    return await bench.publish(transform("only", 1))


async def read(database: Database, projects: list[UUID] | None, after: Place, count: int) -> list[Any]:
    """The next `count` events. Open transactions in any database of the server may hold them up for a moment."""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE), aclosing(follow(database, projects, after)) as log:  # type: ignore[type-var]
        while len(found) < count:
            told = await anext(log)
            found += [] if isinstance(told, Caught) else told
    return found


async def test_all_that_came_after_a_place_comes_once_and_in_order(
    bench: Bench, flow: Flow, database: Database
) -> None:
    run_ids = await bench.start_many(flow, PAGE + 10)
    rows = await read(database, None, Place(0, 0), PAGE + 10)
    assert [row.run_id for row in rows] == run_ids
    middle = events.place_of(rows[PAGE // 2])
    rest = await read(database, None, middle, PAGE // 2 + 9)
    assert [row.run_id for row in rest] == run_ids[PAGE // 2 + 1 :]


async def test_without_a_place_only_what_happens_from_now_on_comes(
    bench: Bench, flow: Flow, database: Database
) -> None:
    await bench.start(flow)
    async with aclosing(follow(database, None, None)) as log:  # type: ignore[type-var]
        assert isinstance(await anext(log), Caught)
        coming = asyncio.ensure_future(_next(log))
        run_id = await bench.start(flow)
        (row,) = await asyncio.wait_for(coming, PATIENCE)
        assert (row.run_id, row.from_status, row.to_status) == (run_id, None, "QUEUED")


async def test_other_projects_are_not_told_of(bench: Bench, flow: Flow, database: Database) -> None:
    await bench.start(flow)
    other = await Bench.on(database)
    mine = await other.start(await other.publish(transform("only", 1)))
    rows = await read(database, [other.project_id], Place(0, 0), 1)
    assert [row.run_id for row in rows] == [mine]


async def test_what_is_rolled_back_is_never_told(bench: Bench, flow: Flow, database: Database) -> None:
    run_id = await bench.start(flow)
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda conn: (bench._create(conn, flow, {}), 1 / 0))
    last = await bench.start(flow)
    rows = await read(database, None, Place(0, 0), 2)
    assert [row.run_id for row in rows] == [run_id, last]


async def test_an_event_committed_late_is_not_lost(bench: Bench, flow: Flow, database: Database, dialect: str) -> None:
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
        assert await database.read(events.page_after, start, None, 10) == []
        await conn.commit()
    finally:
        await conn.close()
    assert [row.message for row in await read(database, None, start, 2)] == ["late", "early"]


async def test_the_end_of_the_log_is_behind_all_that_was_committed(
    bench: Bench, flow: Flow, database: Database
) -> None:
    await bench.start(flow)
    end = await database.read(events.end)
    assert await database.read(events.page_after, end, None, 10) == []


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


async def _next(log: AsyncIterator[Any]) -> Any:
    return await anext(log)
