"""Following the log: what was missed, in order and once, then what happens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, insert

from db import projects
from db.assembly import COMMIT_STEPS, open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import EVERYTHING, LogPosition
from db.migrate import upgrade
from db.models import RunEvent
from db.models.types import table
from db.row_types import EventRow, RunRow
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.time import clock
from live.events import (
    SENT,
    CaughtUp,
    HubClosedError,
    LogItem,
    MatchedEvent,
    QueueFullError,
    SendResult,
    SendStatus,
    TailerFailedError,
)
from live.hub import Hub
from live.log_tailer import PAGE_SIZE
from live.subscription import Subscription
from live.topics import NEVER_ENDS, OperationTopic, RunsTopic, RunTopic, Topic, TopicState
from tests.support.databases.postgres import PostgresServer
from tests.support.worker import Flow, WorkerHarness, transform

PATIENCE = 30.0
ALL = RunsTopic(RunFilter())
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
BEGINNING: LogPosition = 0


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("only", 1))


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    made = Hub(database)
    yield made
    await made.close()


async def take(feed: Subscription, count: int) -> list[Any]:
    """The rows of the next `count` events; the mark between those missed and those that happen is passed over."""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            item = await anext(feed)
            found += [item.event.row] if isinstance(item, MatchedEvent) else []
    return found


async def read(hub: Hub, projects: list[UUID] | None, after: LogPosition, count: int) -> list[Any]:
    """The next `count` events."""
    async with aclosing(hub.subscribe(RunsTopic(RunFilter(project_ids=projects)), after)) as feed:
        return await take(feed, count)


async def complete(hub: Hub, count: int) -> None:
    await read(hub, None, BEGINNING, count)


async def test_all_that_came_after_a_place_comes_once_and_in_order(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
    run_ids = await worker.start_many(flow, PAGE_SIZE + 10)
    rows = await read(hub, None, BEGINNING, PAGE_SIZE + 10)
    assert [row.run_id for row in rows] == run_ids
    middle = rows[PAGE_SIZE // 2].seq
    rest = await read(hub, None, middle, PAGE_SIZE // 2 + 9)
    assert [row.run_id for row in rest] == run_ids[PAGE_SIZE // 2 + 1 :]


async def test_without_a_place_only_what_happens_from_now_on_comes(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
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
async def test_who_follows_waits_for_a_number_that_was_given_out(
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
    """The one who changes the run last began to write first, elsewhere, and waited for the run."""
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
async def test_who_begins_from_now_on_has_nothing_uncommitted_behind_it(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    """What it lists after `CaughtUp` would else lack a change of which it is not told either."""
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


def _event(worker: WorkerHarness, flow: Flow, run_id: UUID, message: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "project_id": worker.project_id,
        "flow_id": flow.id,
        "kind": event_log.RUN_STATUS,
        "from_status": "QUEUED",
        "to_status": "RUNNING",
        "message": message,
        "at": clock.now(),
    }


# Joining


async def writing(worker: WorkerHarness, flow: Flow, times: int) -> list[UUID]:
    """Start runs as fast as the database takes them, by several at once; an event with the message END comes last."""

    async def write() -> list[UUID]:
        return [run_id for _ in range(times) for run_id in await worker.start_many(flow, 3)]

    parts = await asyncio.gather(*(write() for _ in range(4)))
    run_ids = [run_id for part in parts for run_id in part]
    await worker.database.write(event_log.append, [_event(worker, flow, run_ids[0], END)])
    return run_ids


END = "the end"
JOINING = 30


async def heard_to_the_end(feed: Subscription) -> list[LogPosition]:
    heard = []
    async for item in feed:
        if isinstance(item, MatchedEvent):
            heard.append(item.position)
            if item.event.row.message == END:
                break
    return heard


async def test_those_who_join_while_others_write_miss_nothing_and_hear_nothing_twice(
    worker: WorkerHarness, flow: Flow, hub: Hub
) -> None:
    """Subscribers come and go at full speed, each from its last place or from anywhere: all hear one and the same."""

    async with asyncio.timeout(PATIENCE), aclosing(hub.subscribe(ALL, None)) as feed:
        # Before anything is written: whoever begins "from now on" when all is over waits for ever.
        start = await anext(feed)
        part = asyncio.create_task(heard_to_the_end(feed))
        whole = [asyncio.create_task(one_who_stays(hub)) for _ in range(3)]
        whole += [asyncio.create_task(one_who_reconnects(hub, every)) for every in (1, 2, 3, 7, 20)]
        writers = asyncio.create_task(writing(worker, flow, 15))
        # Another writer, between whose writes others join: not without an end, for all of them read all there is.
        while not writers.done() and len(whole) < JOINING:
            await worker.start(flow)
            whole.append(asyncio.create_task(one_who_stays(hub)))
        run_ids = await writers
        log = await whole[0]
        assert len(run_ids) == 180 < len(log)
        assert log == sorted(set(log))
        for task in whole:
            assert await task == log
        assert isinstance(start, CaughtUp)
        assert await part == [place for place in log if place > start.position]


async def one_who_stays(hub: Hub) -> list[LogPosition]:
    async with aclosing(hub.subscribe(ALL, BEGINNING)) as feed:
        return await heard_to_the_end(feed)


async def one_who_reconnects(hub: Hub, every: int) -> list[LogPosition]:
    """It leaves at all kinds of moments: while it catches up, when it has, and later."""
    heard: list[LogPosition] = []
    place = BEGINNING
    while True:
        async with aclosing(hub.subscribe(ALL, place)) as feed:
            for _ in range(every):
                item = await anext(feed)
                place = item.position
                if isinstance(item, MatchedEvent):
                    heard.append(place)
                    if item.event.row.message == END:
                        return heard


async def test_who_waited_for_the_reader_hears_of_what_came_in_between(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has gone on by the time that a subscriber has read to the end: the gap is read from the table."""
    first = await worker.start(flow)
    await complete(hub, 1)
    read_page = database.read
    between: list[UUID] = []

    async def slowly(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = await read_page(query, *args, **kwargs)
        if query is event_log.page and not between:
            # Read, and not yet told: the reader hears of this run before the subscriber has joined.
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


# The reader


async def test_there_is_one_reader_as_long_as_there_are_subscribers(
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


async def test_a_reader_that_fails_ends_its_subscribers_and_the_next_one_starts_another(
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


async def test_a_fault_in_one_selector_is_no_matter_of_the_others(worker: WorkerHarness, flow: Flow, hub: Hub) -> None:
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
    columns: frozenset[str] = frozenset()

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


# Bounds


async def test_a_subscriber_that_takes_nothing_is_let_go_with_its_last_place(
    worker: WorkerHarness, flow: Flow, database: Database
) -> None:
    hub = Hub(database, max_queued=5)
    slow, quick = hub.subscribe(ALL, None), hub.subscribe(ALL, None)
    for feed in (slow, quick):
        await anext(feed)
    first = await worker.start(flow)
    (taken,) = await take(slow, 1)
    assert taken.run_id == first
    await take(quick, 1)
    later = [await worker.start(flow) for _ in range(5)]
    assert [row.run_id for row in await take(quick, 5)] == later
    later.append(await worker.start(flow))
    assert [row.run_id for row in await take(quick, 1)] == later[5:]
    with pytest.raises(QueueFullError) as error:
        await anext(slow)
    assert error.value.position == taken.seq
    assert (len(slow._queue), hub.subscribers) == (0, 1)
    async with aclosing(hub.subscribe(ALL, error.value.position)) as again:
        assert [row.run_id for row in await take(again, 6)] == later
    await quick.aclose()
    await hub.close()


# Sending without waiting


def send_all(_: Sequence[MatchedEvent]) -> SendResult:
    return SENT


class RecordingSender:
    """Records the events that it is to send, and returns the result that a test sets."""

    def __init__(self) -> None:
        self.offered: asyncio.Queue[list[str]] = asyncio.Queue()
        self.answer: Callable[[Sequence[MatchedEvent]], SendResult] = send_all

    def __call__(self, events: Sequence[MatchedEvent], /) -> SendResult:
        self.offered.put_nowait([str(event.row.message) for event in events])
        return self.answer(events)

    async def next(self) -> list[str]:
        """The messages of the next events it is offered."""
        return await asyncio.wait_for(self.offered.get(), PATIENCE)


@pytest.fixture
async def run_id(worker: WorkerHarness, flow: Flow, hub: Hub) -> UUID:
    found = await worker.start(flow)
    await complete(hub, 1)
    return found


async def say(worker: WorkerHarness, flow: Flow, run_id: UUID, *messages: str) -> None:
    await worker.database.write(event_log.append, [_event(worker, flow, run_id, message) for message in messages])


def messages_of(batch: Sequence[LogItem]) -> list[str | None]:
    return [each.event.row.message for each in batch if isinstance(each, MatchedEvent)]


async def test_events_sent_at_once_wake_no_task(worker: WorkerHarness, flow: Flow, hub: Hub, run_id: UUID) -> None:
    sender = RecordingSender()
    async with aclosing(hub.subscribe(ALL, None)) as feed, aclosing(hub.subscribe(ALL, None)) as other:
        await anext(feed)
        await anext(other)
        waiting = asyncio.create_task(feed.batch(sender))
        for message in ("one", "two"):
            await say(worker, flow, run_id, message)
            assert await sender.next() == [message]
        assert not waiting.done()
        assert feed.position == (await take(other, 2))[-1].seq
        # Then a part of what comes together, and nothing more: the rest is for whoever waits, once and in order.
        sender.answer = lambda _: SendResult(SendStatus.BLOCKED, 1)
        await say(worker, flow, run_id, "three", "four", "five")
        assert await sender.next() == ["three", "four", "five"]
        assert messages_of(await waiting) == ["four", "five"]
        await say(worker, flow, run_id, "six")
        assert messages_of(await feed.batch()) == ["six"]
        assert [row.message for row in await take(other, 4)] == ["three", "four", "five", "six"]
        assert sender.offered.empty()


async def test_who_takes_later_is_asked_again_and_keeps_the_order(
    worker: WorkerHarness, flow: Flow, hub: Hub, run_id: UUID
) -> None:
    sender, later = RecordingSender(), asyncio.get_running_loop().create_future()
    async with aclosing(hub.subscribe(ALL, None)) as feed, aclosing(hub.subscribe(ALL, None)) as other:
        await anext(feed)
        await anext(other)
        waiting = asyncio.create_task(feed.batch(sender))
        sender.answer = lambda _: SendResult(SendStatus.RENDERING, rendered=later)
        await say(worker, flow, run_id, "one")
        assert await sender.next() == ["one"]
        await say(worker, flow, run_id, "two")
        await take(other, 2)
        assert sender.offered.empty()
        sender.answer = send_all
        later.set_result(None)
        assert [await sender.next(), await sender.next()] == [["one"], ["two"]]
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_fault_in_taking_is_no_matter_of_the_reader(
    worker: WorkerHarness, flow: Flow, hub: Hub, run_id: UUID
) -> None:
    def fail(_: Sequence[MatchedEvent]) -> SendResult:
        raise ZeroDivisionError

    sender = RecordingSender()
    sender.answer = fail
    async with aclosing(hub.subscribe(ALL, None)) as feed, aclosing(hub.subscribe(ALL, None)) as other:
        await anext(other)
        await anext(feed)
        waiting = asyncio.create_task(feed.batch(sender))
        await say(worker, flow, run_id, "one")
        assert messages_of(await waiting) == ["one"]
        assert [row.message for row in await take(other, 1)] == ["one"]


async def test_what_is_to_be_taken_later_is_bounded_too(worker: WorkerHarness, flow: Flow, database: Database) -> None:
    hub = Hub(database, max_queued=5)
    run_id = await worker.start(flow)
    await complete(hub, 1)
    sender, never = RecordingSender(), asyncio.get_running_loop().create_future()
    sender.answer = lambda _: SendResult(SendStatus.RENDERING, rendered=never)
    feed = hub.subscribe(ALL, None)
    start = await anext(feed)
    waiting = asyncio.create_task(feed.batch(sender))
    await say(worker, flow, run_id, "0")
    assert await sender.next() == ["0"]
    for number in range(1, 6):
        await say(worker, flow, run_id, f"{number}")
    with pytest.raises(QueueFullError) as error:
        await asyncio.wait_for(waiting, PATIENCE)
    assert error.value.position == start.position
    assert (len(feed._queue), hub.subscribers) == (0, 0)
    never.set_result(None)
    await asyncio.sleep(0)
    assert sender.offered.empty()
    await hub.close()


# Topics


def step_event(worker: WorkerHarness, flow: Flow, run_id: UUID, kind: str, **more: Any) -> dict[str, Any]:
    event = {**_event(worker, flow, run_id, kind), "kind": kind, "from_status": None, "to_status": None}
    return {**event, "step_name": None, "operation_id": None, "data": None, **more}


async def test_each_hears_of_its_own_part_of_the_log(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub
) -> None:
    one, other = await worker.start_many(flow, 2)
    await complete(hub, 2)
    operation = uuid4()
    start = BEGINNING
    progress = step_event(worker, flow, one, "BULK_PROGRESS", operation_id=operation, data='{"status": "RUNNING"}') | {
        "run_id": None,
        "flow_id": None,
    }
    # Subscribers of an operation receive its present state first, in place of the mark.
    await database.write(event_log.append, [progress])
    written = [
        step_event(worker, flow, one, "STEP_STATUS", step_name="only", data='{"attempt": 1}'),
        step_event(worker, flow, other, "STEP_STATUS", step_name="only"),
        progress,
        step_event(worker, flow, one, event_log.RUN_ARCHIVED),
    ]

    async def heard(selector: Topic, after: LogPosition | None, count: int) -> list[tuple[str, UUID | None]]:
        async with aclosing(hub.subscribe(selector, after)) as feed:
            if after is None:
                await anext(feed)
                ready.release()
            return [(row.kind, row.run_id) for row in await take(feed, count)]

    expected: dict[Topic, list[tuple[str, UUID | None]]] = {
        RunTopic(one): [("STEP_STATUS", one), ("RUN_ARCHIVED", one)],
        RunTopic(one, frozenset({"STEP_STATUS"})): [("STEP_STATUS", one)],
        OperationTopic(operation): [("BULK_PROGRESS", None)],
        RunsTopic(RunFilter(archived=Archived.INCLUDE)): [("RUN_ARCHIVED", one)],
        RunsTopic(RunFilter(ids=[other], archived=Archived.ONLY)): [],
    }
    ready = asyncio.Semaphore(0)
    live = {each: asyncio.create_task(heard(each, None, len(events))) for each, events in expected.items()}
    async with asyncio.timeout(PATIENCE):
        for _ in live:
            await ready.acquire()
        await database.write(event_log.append, written)
        for selector, events in expected.items():
            found = await live[selector]
            assert found == events, selector
    caught_up = await heard(RunTopic(one), start, 3)
    assert caught_up == [(event_log.RUN_STATUS, one), *expected[RunTopic(one)]]


async def test_subscriber_that_joins_during_a_read_is_matched_by_its_own_columns(
    worker: WorkerHarness, flow: Flow, database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = hub.subscribe(RunsTopic(RunFilter(external_ids=["mine"], archived=Archived.INCLUDE)), None)
    first = hub.subscribe(RunTopic(uuid4()), None)
    read_page = database.read
    has_joined = asyncio.Event()

    async def and_join(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = await read_page(query, *args, **kwargs)
        if query is event_log.tail and found.rows and not has_joined.is_set():
            await anext(joined)
            has_joined.set()
        return found

    monkeypatch.setattr(database, "read", and_join)
    await anext(first)
    run_id = await worker.start(flow, external_id="mine")
    await asyncio.wait_for(has_joined.wait(), PATIENCE)
    assert [row.run_id for row in await take(joined, 1)] == [run_id]
    await joined.aclose()
    await first.aclose()
