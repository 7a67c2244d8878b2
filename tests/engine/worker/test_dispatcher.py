"""What every dispatcher does: one suite for all adapters, each on the databases that it serves.

A new backend joins by an entry in BACKENDS (backends.py).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from db import flows, projects
from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from db.migrate import upgrade
from db.models import FlowRun
from db.models.types import table
from db.runs import cancellation, claims, step_journal, transitions
from db.runs.claims import Claimed
from domain.enums import RunStatus
from domain.time import clock
from engine.steps import StepContext
from engine.worker.dispatcher import Dispatcher, Execute
from tests.conftest import Dialect
from tests.engine.faults.backends import Backend, Limits, dispatcher
from tests.support.clock import START, FakeClock
from tests.support.databases.postgres import PostgresServer
from tests.support.worker import Flow, WorkerHarness, python, transform


@pytest.fixture
def dialect(case: tuple[Backend, Dialect]) -> Dialect:
    return case[1]


@dataclass
class Work:
    """Executes runs: notes when each began, holds them up while the gate is shut, then ends them."""

    worker: WorkerHarness
    began: list[tuple[UUID, datetime]] = field(default_factory=list)
    aborted: list[UUID] = field(default_factory=list)
    most_at_once: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0

    async def __call__(self, claimed: Claimed) -> None:
        self.began.append((claimed.lease.run_id, clock.now()))
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.aborted.append(claimed.lease.run_id)
            raise
        finally:
            self._under_way -= 1
        await end(self.worker.database, claimed)

    @property
    def runs(self) -> list[UUID]:
        """Those that began, in their order."""
        return [run_id for run_id, _ in self.began]

    @property
    def times(self) -> list[float]:
        """Seconds into the test at which they began."""
        return [(at - START).total_seconds() for _, at in self.began]


async def end(database: Database, claimed: Claimed) -> None:
    values = {"output": "null", "duration_ms": 0}
    await database.write(
        step_journal.finish, claimed.lease, None, RunStatus.SUCCEEDED, "Run succeeded", values, is_retry=False
    )


@pytest.fixture
def work(worker: WorkerHarness) -> Work:
    """Work with an open gate."""
    made = Work(worker)
    made.gate.set()
    return made


@pytest.fixture
def held_up(worker: WorkerHarness) -> Work:
    """Work with a shut gate."""
    return Work(worker)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1))


@asynccontextmanager
async def at_work(dispatcher: Dispatcher, execute: Execute) -> AsyncIterator[asyncio.Task[None]]:
    """A dispatcher that runs as long as the block, unless it ends before."""
    task = asyncio.create_task(dispatcher.run(execute))
    try:
        yield task
    finally:
        dispatcher.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# What is executed, and when


async def test_runs_that_wait_are_executed_at_the_start(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 5)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        assert sorted(work.runs) == run_ids
        assert {(await worker.run(run_id)).status for run_id in run_ids} == {"SUCCEEDED"}


async def test_a_new_run_is_executed_without_waiting_for_the_next_look(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        run_id = await worker.start(flow)
        await still.settle()
        assert work.began == [(run_id, START)]


async def test_a_run_that_another_process_wrote_is_noticed(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work, database_url: str
) -> None:
    other = open_database(database_url)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
        run_id = await WorkerHarness(other, worker.project_id).start(flow)
        await still.advance(backend.latency)
        assert work.runs == [run_id]
    await other.close()


async def test_what_is_due_longest_comes_first(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 4)
    ages = [3, 9, 1, 5]
    for run_id, age in zip(run_ids, ages, strict=True):
        await worker.change(run_id, due_at=START - timedelta(seconds=age))
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), work):
        await still.settle()
        assert work.runs == [run_ids[1], run_ids[3], run_ids[0], run_ids[2]]


async def test_a_run_is_executed_when_it_is_due_and_not_before(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    soon, later = await worker.start_many(flow, 2)
    await worker.change(soon, due_at=START + timedelta(seconds=0.4))
    await worker.change(later, due_at=START + timedelta(seconds=7.25))
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(20)
        assert work.runs == [soon, later]
        assert work.times == [0.4, 7.25]


async def test_no_more_runs_than_allowed_are_under_way(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_ids = await worker.start_many(flow, 10)
    async with at_work(backend.create(worker.database, Limits(concurrency=3)), held_up):
        await still.advance(30)
        assert len(held_up.began) == 3
        held_up.gate.set()
        await still.settle()
        assert sorted(held_up.runs) == run_ids
        assert held_up.most_at_once == 3


async def test_a_free_place_is_taken_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await worker.start_many(flow, 2)
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), held_up):
        await still.settle()
        held_up.gate.set()
        await still.settle()
        assert held_up.times == [0, 0]


async def test_a_fault_of_one_run_holds_up_no_other(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    first = await worker.start(flow)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first and not work.began:
            work.began.append((first, clock.now()))
            raise RuntimeError("a bug")
        await work(claimed)

    async with at_work(backend.create(worker.database, Limits(lease=15)), execute):
        await still.settle()
        second = await worker.start(flow)
        await still.advance(14)
        assert work.runs == [first, second]
        await still.advance(2)
        assert work.runs == [first, second, first]
    assert "a bug" in caplog.text


async def test_a_few_free_places_do_not_stay_free_while_the_others_are_taken_for_long(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    """A dispatcher may wait a moment, and then claim for several places at once."""
    first, *_ = run_ids = await worker.start_many(flow, 17)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first:
            await end(worker.database, claimed)
        else:
            await held_up(claimed)

    async with at_work(backend.create(worker.database, Limits(concurrency=16)), execute):
        await still.advance(0.5)
        await worker.start(flow)
        await still.advance(0.6)
        assert set(held_up.runs) == set(run_ids[1:])


# Leases


async def test_the_lease_of_a_run_under_way_is_kept(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, work: Work, database_url: str
) -> None:
    other = open_database(database_url)
    still.watch(other)
    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(lease=15)), held_up):
        await still.settle()
        async with at_work(backend.create(other, Limits(lease=15)), work):
            await still.advance(200)
            assert work.began == []
            assert (await worker.run(run_id)).due_at > still.now()
            held_up.gate.set()
            await still.settle()
    await other.close()
    run = await worker.run(run_id)
    assert (run.status, run.interruptions, run.due_at) == ("SUCCEEDED", 0, None)


async def test_the_run_of_a_lost_worker_is_taken_over_when_its_lease_ends(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    run_id = await worker.start(flow)
    await worker.claim(timedelta(seconds=15))
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(14.9)
        assert work.began == []
        await still.advance(1)
        assert work.runs == [run_id]
    run = await worker.run(run_id)
    assert (run.status, run.interruptions) == ("SUCCEEDED", 1)


async def test_a_run_that_somebody_else_ended_is_broken_off(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    ended, other = await worker.start_many(flow, 2)
    async with at_work(backend.create(worker.database, Limits(lease=15)), held_up):
        await still.settle()
        await worker.change(ended, status=RunStatus.STOPPED, due_at=None, lease_token=None)
        await still.advance(5)
        assert held_up.aborted == [ended]
        held_up.gate.set()
        await still.settle()
        assert (await worker.run(other)).status == "SUCCEEDED"


async def test_a_run_that_another_worker_has_is_broken_off(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(concurrency=1)), held_up):
        await still.settle()
        await worker.change(run_id, due_at=START)
        other = await worker.claim(timedelta(hours=1))
        await still.advance(5)
        assert held_up.aborted == [run_id]
        held_up.gate.set()
        second = await worker.start(flow)
        await still.settle()
        assert held_up.runs == [run_id, second]
    await end(worker.database, other)
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_a_run_that_ends_while_its_lease_is_looked_after_is_not_taken_for_lost(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end is committed before its task is over, and looks may fall in between."""
    message, aborted = asyncio.Event(), []

    async def execute(claimed: Claimed) -> None:
        await end(worker.database, claimed)
        try:
            await message.wait()
        except asyncio.CancelledError:
            aborted.append(claimed.lease.run_id)
            raise

    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits(lease=15)), execute):
        await still.advance(1.5)
        # Whoever stops another run has this worker look at once.
        await worker.database.write(lambda uow: uow.publish_after_commit(pubsub.RUNS_STOPPED))
        await still.settle()
        message.set()
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert aborted == []
    assert "lease" not in caplog.text.lower()


# Limits of concurrency: how many may be RUNNING at once of a flow and of a project


async def limit(worker: WorkerHarness, most: int | None, flow: Flow | None = None) -> None:
    """Limit a flow, or else the project."""
    values = {"max_concurrent_runs": most}
    if flow is not None:
        await worker.database.write(flows.change, flow.id, values)
    else:
        await worker.database.write(projects.change, worker.project_id, values)


async def start_apart(worker: WorkerHarness, flow: Flow, count: int, still: FakeClock) -> list[UUID]:
    """New runs, each due a moment later than the one before."""
    run_ids = []
    for _ in range(count):
        run_ids.append(await worker.start(flow))
        still.block(0.001)
    return run_ids


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_a_limit_holds_and_a_place_that_becomes_free_is_taken_at_once_by_who_waits_longest(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, scope: str
) -> None:
    await limit(worker, 2, flow if scope == "flow" else None)
    run_ids = await start_apart(worker, flow, 7, still)
    before = still.now()
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.advance(60)
        assert held_up.runs == run_ids[:2]
        assert {(await worker.run(run_id)).status for run_id in run_ids[2:]} == {"QUEUED"}
        opened = still.now()
        held_up.gate.set()
        await still.settle()
    assert held_up.runs == run_ids
    assert held_up.most_at_once == 2
    assert [at for _, at in held_up.began] == [before] * 2 + [opened] * 5


async def test_runs_without_a_limit_do_not_wait_behind_those_of_a_full_flow(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    limited = await worker.start_many(flow, 300)
    still.block(1)
    free = await worker.start_many(await worker.publish(transform("a", 1)), 5)
    began_at = still.now()
    async with at_work(backend.create(worker.database, Limits(concurrency=20)), held_up):
        await still.settle()
        assert len(set(held_up.runs) & set(limited)) == 1
        assert set(free) < set(held_up.runs)
        assert {at for _, at in held_up.began} == {began_at}


async def test_no_flow_of_a_limited_project_starves(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await limit(worker, 1)
    await start_apart(worker, flow, 20, still)
    late = await worker.start(await worker.publish(transform("a", 1)))
    for _ in range(3):
        still.block(0.001)
        await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
    assert work.runs.index(late) == 20
    assert len(work.runs) == 24
    assert work.most_at_once == 1


async def test_the_place_of_a_lost_worker_comes_back(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)
    lost = await worker.claim(timedelta(seconds=15))
    assert lost.lease.run_id == first
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.advance(14)
        assert work.began == []
        await still.advance(2)
        assert work.runs == [first, second]
    assert {(await worker.run(run_id)).status for run_id in (first, second)} == {"SUCCEEDED"}


async def test_the_place_of_a_run_that_was_cancelled_is_taken_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.settle()
        now = still.now()
        assert (await worker.database.write(cancellation.stop, first, "Cancelled")).run
        await still.settle()
        assert held_up.aborted == [first]
        assert held_up.began[1:] == [(second, now)]


async def test_a_limit_that_is_raised_lets_runs_go_on_at_once(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    run_ids = await start_apart(worker, flow, 6, still)
    async with at_work(backend.create(worker.database, Limits()), held_up):
        await still.settle()
        await limit(worker, 3, flow)
        await still.settle()
        assert held_up.runs == run_ids[:3]
        await limit(worker, None, flow)
        await still.settle()
        assert held_up.runs == run_ids


async def test_a_paused_run_leaves_its_place_and_goes_on_when_there_is_one_again(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    await limit(worker, 1, flow)
    first, second = await start_apart(worker, flow, 2, still)

    async def execute(claimed: Claimed) -> None:
        if claimed.lease.run_id == first and not claimed.steps:
            asks = step_journal.AttemptStart(0, "a", None, "humanInput", 1, "null")
            await worker.database.write(step_journal.pause, claimed.lease, None, asks, "Waiting", None)
        else:
            await held_up(claimed)

    async with at_work(backend.create(worker.database, Limits()), execute):
        await still.settle()
        assert held_up.runs == [second]
        assert await worker.database.write(transitions.resume, first, "Answered")
        await still.advance(30)
        assert held_up.runs == [second]
        assert (await worker.run(first)).status == "PAUSED"
        held_up.gate.set()
        await still.settle()
        assert held_up.runs == [second, first]
        assert held_up.most_at_once == 1


# The end


async def test_an_idle_dispatcher_stops_at_once(
    backend: Backend, worker: WorkerHarness, still: FakeClock, work: Work
) -> None:
    dispatcher = backend.create(worker.database, Limits())
    async with at_work(dispatcher, work) as task:
        await still.settle()
        assert not task.done()
        dispatcher.stop()
        await still.settle()
        assert task.done()
        await task
    assert still.timers == 0


async def test_a_dispatcher_stopped_before_it_runs_claims_nothing(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, work: Work
) -> None:
    await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits())
    dispatcher.stop()
    async with at_work(dispatcher, work) as task:
        await still.settle()
        assert task.done()
    assert work.began == []


async def test_at_its_stop_the_runs_under_way_may_end_within_the_grace(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits(grace=10))
    async with at_work(dispatcher, held_up) as task:
        await still.settle()
        dispatcher.stop()
        await worker.start(flow)
        await still.advance(9.9)
        assert not task.done()
        held_up.gate.set()
        await still.settle()
        assert task.done()
    assert held_up.runs == [run_id]
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_a_lease_is_kept_through_a_grace_that_is_longer(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work
) -> None:
    run_id = await worker.start(flow)
    dispatcher = backend.create(worker.database, Limits(lease=3, grace=60))
    async with at_work(dispatcher, held_up):
        await still.settle()
        dispatcher.stop()
        await still.advance(50)
        assert (await worker.run(run_id)).due_at > still.now()


async def test_what_does_not_end_within_the_grace_is_handed_back_and_goes_on_in_the_next_dispatcher(
    backend: Backend, worker: WorkerHarness, flow: Flow, still: FakeClock, held_up: Work, work: Work
) -> None:
    run_ids = await worker.start_many(flow, 3)
    dispatcher = backend.create(worker.database, Limits(grace=10))
    async with at_work(dispatcher, held_up) as task:
        await still.settle()
        dispatcher.stop()
        await still.advance(10)
        assert task.done()
    assert sorted(held_up.aborted) == run_ids
    for run_id in run_ids:
        run = await worker.run(run_id)
        assert (run.status, run.due_at, run.lease_token, run.interruptions) == ("RUNNING", still.now(), None, 0)
    async with at_work(backend.create(worker.database, Limits()), work):
        await still.settle()
    assert sorted(work.runs) == run_ids
    assert {(await worker.run(run_id)).interruptions for run_id in run_ids} == {0}


# Faults


async def test_a_dispatcher_that_fails_leaves_nothing_under_way(
    worker: WorkerHarness,
    flow: Flow,
    still: FakeClock,
    held_up: Work,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody would keep the leases of what goes on without it."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    run_id = await worker.start(flow)
    async with at_work(backend.create(worker.database, Limits()), held_up) as task:
        await still.settle()
        monkeypatch.setattr(claims, "claim", broken)
        await still.advance(2)
        assert task.done()
        assert "a bug" in str(task.exception())
        assert held_up.aborted == [run_id]
        assert still.timers == 0


async def test_a_database_that_is_away_for_a_while_is_waited_for(
    own_postgres: PostgresServer, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(upgrade, own_postgres.url())
    database = open_database(own_postgres.url())
    fake_clock.watch(database)
    worker = await WorkerHarness.on(database)
    work = Work(worker)
    flow = await worker.publish(transform("a", 1))
    before = await worker.start(flow)
    async with at_work(dispatcher(database, Limits(lease=15)), work) as task:
        await fake_clock.settle()
        await asyncio.to_thread(own_postgres.stop)
        await fake_clock.advance(6)
        assert not task.done()
        leases = [vars(record) for record in caplog.records if vars(record).get("service") == "leases"]
        assert (leases[0]["message"], leases[0]["runs"]) == ("database unavailable", 1)
        await asyncio.to_thread(own_postgres.start)
        work.gate.set()
        await fake_clock.settle()
        assert (await worker.run(before)).status == "SUCCEEDED"
        after = await worker.start(flow)
        await fake_clock.advance(1)
        assert (await worker.run(after)).status == "SUCCEEDED"
    await database.close()
    assert work.runs == [before, after]


# Many runs, two processes' worth of dispatchers


@dataclass
class Crowd:
    """Counts what is executed, over several executors."""

    expected: int
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    claims: Counter[int] = field(default_factory=Counter)
    all_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def act(self, ctx: StepContext) -> int:
        self.calls[ctx.run_id, ctx.step] += 1
        await asyncio.sleep(0)
        return ctx.attempt

    def counting(self, number: int, execute: Execute) -> Execute:
        async def counted(claimed: Claimed) -> None:
            await execute(claimed)
            self.claims[number] += 1
            if self.claims.total() >= self.expected:
                self.all_done.set()

        return counted


async def test_two_dispatchers_on_one_database_execute_each_of_300_runs_once(
    backend: Backend, worker: WorkerHarness, database_url: str
) -> None:
    flow = await worker.publish(python("a", "act"), python("b", "act"))
    run_ids = await worker.start_many(flow, 300)
    crowd = Crowd(expected=300)
    second = open_database(database_url)
    dispatchers: list[Dispatcher] = []
    tasks: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        for number, database in enumerate((worker.database, second)):
            host = WorkerHarness(database, worker.project_id, stack)
            execute = crowd.counting(number, (await host.executor(act=crowd.act)).execute)
            dispatchers.append(backend.create(database, Limits(concurrency=10)))
            tasks.append(await stack.enter_async_context(at_work(dispatchers[-1], execute)))
        async with asyncio.timeout(60):
            await crowd.all_done.wait()
            for dispatcher in dispatchers:
                dispatcher.stop()
            await asyncio.gather(*tasks)
    await second.close()
    assert crowd.claims.total() == 300
    assert set(crowd.claims) == {0, 1}
    assert set(crowd.calls.values()) == {1}
    assert len(crowd.calls) == 600
    assert await totals(worker, run_ids) == {"SUCCEEDED": 300, "steps": 600, "attempts": 600, "interruptions": 0}


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_three_dispatchers_never_run_more_than_the_limit(
    backend: Backend, worker: WorkerHarness, flow: Flow, database_url: str, scope: str
) -> None:
    await limit(worker, 4, flow if scope == "flow" else None)
    count = 90 if worker.database.dialect == "postgresql" else 40
    await worker.start_many(flow, count)
    databases = [worker.database, open_database(database_url), open_database(database_url)]
    all_done = asyncio.Event()
    ended: list[UUID] = []
    seen: list[int] = []

    def executing(database: Database) -> Execute:
        async def execute(claimed: Claimed) -> None:
            seen.append(await database.read(running))
            await end(database, claimed)
            ended.append(claimed.lease.run_id)
            if len(ended) == count:
                all_done.set()

        return execute

    async with AsyncExitStack() as stack:
        for database in databases:
            dispatcher = backend.create(database, Limits(concurrency=16))
            await stack.enter_async_context(at_work(dispatcher, executing(database)))
        async with asyncio.timeout(60):
            await all_done.wait()
    for database in databases[1:]:
        await database.close()
    assert len(set(ended)) == count
    assert 1 <= max(seen) <= 4


def running(conn: Connection) -> int:
    runs = table(FlowRun)
    return conn.execute(select(func.count()).where(runs.c.status == RunStatus.RUNNING)).scalar_one()


async def totals(worker: WorkerHarness, run_ids: list[UUID]) -> dict[str, int]:
    found: Counter[str] = Counter(steps=0, attempts=0, interruptions=0)
    for run_id in run_ids:
        run = await worker.run(run_id)
        found[run.status] += 1
        found["interruptions"] += run.interruptions
        found["steps"] += len(await worker.steps(run_id))
        found["attempts"] += len(await worker.attempts(run_id))
    return dict(found)
