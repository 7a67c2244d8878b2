"""Statistics that follow the log: at the start, at most once a second, and computed once for all subscribers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from db.core.database import Database
from db.runs.statistics import stats
from domain.enums import RunStatus
from domain.errors import DatabaseUnavailableError
from domain.runs.run_filter import RunFilter
from domain.time import clock
from live.events import HubClosedError
from live.hub import Hub
from live.stats_feed import MAX_LOAD, Statistics, StatsFeeds, StatsSubscription
from tests.support.app import statements
from tests.support.clock import START, FakeClock
from tests.support.worker import Flow, WorkerHarness, transform


async def next_item(subscription: StatsSubscription) -> Statistics:
    (statistics,) = await subscription.batch()
    return statistics


@pytest.fixture
def still(fake_clock: FakeClock, database: Database) -> FakeClock:
    fake_clock.watch(database)
    return fake_clock


@pytest.fixture
async def worker(still: FakeClock, database: Database) -> WorkerHarness:
    return await WorkerHarness.on(database)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("only", 1))


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[StatsFeeds]:
    hub = Hub(database)
    yield StatsFeeds(database, hub)
    await hub.close()


class Follower:
    """Records when statistics are delivered, and the total number of runs."""

    def __init__(self, subscription: StatsSubscription, clock: FakeClock) -> None:
        self.totals: list[int] = []
        self.times: list[float] = []
        self.subscription = subscription
        self._clock = clock

    async def follow(self) -> None:
        while True:
            statistics = await next_item(self.subscription)
            self.totals.append(sum((await statistics.part(stats.counts)).values()))
            self.times.append((self._clock.now() - START).total_seconds())


Following = Callable[..., Any]


@pytest.fixture
async def following(feeds: StatsFeeds, still: FakeClock, database: Database) -> AsyncIterator[Following]:
    """Followers of a filter, for as long as a block lasts."""

    @asynccontextmanager
    async def follow(**fields: Any) -> AsyncIterator[Follower]:
        follower = Follower(feeds.subscribe(RunFilter(**fields)), still)
        task = asyncio.create_task(follower.follow())
        await still.settle()
        assert len(follower.totals) == 1
        yield follower
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await follower.subscription.aclose()

    yield follow
    await still.settle()
    assert feeds._feeds == {}
    assert still.timers == 0


async def test_statistics_are_delivered_at_the_start_and_after_changes(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following
) -> None:
    await worker.start(flow)
    async with following(project_ids=[worker.project_id]) as follower:
        assert follower.totals == [1]
        await still.advance(10)
        assert follower.totals == [1]
        await worker.start(flow)
        await still.advance(2)
        assert follower.totals == [1, 2]


async def test_many_changes_are_delivered_once_a_second(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following
) -> None:
    async with following() as follower:
        for _ in range(40):
            await worker.start(flow)
            await still.advance(0.1)
        await still.advance(2)
        assert min(round(end - start, 6) for start, end in pairwise(follower.times)) >= 1
        assert follower.totals == sorted(follower.totals)
        assert follower.totals[-1] == 40


async def test_statistics_that_take_long_are_read_a_twentieth_of_the_time(
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    feeds: StatsFeeds,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = database.read

    async def read_slowly(query: Any, *args: Any, **kwargs: Any) -> Any:
        if query is stats.counts:
            await clock.sleep(0.5)
        return await read(query, *args, **kwargs)

    monkeypatch.setattr(database, "read", read_slowly)
    follower = Follower(feeds.subscribe(RunFilter()), still)
    task = asyncio.create_task(follower.follow())
    for _ in range(40):
        await worker.start(flow)
        await still.advance(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await follower.subscription.aclose()
    assert len(follower.times) >= 3
    assert min(end - start for start, end in pairwise(follower.times[1:])) >= 0.5 / MAX_LOAD


@pytest.mark.parametrize("slow_one", [0, 2])
async def test_one_slow_reading_does_not_keep_old_numbers(
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    following: Following,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    slow_one: int,
) -> None:
    read, readings = database.read, 0

    async def read_slowly_once(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal readings
        if query is stats.counts:
            readings += 1
            if readings == slow_one + 1:
                still.block(0.9)
        return await read(query, *args, **kwargs)

    monkeypatch.setattr(database, "read", read_slowly_once)
    async with following() as follower:
        for _ in range(4):
            await worker.start(flow)
            await still.advance(1.5)
        assert follower.totals == [0, 1, 2, 3, 4]


async def test_changes_out_of_scope_deliver_nothing(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following, database: Database
) -> None:
    other = await WorkerHarness.on(database)
    elsewhere = await other.publish(transform("only", 1))
    second = await worker.publish(transform("only", 1))
    run_id = await worker.start(flow)
    async with (
        following(project_ids=[worker.project_id]) as of_project,
        following(flow_ids=[flow.id]) as of_flow,
        following(ids=[run_id]) as of_run,
    ):
        await other.start(elsewhere)
        await still.advance(3)
        assert (of_project.totals, of_flow.totals, of_run.totals) == ([1], [1], [1])
        await worker.start(second)
        await still.advance(3)
        assert (of_project.totals, of_flow.totals, of_run.totals) == ([1, 2], [1], [1])
        await worker.start(flow)
        await still.advance(3)
        assert (of_project.totals, of_flow.totals, of_run.totals) == ([1, 2, 3], [1, 2], [1])


async def test_run_that_ceases_to_match_delivers_statistics(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following
) -> None:
    await worker.start(flow)
    async with following(statuses=[RunStatus.QUEUED]) as follower:
        await worker.claim()
        await still.advance(3)
        assert follower.totals == [1, 0]


async def test_subscribers_of_the_same_statistics_share_the_computation(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following, feeds: StatsFeeds
) -> None:
    mine = {"project_ids": [worker.project_id], "statuses": [RunStatus.QUEUED]}
    async with following(**mine) as first, following(**mine) as second, following() as third:
        assert len(feeds._feeds) == 2
        with statements() as executed:
            await worker.start(flow)
            await still.advance(3)
        assert (first.totals, second.totals, third.totals) == ([0, 1], [0, 1], [0, 1])
        assert len([text for text in executed.texts if "run_rollup.status" in text]) == 2


async def test_later_subscriber_receives_current_statistics(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following
) -> None:
    async with following() as first:
        await still.advance(100)
        async with following() as second:
            assert second.times == [100]
            assert first.times == [0]
            await worker.start(flow)
            await still.advance(2)
            assert (first.totals, second.totals) == ([0, 1], [0, 1])


async def test_slow_subscriber_gets_the_latest_statistics(
    worker: WorkerHarness, flow: Flow, still: FakeClock, feeds: StatsFeeds
) -> None:
    subscription = feeds.subscribe(RunFilter())
    await still.drive(next_item(subscription))
    for _ in range(5):
        await worker.start(flow)
        await still.advance(2)
    latest = await still.drive(next_item(subscription))
    assert await latest.part(stats.counts) == {"QUEUED": 5}
    waiting = asyncio.ensure_future(next_item(subscription))
    await still.advance(5)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await subscription.aclose()


async def test_part_is_computed_once_even_if_a_subscriber_stops_waiting(
    worker: WorkerHarness, flow: Flow, still: FakeClock, database: Database
) -> None:
    await worker.start(flow)
    of_all = Statistics(database, RunFilter())
    with statements() as executed:
        gone, kept = (asyncio.ensure_future(of_all.part(stats.counts)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await kept == {"QUEUED": 1}
        assert gone.cancelled()
        assert await of_all.part(stats.counts) == {"QUEUED": 1}
        await of_all.part(stats.failures, 1)
        await of_all.part(stats.failures, 2)
    assert len(executed.texts) == 3


async def test_new_subscriber_gets_no_stale_statistics_after_the_clock_was_set_back(
    worker: WorkerHarness, flow: Flow, still: FakeClock, following: Following
) -> None:
    async with following():
        still.block(-3_600)
        await worker.start(flow)
        async with following() as second:
            assert second.totals == [1]


async def test_part_that_failed_for_an_unavailable_database_is_read_again(
    worker: WorkerHarness, flow: Flow, still: FakeClock, feeds: StatsFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise DatabaseUnavailableError

    await worker.start(flow)
    follower = feeds.subscribe(RunFilter())
    statistics = await still.drive(next_item(follower))
    with monkeypatch.context() as broken:
        broken.setattr(worker.database, "read", away)
        with pytest.raises(DatabaseUnavailableError):
            await statistics.part(stats.counts)
    assert await statistics.part(stats.counts) == {"QUEUED": 1}
    await follower.aclose()
    assert feeds._feeds == {}


async def test_the_end_of_the_process_ends_the_streams(still: FakeClock, database: Database) -> None:
    hub = Hub(database)
    follower = StatsFeeds(database, hub).subscribe(RunFilter())
    await still.drive(next_item(follower))
    await hub.close()
    with pytest.raises(HubClosedError):
        await next_item(follower)
