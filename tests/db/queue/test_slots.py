"""Concurrency limits: exact under many claimers, first come first served, and without cost for other runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db.assembly import open_database
from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.queue import due, slots
from db.runs import cancellation, claims, step_journal
from db.runs.children import ChildBatch, ItemPlan
from db.runs.claims import Claimed
from db.runs.step_journal import AttemptStart
from domain.enums import RunStatus
from engine.worker.dispatcher import Dispatcher, DispatcherSettings
from tests.support.app import PATIENCE, statements
from tests.support.clock import FakeClock
from tests.support.slot_harness import LEASE, SlotHarness, finish, ids_of

_RUNS = table(FlowRun)


async def test_runs_beyond_the_limit_of_their_flow_stay_queued(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=2)
    runs = await harness.start(5)
    assert await harness.claimed() == runs[:2]
    assert await harness.statuses() == {"RUNNING": 2, "QUEUED": 3}
    assert await harness.due() == set()
    assert await database.read(due.next_due) == (await harness.run(runs[0])).due_at  # No poll is needless.


async def test_a_project_has_a_limit_over_all_its_flows(database: Database) -> None:
    harness = await SlotHarness.on(database, project=3)
    other = await harness.another_flow()
    runs = [*await harness.start(2), *await harness.start(2, other)]
    assert await harness.claimed() == runs[:3]
    assert (await harness.run(runs[3])).blocked_by == harness.published.project_id


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_finished_run_promotes_longest_waiting(database: Database, scope: str) -> None:
    harness = await SlotHarness.on(database, **{scope: 2})
    runs = await harness.start(5)
    first, second = await harness.claim()
    await harness.finish(second.lease)
    assert await harness.due() == {runs[2]}
    await harness.finish(first.lease, RunStatus.FAILED)
    assert await harness.due() == {runs[2], runs[3]}
    assert await harness.claimed() == runs[2:4]


async def test_paused_run_releases_its_slot_and_needs_one_again(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    first, second, third = await harness.start(3)
    (claim,) = await harness.claim()
    await harness.pause(claim.lease)
    (other,) = await harness.claim()
    assert other.lease.run_id == second
    assert await harness.resume(first)
    assert (await harness.run(first)).status == RunStatus.PAUSED
    assert await harness.claimed() == []
    await harness.finish(other.lease)
    assert await harness.claimed() == [third]  # it has waited longer
    assert (await harness.run(first)).blocked_by == harness.published.flow_id


async def test_answered_run_continues_at_once_if_a_slot_is_free(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    (run,) = await harness.start()
    (claim,) = await harness.claim()
    await harness.pause(claim.lease)
    assert await harness.resume(run)
    assert (await harness.run(run)).status == RunStatus.RUNNING
    await harness.start()
    assert await harness.claimed() == [run]


async def test_cancelled_run_releases_its_slot_and_leaves_the_wait_queue(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    runs = await harness.start(4)
    await harness.claim()
    assert (await database.write(cancellation.stop, runs[1], "Cancelled")).run
    stopped = await harness.run(runs[1])
    assert (stopped.blocked_since, stopped.blocked_by, stopped.finished_at is None) == (None, None, False)
    assert await harness.due() == set()
    assert (await database.write(cancellation.stop, runs[0], "Cancelled")).run
    assert await harness.due() == {runs[2]}
    assert (await database.write(cancellation.stop, runs[2], "Cancelled")).run  # It was promoted, and never started.
    assert await harness.claimed() == [runs[3]]


async def test_run_of_a_lost_worker_keeps_its_slot(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    runs = await harness.start(2)
    await harness.claim()
    await database.write(claims.release_all)
    assert await harness.claimed() == runs[:1]
    assert (await harness.run(runs[0])).interruptions == 1


async def test_thousands_of_waiting_runs_do_not_delay_claims(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    held = await harness.start(1_500)
    other = await harness.another_flow()
    free = await harness.start(3, other)
    assert await harness.claimed(10) == [held[0], *free]
    assert len(await harness.due()) == 1_500 - 1 - 1_000  # these were put aside at once
    while await harness.due():
        assert await harness.claimed(10) == []
    assert (await harness.statuses())["RUNNING"] == 4
    (late,) = await harness.start(1, other)
    assert await harness.claimed(10) == [late]


async def test_flows_of_a_limited_project_share_without_starving(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1, project=2)
    other = await harness.another_flow()
    limited, others = await harness.start(20), await harness.start(3, other)
    ran: list[UUID] = []
    while claimed := await harness.claim():
        while await harness.due() and (more := await harness.claim()):
            claimed += more
        assert len(claimed) <= 2
        ran += ids_of(claimed)
        for claim in claimed:
            await harness.finish(claim.lease)
    assert sorted(ran) == sorted([*limited, *others])
    assert set(others) <= set(ran[:8])
    assert await harness.most_at_once(harness.published.flow_id, other.flow_id) == 2
    assert await harness.most_at_once(harness.published.flow_id) == 1


async def test_waiting_parent_does_not_block_its_children(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1, project=1)
    (parent,) = await harness.start()
    (claim,) = await harness.claim()
    published = harness.published
    batch = ChildBatch(parent, published.flow_id, published.version_id, True, ItemPlan([1, 2], 10), 2, 0, 1)
    step = AttemptStart(0, "children", None, "flow", 1, '{"inputs": [1, 2]}')
    await database.write(step_journal.pause, claim.lease, None, step, "Waiting", None, None, batch)
    for _ in range(2):
        (child,) = await harness.claim()
        assert child.run.parent_run_id == parent
        assert await harness.claimed() == []
        await harness.finish(child.lease)
    assert await harness.claimed() == [parent]


async def test_lowered_limit_applies_to_later_runs(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=3)
    runs = await harness.start(6)
    claimed = await harness.claim()
    await harness.limit_flow(1)
    for claim in claimed[:2]:
        await harness.finish(claim.lease)
        assert await harness.claimed() == []
    await harness.finish(claimed[2].lease)
    assert await harness.claimed() == runs[3:4]


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_raised_limit_promotes_waiting_runs(database: Database, scope: str) -> None:
    harness = await SlotHarness.on(database, **{scope: 1})
    runs = await harness.start(6)
    await harness.claim()
    change = harness.limit_flow if scope == "flow" else harness.limit_project
    await change(3)
    assert await harness.due() == set(runs[1:3])
    assert await harness.claimed() == runs[1:3]
    await change(None)
    assert await harness.claimed() == runs[3:]


async def test_limit_of_the_flow_moves_runs_out_of_the_wait_queue_of_the_project(database: Database) -> None:
    harness = await SlotHarness.on(database, project=2)
    other = await harness.another_flow()
    mine, theirs = await harness.start(4), await harness.start(2, other)
    claimed = await harness.claim()
    assert ids_of(claimed) == mine[:2]
    await harness.limit_flow(1)
    for claim in claimed:
        await harness.finish(claim.lease)
    found: list[UUID] = []
    while await harness.due():
        found += await harness.claimed()
    assert sorted(found) == sorted([mine[2], theirs[0]])


async def test_rescue_promotes_runs_that_were_missed(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=2)
    runs = await harness.start(5)
    (first, _) = await harness.claim()
    ended = update(_RUNS).where(_RUNS.c.id == first.lease.run_id).values(status="SUCCEEDED", due_at=None)
    await database.write(lambda uow: uow.conn.execute(ended))  # past all rules
    assert await harness.due() == set()
    (line,) = await database.read(slots.wait_queues)
    assert line == (harness.published.project_id, harness.published.flow_id)
    await database.write(slots.rescue_wait_queue, *line)
    assert await harness.due() == {runs[2]}


async def test_runs_without_limits_cost_no_statement_more(database: Database) -> None:
    harness = await SlotHarness.on(database)
    await harness.start(2)
    with statements() as claim:
        claimed = await harness.claim()
    with statements() as end:
        await harness.finish(claimed[0].lease)
    counted = [each for each in [*claim.texts, *end.texts] if not each.startswith(("SAVEPOINT", "RELEASE", "BEGIN"))]
    counted = [each for each in counted if not each.startswith("SET LOCAL")]
    assert len(counted) == 3 + 3  # due, claim, event; relatives, finish, event
    assert not any("advisory" in each for each in counted)


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[list[Database]]:
    """Those of three processes."""
    opened = [open_database(database_url) for _ in range(3)]
    yield opened
    for each in opened:
        await each.close()


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_three_dispatchers_never_run_more_than_the_limit(databases: list[Database], scope: str) -> None:
    harness = await SlotHarness.on(databases[0], **{scope: 4})
    # Processes that want to write to SQLite at the same time wait for each other asleep.
    count = 60 if databases[0].dialect == "postgresql" else 30
    await harness.start(count)
    over = asyncio.Event()
    ended: list[UUID] = []
    seen: list[int] = []
    running = select(func.count()).where(_RUNS.c.status == RunStatus.RUNNING)

    def execute(database: Database) -> Callable[[Claimed], object]:
        async def work(claimed: Claimed) -> None:
            seen.append(await database.read(lambda conn: conn.execute(running).scalar_one()))
            await database.write(finish, claimed.lease)
            ended.append(claimed.lease.run_id)
            if len(ended) == count:
                over.set()

        return work

    dispatchers = [Dispatcher(each, DispatcherSettings(concurrency=16, interval=0.05)) for each in databases]
    tasks = [
        asyncio.create_task(dispatcher.run(execute(each)))  # type: ignore[arg-type]
        for dispatcher, each in zip(dispatchers, databases, strict=True)
    ]
    async with asyncio.timeout(PATIENCE):
        await over.wait()
    for dispatcher in dispatchers:
        dispatcher.stop()
    await asyncio.gather(*tasks)
    assert len(set(ended)) == count
    assert await harness.most_at_once(harness.published.flow_id) == 4
    assert max(seen) <= 4


async def test_concurrent_claims_share_free_slots(databases: list[Database]) -> None:
    harness = await SlotHarness.on(databases[0], flow=5)
    await harness.start(60)
    claimed = await asyncio.gather(*(each.write(claims.claim, 4, LEASE) for each in databases for _ in range(4)))
    assert sum(len(each) for each in claimed) <= 5
    while await harness.due():
        await harness.claim()
    assert (await harness.statuses()) == {"RUNNING": 5, "QUEUED": 55}


async def test_a_dispatcher_does_not_wait_for_its_interval(fake_clock: FakeClock, database: Database) -> None:
    fake_clock.watch(database)
    harness = await SlotHarness.on(database, flow=1)
    await harness.start(5)
    ended = asyncio.Event()
    count = 0

    async def execute(claimed: Claimed) -> None:
        nonlocal count
        await database.write(finish, claimed.lease)
        count += 1
        if count == 5:
            ended.set()

    began_at = fake_clock.now()
    dispatcher = Dispatcher(database)
    task = asyncio.create_task(dispatcher.run(execute))
    await fake_clock.happened(ended)
    assert fake_clock.now() == began_at
    dispatcher.stop()
    await fake_clock.drive(task)
