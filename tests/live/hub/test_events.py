"""Subscribers receive events in order, without gaps."""

import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import Connection, insert

from db import projects
from db.assembly import COMMIT_STEPS
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import RunEvent
from db.models.types import table
from live.events import (
    CaughtUp,
)
from live.hub import Hub
from live.log_tailer import PAGE_SIZE
from tests.live.hub.harness import ALL, BEGINNING, PATIENCE, _event, complete, read, take
from tests.support.worker import Flow, WorkerHarness, transform

on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


async def test_events_after_a_position_are_delivered_once_and_in_order(
    worker: WorkerHarness, flow: Flow, hub: Hub
) -> None:
    run_ids = await worker.start_many(flow, PAGE_SIZE + 10)
    rows = await read(hub, None, BEGINNING, PAGE_SIZE + 10)
    assert [row.run_id for row in rows] == run_ids
    middle = rows[PAGE_SIZE // 2].seq
    rest = await read(hub, None, middle, PAGE_SIZE // 2 + 9)
    assert [row.run_id for row in rest] == run_ids[PAGE_SIZE // 2 + 1 :]


async def test_without_a_position_only_new_events_are_delivered(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
    await worker.start(flow)
    await complete(hub, 1)
    async with aclosing(hub.subscribe(ALL, None)) as feed:
        assert isinstance(await anext(feed), CaughtUp)
        coming = asyncio.ensure_future(take(feed, 1))
        run_id = await worker.start(flow)
        (row,) = await asyncio.wait_for(coming, PATIENCE)
        assert (row.run_id, row.from_status, row.to_status) == (run_id, None, "QUEUED")


async def test_subscriber_receives_no_events_of_other_projects(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    await worker.start(flow)
    other = await WorkerHarness.on(database)
    mine = await other.start(await other.publish(transform("only", 1)))
    rows = await read(hub, [other.project_id], BEGINNING, 1)
    assert [row.run_id for row in rows] == [mine]


def create_project(conn: Connection, name: str) -> None:
    projects.create(UnitOfWork(conn, COMMIT_STEPS), name)


async def test_rolled_back_change_has_no_event(worker: WorkerHarness, flow: Flow, database: Database, hub: Hub) -> None:
    run_id = await worker.start(flow)
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda uow: (worker._create(uow, flow, {}), 1 / 0))
    last = await worker.start(flow)
    rows = await read(hub, None, BEGINNING, 2)
    assert [row.run_id for row in rows] == [run_id, last]


@on_postgresql
@pytest.mark.parametrize("ends", ["commits", "rolls back"])
async def test_tailer_waits_for_an_assigned_number(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, ends: str
) -> None:
    """Two open transactions that end in the other order: a reader of the highest number alone would lose one."""
    first, second = await worker.start_many(flow, 2)
    async with aclosing(hub.subscribe(ALL, None)) as feed:
        await anext(feed)
        async with database._engine.connect() as late:
            await late.execute(insert(table(RunEvent)).values(_event(worker, flow, first, "late")))
            await database.write(lambda uow: event_log.append(uow, [_event(worker, flow, second, "early")]))
            coming = asyncio.ensure_future(take(feed, 1))
            async with aclosing(hub.subscribe(ALL, BEGINNING)) as other:
                assert [row.run_id for row in await take(other, 2)] == [first, second]
                assert isinstance(await anext(other), CaughtUp)
            assert not coming.done()
            await (late.commit() if ends == "commits" else late.rollback())
        if ends == "commits":
            assert [row.message for row in await coming] == ["late"]
            coming = asyncio.ensure_future(take(feed, 1))
        assert [row.message for row in await coming] == ["early"]


@on_postgresql
async def test_events_of_a_run_arrive_in_the_order_of_its_changes(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    """The last change of the run is by a transaction that began to write first, elsewhere, and waited for the run."""
    run_id = await worker.start(flow)
    async with aclosing(hub.subscribe(ALL, None)) as feed:
        await anext(feed)
        async with database._engine.begin() as patient:
            await patient.run_sync(create_project, "written first")
            await database.write(lambda uow: event_log.append(uow, [_event(worker, flow, run_id, "before")]))
            await patient.execute(insert(table(RunEvent)).values(_event(worker, flow, run_id, "after")))
        assert [row.message for row in await take(feed, 2)] == ["before", "after"]


@on_postgresql
async def test_open_transaction_without_events_delays_no_subscriber(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    async with database._engine.begin() as long_one:
        await long_one.run_sync(create_project, "takes long")
        first = await worker.start(flow)
        async with aclosing(hub.subscribe(ALL, BEGINNING)) as feed:
            assert [row.run_id for row in await take(feed, 1)] == [first]
            assert isinstance(await anext(feed), CaughtUp)
            second = await worker.start(flow)
            assert [row.run_id for row in await take(feed, 1)] == [second]


@on_postgresql
async def test_new_subscriber_misses_no_uncommitted_event(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    """Otherwise a list that is read after `CaughtUp` would lack a change that the subscriber does not receive
    either."""
    first, second = await worker.start_many(flow, 2)
    feed = hub.subscribe(ALL, None)
    async with database._engine.connect() as late:
        await late.execute(insert(table(RunEvent)).values(_event(worker, flow, first, "late")))
        await database.write(lambda uow: event_log.append(uow, [_event(worker, flow, second, "early")]))
        end = await database.read(event_log.end)
        assert len(end.writers) == 1
        beginning = asyncio.ensure_future(anext(feed))
        assert await database.read(event_log.remaining, end) == end
        await late.commit()
    caught_up = await asyncio.wait_for(beginning, PATIENCE)
    assert caught_up.position == end.until
    assert (await database.read(event_log.remaining, end)).writers == frozenset()
    await feed.aclose()


async def test_at_the_end_of_the_log_is_nothing_more(worker: WorkerHarness, flow: Flow, database: Database) -> None:
    await worker.start(flow)
    end = (await database.read(event_log.end)).until
    tail = await database.read(event_log.tail, end, None, 10)
    assert (tail.rows, tail.end, tail.is_last, tail.gaps) == ([], end, True, None)
