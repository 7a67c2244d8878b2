"""Subscribers come, go and fail; there is one reader."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest

from db.assembly import open_database
from db.core.database import Database
from db.events import log as event_log
from db.events.log import EVERYTHING, NOTHING, LogPosition
from db.migrate import upgrade
from db.row_types import EventRow, RunRow
from domain.errors import QueryTimeoutError
from domain.runs.run_filter import RunFilter
from live.events import (
    CaughtUp,
    HubClosedError,
    MatchedEvent,
    TailerFailedError,
)
from live.hub import Hub
from live.topics import NEVER_ENDS, RunsTopic, TopicState
from tests.live.hub.harness import ALL, BEGINNING, END, PATIENCE, _event, complete, receive_to_the_end, take
from tests.support.clock import FakeClock
from tests.support.databases.postgres import PostgresServer
from tests.support.worker import Flow, WorkerHarness, transform


async def writing(worker: WorkerHarness, flow: Flow, times: int) -> list[UUID]:
    """Starts runs as fast as the database allows, in several tasks; an event with the message END comes last."""

    async def write() -> list[UUID]:
        return [run_id for _ in range(times) for run_id in await worker.start_many(flow, 3)]

    parts = await asyncio.gather(*(write() for _ in range(4)))
    run_ids = [run_id for part in parts for run_id in part]
    await worker.database.write(event_log.append, [_event(worker, flow, run_ids[0], END)])
    return run_ids


JOINING = 16


async def test_subscribers_that_join_during_writes_get_each_event_once(
    worker: WorkerHarness, flow: Flow, hub: Hub
) -> None:
    """Subscribers come and go at full speed, each from its last position or from any other: all receive the same
    events."""

    async with asyncio.timeout(PATIENCE), aclosing(hub.subscribe(ALL, None)) as feed:
        # Before anything is written: a subscriber that begins "from now on" after the last event would wait for ever.
        start = await anext(feed)
        part = asyncio.create_task(receive_to_the_end(feed))
        whole = [asyncio.create_task(one_who_stays(hub)) for _ in range(3)]
        whole += [asyncio.create_task(one_who_reconnects(hub, every)) for every in (1, 3, 20)]
        writers = asyncio.create_task(writing(worker, flow, 8))
        # Another writer, between whose writes others join: not without an end, for all of them read all there is.
        while not writers.done() and len(whole) < JOINING:
            await worker.start(flow)
            whole.append(asyncio.create_task(one_who_stays(hub)))
        run_ids = await writers
        log = await whole[0]
        assert len(run_ids) == 96 < len(log)
        assert log == sorted(set(log))
        for task in whole:
            assert await task == log
        assert isinstance(start, CaughtUp)
        assert await part == [place for place in log if place > start.position]


async def one_who_stays(hub: Hub) -> list[LogPosition]:
    async with aclosing(hub.subscribe(ALL, BEGINNING)) as feed:
        return await receive_to_the_end(feed)


async def one_who_reconnects(hub: Hub, every: int) -> list[LogPosition]:
    """It leaves at all kinds of moments: while it catches up, when it has, and later."""
    received: list[LogPosition] = []
    place = BEGINNING
    while True:
        async with aclosing(hub.subscribe(ALL, place)) as feed:
            for _ in range(every):
                item = await anext(feed)
                place = item.position
                if isinstance(item, MatchedEvent):
                    received.append(place)
                    if item.event.row.message == END:
                        return received


async def test_subscriber_that_waited_for_the_tailer_gets_the_events_in_between(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tailer has a later position when a subscriber has read to the end: the gap is read from the table."""
    first = await worker.start(flow)
    await complete(hub, 1)
    read_page = database.read
    between: list[UUID] = []

    async def slowly(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = await read_page(query, *args, **kwargs)
        if query is event_log.page and not between:
            # Read, and not yet delivered: the tailer reads this run before the subscriber has joined.
            between.append(await worker.start(flow))
            await take(ahead, 2)
        return found

    async with aclosing(hub.subscribe(ALL, BEGINNING)) as ahead:
        assert [row.run_id for row in await take(ahead, 1)] == [first]
        while not isinstance(await anext(ahead), CaughtUp):
            pass
        monkeypatch.setattr(database, "read", slowly)
        late_one = await worker.start(flow)
        async with aclosing(hub.subscribe(ALL, BEGINNING)) as late:
            assert [row.run_id for row in await take(late, 3)] == [first, late_one, *between]


async def test_one_tailer_runs_while_there_are_subscribers(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read_page = database.read

    async def counted(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += query is event_log.tail
        return await read_page(query, *args, **kwargs)

    feeds = [hub.subscribe(RunsTopic(RunFilter(tags=[f"{number}"])), None) for number in range(20)]
    for feed in feeds:
        assert isinstance(await anext(feed), CaughtUp)
    witness = hub.subscribe(ALL, None)
    await anext(witness)
    monkeypatch.setattr(database, "read", counted)
    await worker.start(flow)
    await take(witness, 1)
    assert 1 <= reads < 20
    assert hub.subscribers == 21
    assert hub._tailer is not None
    task = hub._tailer.task
    for feed in (*feeds, witness):
        await feed.aclose()
    assert hub.subscribers == 0
    await asyncio.wait([task])
    assert task.cancelled()
    async with aclosing(hub.subscribe(ALL, None)) as again:
        await anext(again)
        run_id = await worker.start(flow)
        assert [row.run_id for row in await take(again, 1)] == [run_id]


async def test_failing_tailer_ends_its_subscriptions_and_the_next_one_starts_another(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = [hub.subscribe(ALL, None) for _ in range(3)]
    for feed in feeds:
        await anext(feed)
    with monkeypatch.context() as patch:
        patch.setattr(database, "read", _broken)
        await worker.start(flow)
        for feed in feeds:
            with pytest.raises(TailerFailedError):
                await asyncio.wait_for(anext(feed), PATIENCE)
            await feed.aclose()
    async with aclosing(hub.subscribe(ALL, None)) as feed:
        await anext(feed)
        await worker.start(flow)
        await take(feed, 1)


async def _broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


async def test_fault_in_one_topic_does_not_affect_the_others(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
    faulty, good = hub.subscribe(RunsTopic(RunFilter(metadata="{")), BEGINNING), hub.subscribe(ALL, None)
    with pytest.raises(ValueError, match=r"."):
        await anext(faulty)
    await faulty.aclose()
    await anext(good)
    broken = hub.subscribe(_Faulty(), None)
    await anext(broken)
    run_id = await worker.start(flow)
    assert [row.run_id for row in await take(good, 1)] == [run_id]
    with pytest.raises(TailerFailedError):
        await anext(broken)
    await good.aclose()


class _Faulty:
    scope = EVERYTHING
    marks_caught_up = True
    needed = NOTHING

    def matcher(self) -> "_Faulty":
        return self

    def is_end(self, event: EventRow) -> bool:
        return False

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        return NEVER_ENDS

    def match(self, event: EventRow, run: RunRow | None) -> bool | None:
        raise ZeroDivisionError


async def test_closing_the_hub_ends_every_subscription(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
    feed = hub.subscribe(ALL, None)
    await anext(feed)
    await hub.close()
    with pytest.raises(HubClosedError):
        await anext(feed)
    with pytest.raises(HubClosedError):
        await anext(hub.subscribe(ALL, None))


async def test_unavailable_database_loses_no_event(own_postgres: PostgresServer) -> None:
    await asyncio.to_thread(upgrade, own_postgres.url())
    database = open_database(own_postgres.url())
    hub = Hub(database)
    try:
        worker = await WorkerHarness.on(database)
        flow = await worker.publish(transform("only", 1))
        first = await worker.start(flow)
        async with aclosing(hub.subscribe(ALL, BEGINNING)) as feed, aclosing(hub.subscribe(ALL, None)) as other:
            assert [row.run_id for row in await take(feed, 1)] == [first]
            await anext(other)
            await asyncio.to_thread(own_postgres.stop)
            joining = hub.subscribe(ALL, BEGINNING)
            coming = asyncio.create_task(take(joining, 2))
            await asyncio.to_thread(own_postgres.start)
            second = await worker.start(flow)
            assert [row.run_id for row in await take(feed, 1)] == [second]
            assert [row.run_id for row in await take(other, 1)][-1] == second
            assert [row.run_id for row in await coming] == [first, second]
            await joining.aclose()
    finally:
        await hub.close()
        await database.close()


async def test_read_that_takes_too_long_ends_no_subscription(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a migration has locked the log."""
    fake_clock.watch(database)
    hub, refused = Hub(database), asyncio.Event()
    read = database.read

    async def too_slow(query: Any, *args: Any) -> Any:
        if query is event_log.tail:
            refused.set()
            raise QueryTimeoutError
        return await read(query, *args)

    async with aclosing(hub.subscribe(ALL, None)) as feed:
        await anext(feed)
        coming = asyncio.create_task(anext(feed))
        with monkeypatch.context() as patch:
            patch.setattr(database, "read", too_slow)
            await fake_clock.advance(2)
            assert refused.is_set()
            run_id = await worker.start(flow)
            await fake_clock.advance(2)
            assert not coming.done()
        await fake_clock.advance(2)
        item = await coming
        assert isinstance(item, MatchedEvent)
        assert item.row.run_id == run_id
    await hub.close()
