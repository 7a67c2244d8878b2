"""`flowRunProgressed`: all that happens in one run, in the order of the log, to its end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest

from db.runs import cancellation, claims, transitions
from db.runs.output.logs import LINES_IN_EVENT
from db.runs.waits import input_requests
from domain import ids
from domain.enums import Role
from domain.ids import IdKind
from domain.time import clock
from engine.errors import StepError
from live.hub import Hub
from resolvers.context import Context, Viewer
from resolvers.subscriptions import encode_position
from schema.build import build_schema
from service.streams.subscription_rendering import Failure, Operation, Payload, Streams
from tests.support.factory import encode_run_id
from tests.support.worker import LEASE, Document, WorkerHarness, python, transform

WATCH = """subscription($run: ID!, $after: String) { flowRunProgressed(runId: $run, after: $after) {
    __typename
    ... on FlowRunStatusChanged { cursor runId status matches change { from to } }
    ... on StepChanged {
        cursor runId stepName stepStatus stepChange { from to at } attempt error { code message }
        step { name attempts { number } } }
    ... on LogLinesAppended { cursor runId lines { number message stepName } }
    ... on CaughtUp { cursor } } }"""
ASK: Document = {"name": "ask", "kind": "humanInput", "input": {"title": "Go on?"}}
AGAIN: Document = {"attempts": 2, "delay": 1, "jitter": 0}
PATIENCE = 30.0

Item = dict[str, Any]


class Watcher:
    """Subscribes to the runs of an engine."""

    def __init__(self, worker: WorkerHarness, hub: Hub) -> None:
        self.engine = worker
        self._hub = hub
        self._streams = Streams(build_schema())

    async def results(
        self, run: str, after: str | None = None, *, project: UUID | None = None
    ) -> AsyncGenerator[Payload | Failure, None]:
        viewer = Viewer(ids.new_uuid(), project or self.engine.project_id, Role.VIEWER, "watcher")
        context = Context(self.engine.database, self.engine.flows, viewer, long_lived=True, hub=self._hub)
        asked = Operation(WATCH, {"run": run, "after": after})
        async with aclosing(self._streams.results(asked, context)) as results:
            async for result in results:
                if isinstance(result, Failure):
                    yield result
                    continue
                for payload in result:
                    yield payload

    async def events(self, run: str, after: str | None = None) -> AsyncGenerator[Item, None]:
        async for result in self.results(run, after):
            yield item_of(result)

    async def all(self, run_id: UUID, after: str | None = None) -> list[Item]:
        """Returns the items until the stream completes.

        A tailer that others follow may not have read the newest events yet: these come after `CaughtUp`, unless they
        were returned before.
        """
        async with asyncio.timeout(PATIENCE):
            return [item async for item in self.events(encode_run_id(run_id), after)]

    async def code(self, run: str, after: str | None = None, **more: Any) -> str:
        """That of the error by which a stream ends."""
        async with asyncio.timeout(PATIENCE):
            (failure,) = [result async for result in self.results(run, after, **more)]
        (error,) = orjson.loads(failure.body)
        code: str = error["extensions"]["code"]
        return code


def item_of(result: Payload | Failure) -> Item:
    assert isinstance(result, Payload), result
    body = orjson.loads(result.body)
    assert "errors" not in body, body
    item: Item = body["data"]["flowRunProgressed"]
    return item


def short(item: Item) -> str:
    match item:
        case {"__typename": "StepChanged"}:
            change = f"{item['stepChange']['from']}>{item['stepChange']['to']}"
            why = f" {item['error']['code']}" if item["error"] else ""
            return f"{item['stepName']}#{item['attempt']} {change}{why}"
        case {"__typename": "LogLinesAppended"}:
            return f"lines {item['lines'][0]['number']}-{item['lines'][-1]['number']}"
        case {"__typename": "FlowRunStatusChanged"}:
            return f"{item['change']['from']}>{item['change']['to']}"
    return str(item["__typename"])


@pytest.fixture
async def watcher(worker: WorkerHarness) -> AsyncIterator[Watcher]:
    hub = Hub(worker.database)
    yield Watcher(worker, hub)
    await hub.close()


async def fail() -> None:
    raise StepError("DOWN", "It is down.")


async def work_off(worker: WorkerHarness, **actions: Callable[..., Any]) -> None:
    executor = await worker.executor(**actions)
    while claimed := await worker.database.write(claims.claim, 10, LEASE):
        for each in claimed:
            await executor.execute(each)


async def from_the_beginning(watcher: Watcher) -> str:
    """A cursor before all that happens next."""
    run_id = await watcher.engine.start(await watcher.engine.publish(transform("x", 1)))
    async with aclosing(watcher.events(encode_run_id(run_id))) as stream:
        cursor: str = (await anext(stream))["cursor"]
    await watcher.engine.database.write(cancellation.stop, run_id, "Not this one")
    return cursor


async def complete(watcher: Watcher, run_id: UUID) -> None:
    """Waits until the events can be delivered, which writing transactions may delay."""
    last = encode_position((await watcher.engine.events(run_id))[-1].seq)
    async with aclosing(watcher.events(encode_run_id(run_id), encode_position(0))) as stream:
        async for item in stream:
            if item["cursor"] == last:
                return


@asynccontextmanager
async def live(watcher: Watcher, run_id: UUID) -> AsyncIterator[Callable[[], Any]]:
    """Yields the items from now on, one after the other."""
    async with asyncio.timeout(PATIENCE):
        await complete(watcher, run_id)
    async with asyncio.timeout(PATIENCE), aclosing(watcher.events(encode_run_id(run_id))) as stream:
        assert short(await anext(stream)) == "CaughtUp"
        yield lambda: anext(stream, None)


EXPECTED = [
    "None>QUEUED",
    "QUEUED>RUNNING",
    "a#1 PENDING>RUNNING",
    "lines 1-1",
    "a#1 RUNNING>PENDING DOWN",
    "a#2 PENDING>RUNNING",
    "lines 2-2",
    "a#2 RUNNING>FAILED DOWN",
    "RUNNING>FAILED",
]


@pytest.fixture
async def failed(worker: WorkerHarness, watcher: Watcher) -> tuple[UUID, str]:
    """A run that failed at its second try, of which all was item_of once, and a cursor from before it was created."""
    cursor = await from_the_beginning(watcher)
    run_id = await worker.start(await worker.publish(python("a", "fail", retry=AGAIN)))
    await work_off(worker, fail=fail)
    await worker.change(run_id, due_at=clock.now())
    await work_off(worker, fail=fail)
    assert [short(item) for item in await watcher.all(run_id, cursor) if short(item) != "CaughtUp"] == EXPECTED
    return run_id, cursor


async def test_all_that_was_missed_of_a_run_that_ended(watcher: Watcher, failed: tuple[UUID, str]) -> None:
    run_id, cursor = failed
    items = await watcher.all(run_id, cursor)
    assert [short(item) for item in items] == [*EXPECTED, "CaughtUp"]
    assert {item["runId"] for item in items[:-1]} == {encode_run_id(run_id)}
    assert items[3]["lines"][0]["message"].startswith("Attempt 1 failed; retrying")
    assert items[2]["step"] == {"name": "a", "attempts": [{"number": 1}, {"number": 2}]}


async def test_stream_resumes_from_every_cursor(watcher: Watcher, failed: tuple[UUID, str]) -> None:
    run_id, cursor = failed
    items = await watcher.all(run_id, cursor)
    for number, item in enumerate(items):
        rest = await watcher.all(run_id, item["cursor"])
        assert [short(each) for each in rest] == [*EXPECTED[number + 1 :], "CaughtUp"]


async def test_events_are_delivered_live_until_the_end(worker: WorkerHarness, watcher: Watcher) -> None:
    run_id = await worker.start(await worker.publish(ASK, transform("no", 1, when="{{ false }}")))
    async with live(watcher, run_id) as following:
        await work_off(worker)
        begun = [short(await following()) for _ in range(4)]
        assert begun == ["QUEUED>RUNNING", "lines 1-1", "ask#1 PENDING>PAUSED", "RUNNING>PAUSED"]
        request = await worker.database.read(input_requests.of_step, run_id, 0)
        await worker.database.write(input_requests.answer, request.id, input_requests.Response("true"))
        await worker.database.write(transitions.resume, run_id, "Answered")
        await work_off(worker)
        assert [short(await following()) for _ in range(5)] == [
            "PAUSED>RUNNING",
            "lines 2-2",
            "ask#1 PAUSED>SUCCEEDED",
            "no#None PENDING>SKIPPED",
            "RUNNING>SUCCEEDED",
        ]
        assert await following() is None


async def test_a_run_that_is_cancelled_ends_its_stream(worker: WorkerHarness, watcher: Watcher) -> None:
    run_id = await worker.start(await worker.publish(ASK))
    await work_off(worker)
    async with live(watcher, run_id) as following:
        await worker.database.write(cancellation.stop, run_id, "Cancelled")
        assert [short(await following()) for _ in range(2)] == ["ask#1 PAUSED>STOPPED", "PAUSED>STOPPED"]
        assert await following() is None


async def test_events_of_other_runs_are_not_delivered(worker: WorkerHarness, watcher: Watcher) -> None:
    run_id, other = await worker.start_many(await worker.publish(transform("a", 1)), 2)
    async with live(watcher, run_id) as following:
        await worker.database.write(cancellation.stop, other, "Cancelled")
        await worker.database.write(cancellation.stop, run_id, "Cancelled")
        assert short(await following()) == "QUEUED>STOPPED"
        assert await following() is None


async def test_without_a_cursor_a_run_that_ended_is_only_caught_up_with(
    watcher: Watcher, failed: tuple[UUID, str]
) -> None:
    assert [short(item) for item in await watcher.all(failed[0])] == ["CaughtUp"]


async def test_many_lines_are_delivered_in_several_events(worker: WorkerHarness, watcher: Watcher) -> None:
    async def talk(ctx: Any) -> None:
        for number in range(LINES_IN_EVENT + 50):
            ctx.log(f"line {number + 1}")

    cursor = await from_the_beginning(watcher)
    run_id = await worker.execute(await worker.publish(python("talk")), talk=talk)
    portions = [item["lines"] for item in await watcher.all(run_id, cursor) if "lines" in item]
    assert [len(portion) for portion in portions] == [LINES_IN_EVENT, 50]
    log = [line for portion in portions for line in portion]
    assert [line["number"] for line in log] == list(range(1, LINES_IN_EVENT + 51))
    assert [line["message"] for line in log] == [f"line {number}" for number in range(1, LINES_IN_EVENT + 51)]


async def test_run_that_the_viewer_cannot_see_is_not_found(worker: WorkerHarness, watcher: Watcher) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    assert await watcher.code(encode_run_id(run_id), project=ids.new_uuid()) == "RUN_NOT_FOUND"
    assert await watcher.code(ids.encode(IdKind.RUN, ids.new_uuid())) == "RUN_NOT_FOUND"
    assert await watcher.code(ids.encode(IdKind.FLOW, ids.new_uuid())) == "INVALID_ID"
    assert await watcher.code(encode_run_id(run_id), "nonsense") == "INVALID_CURSOR"
