"""Tickets of due runs: written with them, dropped when stale, replaced when lost."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pgqueuer.adapters.persistence.queries import Queries
from sqlalchemy import text, update

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.queue import tickets
from db.runs import step_journal, transitions
from db.runs.step_journal import Claimed
from domain import clock
from domain.enums import RunStatus, TriggerMethod
from tests.support.clock import START, FakeClock
from tests.support.worker import LEASE, Flow, WorkerHarness, transform

EVER = datetime.min.replace(year=1970, tzinfo=START.tzinfo)
SECOND = timedelta(seconds=1)


@pytest.fixture
def dialect() -> str:
    return "postgresql"


@pytest.fixture
async def worker(database: Database, fake_clock: FakeClock) -> WorkerHarness:
    return await WorkerHarness.on(database)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1))


async def waiting(database: Database) -> list[tuple[str, datetime, int]]:
    """The tickets there are: run and epoch, when they are due, and their priority."""
    query = "SELECT convert_from(payload, 'UTF8'), execute_after, priority FROM pgqueuer ORDER BY id"
    return [tuple(row) for row in await database.read(lambda conn: conn.execute(text(query)).all())]


async def forget(database: Database) -> None:
    """Lose all tickets, as a crash of the server does."""
    await database.write(lambda uow: uow.conn.execute(text("TRUNCATE pgqueuer")))


async def claim(database: Database, at_most: int = 10) -> list[UUID]:
    return [each.lease.run_id for each in await claims(database, at_most)]


async def claims(database: Database, at_most: int = 10) -> Sequence[Claimed]:
    return await database.write(step_journal.claim_tickets, at_most, LEASE)


async def sweep(database: Database, since: datetime = EVER) -> int:
    return await database.write(tickets.sweep, since, clock.now())


# Written in the transaction of the run


async def test_a_new_run_has_a_ticket(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    assert await waiting(worker.database) == [(f"{run_id}:1", START, tickets.NEW)]


async def test_the_runs_of_one_transaction_get_their_tickets_together(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await worker.start_many(flow, 50)
    assert [ticket for ticket, *_ in await waiting(worker.database)] == [f"{run_id}:1" for run_id in run_ids]


async def test_a_run_that_was_rolled_back_leaves_none(worker: WorkerHarness, flow: Flow) -> None:
    def fail(uow: UnitOfWork) -> None:
        worker._create(uow, flow, {})
        raise RuntimeError("a bug")

    for _ in range(3):  # connections are used again
        with pytest.raises(RuntimeError, match="a bug"):
            await worker.database.write(fail)
    kept = await worker.start(flow)
    assert [ticket for ticket, *_ in await waiting(worker.database)] == [f"{kept}:1"]


async def test_a_run_handed_back_has_a_ticket_for_when_it_is_due(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claims(worker.database)
    assert await waiting(worker.database) == []
    await worker.database.write(step_journal.snooze, claimed.lease, None, START + 7 * SECOND)
    assert await waiting(worker.database) == [(f"{run_id}:2", START + 7 * SECOND, tickets.UNDER_WAY)]


@pytest.mark.parametrize("due_at", [None, START + 60 * SECOND])
async def test_a_paused_run_has_a_ticket_only_for_when_its_pause_ends(
    worker: WorkerHarness, flow: Flow, due_at: datetime | None
) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claims(worker.database)
    assert await worker.database.write(transitions.pause, claimed.lease, "Waiting", due_at)
    expected = [] if due_at is None else [(f"{run_id}:2", due_at, tickets.UNDER_WAY)]
    assert await waiting(worker.database) == expected
    assert await worker.database.write(transitions.resume, run_id, "Answered")
    assert await waiting(worker.database) == [*expected, (f"{run_id}:3", START, tickets.UNDER_WAY)]
    assert await claim(worker.database) == [run_id]


async def test_a_released_run_has_a_ticket_again(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claims(worker.database)
    await worker.database.write(step_journal.release, [claimed.lease])
    assert [ticket for ticket, *_ in await waiting(worker.database)] == [f"{run_id}:1"]
    assert await claim(worker.database) == [run_id]


# Claimed


async def test_a_ticket_is_taken_once(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await worker.start_many(flow, 40)
    taken = await asyncio.gather(*(claim(worker.database, 10) for _ in range(8)))
    rest = [await claim(worker.database, 10) for _ in range(4)]
    assert sorted(run_id for each in [*taken, *rest] for run_id in each) == run_ids
    assert await waiting(worker.database) == []


async def test_a_ticket_that_is_not_due_waits(worker: WorkerHarness, flow: Flow, fake_clock: FakeClock) -> None:
    run_id = await worker.start(flow)
    (claimed,) = await claims(worker.database)
    await worker.database.write(step_journal.snooze, claimed.lease, None, START + 7 * SECOND)
    assert await claim(worker.database) == []
    assert await worker.database.read(tickets.next_due) == START + 7 * SECOND
    await fake_clock.advance(7)
    assert await claim(worker.database) == [run_id]


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 2, "due_at": None},
        {"status": RunStatus.STOPPED, "due_at": None},
        {"lease_token": uuid4(), "due_at": START + LEASE},
    ],
)
async def test_a_stale_ticket_is_dropped(worker: WorkerHarness, flow: Flow, changed: dict[str, Any]) -> None:
    run_id = await worker.start(flow)
    await worker.change(run_id, **changed)
    before = await worker.everything(run_id)
    assert await claim(worker.database) == []
    assert await waiting(worker.database) == []
    assert await worker.everything(run_id) == before


async def test_the_ticket_of_a_run_that_is_being_written_is_not_waited_for_and_stays(
    worker: WorkerHarness, flow: Flow, database_url: str
) -> None:
    busy, free = await worker.start_many(flow, 2)
    other = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    async with other.transaction():
        await other.execute("SELECT FROM flow_run WHERE id = $1 FOR UPDATE", busy)
        assert await claim(worker.database) == [free]
        assert [ticket for ticket, *_ in await waiting(worker.database)] == [f"{busy}:1"]
    await other.close()
    assert await claim(worker.database) == [busy]


async def test_a_retry_by_hand_goes_before_runs_under_way_and_these_before_new_ones(
    worker: WorkerHarness, flow: Flow
) -> None:
    begun = await worker.start(flow)
    (claimed,) = await claims(worker.database)
    new = await worker.start_many(flow, 3)
    await worker.database.write(step_journal.snooze, claimed.lease, None, START)
    retried = await worker.start(flow, trigger_method=TriggerMethod.RETRY)
    assert [await claim(worker.database, 1) for _ in range(3)] == [[retried], [begun], [new[0]]]
    assert await claim(worker.database) == new[1:]


# Lost


async def test_lost_tickets_are_replaced_and_no_run_gets_two(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await worker.start_many(flow, 3)
    assert await sweep(worker.database) == 0
    await forget(worker.database)
    assert await sweep(worker.database) == 3
    assert await sweep(worker.database) == 0
    assert await claim(worker.database) == run_ids


async def test_sweeps_at_the_same_time_write_each_ticket_once(worker: WorkerHarness, flow: Flow) -> None:
    await worker.start_many(flow, 200)
    await forget(worker.database)
    assert sum(await asyncio.gather(*(sweep(worker.database) for _ in range(5)))) == 200
    assert len(await waiting(worker.database)) == 200


async def test_a_sweep_gives_a_ticket_to_the_run_of_a_lost_worker_when_its_lease_has_ended(
    worker: WorkerHarness, flow: Flow, fake_clock: FakeClock
) -> None:
    run_id = await worker.start(flow)
    await claims(worker.database)
    await fake_clock.advance(LEASE.total_seconds() - 0.1)
    assert await sweep(worker.database) == 0
    await fake_clock.advance(0.1)
    assert await sweep(worker.database, since=clock.now() - SECOND) == 1
    assert await claim(worker.database) == [run_id]
    assert (await worker.run(run_id)).interruptions == 1


async def test_a_sweep_of_what_became_due_lately_leaves_the_rest_alone(
    worker: WorkerHarness, flow: Flow, fake_clock: FakeClock
) -> None:
    await worker.start(flow)
    await forget(worker.database)
    await fake_clock.advance(60)
    assert await sweep(worker.database, since=clock.now() - SECOND) == 0
    assert await sweep(worker.database) == 1


async def test_tickets_without_a_run_behind_them_and_old_rows_of_the_log_are_removed(
    worker: WorkerHarness, flow: Flow
) -> None:
    gone, kept = await worker.start_many(flow, 2)
    orphan = update(table(FlowRun)).where(table(FlowRun).c.id == gone).values(due_at=None, status=RunStatus.STOPPED)
    await worker.database.write(lambda uow: uow.conn.execute(orphan))
    row = text(
        "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint) VALUES (:at, 1, 'queued', 0, 'x')"
    )
    ages = [{"at": START - timedelta(days=days)} for days in (1, 3)]
    await worker.database.write(lambda uow: uow.conn.execute(row, ages))
    await worker.database.write(tickets.prune, START, START - timedelta(days=2))
    assert [ticket for ticket, *_ in await waiting(worker.database)] == [f"{kept}:1"]
    assert (
        await worker.database.read(lambda conn: conn.execute(text("SELECT count(*) FROM pgqueuer_log")).scalar()) == 1
    )


LEFT_OUT = ("TRIGGER", "pgqueuer_ep_ea_idx", "pgqueuer_ep_prio_id_idx", "pgqueuer_priority_id_id1_idx")


async def test_the_tables_are_those_that_pgqueuer_declares_but_for_what_is_left_out(database_url: str) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    queries = Queries.from_asyncpg_connection(connection)
    plan = await queries.plan_upgrade()
    await connection.close()
    assert [name for name in LEFT_OUT if not any(name in statement for statement in plan.statements)] == []
    assert [statement for statement in plan.statements if not any(name in statement for name in LEFT_OUT)] == []
