"""Delivery: bounds, topics and senders."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest

from db.core.database import Database
from db.events import log as event_log
from db.events.log import LogPosition
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from live.events import (
    SENT,
    LogItem,
    MatchedEvent,
    QueueFullError,
    SendResult,
    SendStatus,
)
from live.hub import Hub
from live.topics import OperationTopic, RunsTopic, RunTopic, Topic
from tests.live.hub.harness import ALL, BEGINNING, PATIENCE, _event, complete, take
from tests.support.worker import Flow, WorkerHarness


async def test_subscriber_that_takes_nothing_is_ended_with_its_last_position(
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
        # Then only a part of the events that arrive; the rest is for the waiting subscriber, once and in order.
        sender.answer = lambda _: SendResult(SendStatus.BLOCKED, 1)
        await say(worker, flow, run_id, "three", "four", "five")
        assert await sender.next() == ["three", "four", "five"]
        assert messages_of(await waiting) == ["four", "five"]
        await say(worker, flow, run_id, "six")
        assert messages_of(await feed.batch()) == ["six"]
        assert [row.message for row in await take(other, 4)] == ["three", "four", "five", "six"]
        assert sender.offered.empty()


async def test_events_that_arrive_while_others_are_rendered_are_sent_together_after_them(
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
        await say(worker, flow, run_id, "three")
        await take(other, 3)
        assert sender.offered.empty()
        sender.answer = send_all
        later.set_result(None)
        assert [await sender.next(), await sender.next()] == [["one"], ["two", "three"]]
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


async def test_queue_of_a_blocked_sender_is_bounded(worker: WorkerHarness, flow: Flow, database: Database) -> None:
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


def step_event(worker: WorkerHarness, flow: Flow, run_id: UUID, kind: str, **more: Any) -> dict[str, Any]:
    event = {**_event(worker, flow, run_id, kind), "kind": kind, "from_status": None, "to_status": None}
    return {**event, "step_name": None, "operation_id": None, "data": None, **more}


async def test_subscribers_receive_only_their_part_of_the_log(
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
    # Subscribers of an operation receive its present state first, instead of `CaughtUp`.
    await database.write(event_log.append, [progress])
    written = [
        step_event(worker, flow, one, "STEP_STATUS", step_name="only", data='{"attempt": 1}'),
        step_event(worker, flow, other, "STEP_STATUS", step_name="only"),
        progress,
        step_event(worker, flow, one, event_log.RUN_ARCHIVED),
    ]

    async def received(selector: Topic, after: LogPosition | None, count: int) -> list[tuple[str, UUID | None]]:
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
    live = {each: asyncio.create_task(received(each, None, len(events))) for each, events in expected.items()}
    async with asyncio.timeout(PATIENCE):
        for _ in live:
            await ready.acquire()
        await database.write(event_log.append, written)
        for selector, events in expected.items():
            found = await live[selector]
            assert found == events, selector
    caught_up = await received(RunTopic(one), start, 3)
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
