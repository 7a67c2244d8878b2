"""Locks of families: no deadlock occurs, and a cancellation does not wait for all runs that end at the same time."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import cancellation, claims, families, step_journal
from db.runs.children import ChildBatch, ItemPlan
from db.runs.claims import Claimed, LeaseLostError
from db.runs.step_journal import AttemptStart
from db.runs.transitions import Lease
from domain.enums import RunStatus
from domain.runs.state_machine import LIVE
from tests.support import factory
from tests.support.factory import PublishedFlow

LEASE = timedelta(minutes=10)
_run = table(FlowRun).c
ITEMS = 32
"""Items of each of the nested loops: with their children, more than a thousand runs end."""
FEW_ITEMS = 12
"""Items with which as many runs end at a time as there are connections, and twelve times as many in all."""


async def claim_all(database: Database) -> list[Claimed]:
    found: list[Claimed] = []
    while more := await database.write(claims.claim, 200, LEASE):
        found += more
    return found


async def pause_for_children(database: Database, published: PublishedFlow, claimed: Claimed, items: int) -> None:
    """Makes a run wait for the children of a loop, all of which are created."""
    root = claimed.run.root_run_id
    plan = ItemPlan(list(range(items)), 100)
    batch = ChildBatch(root, published.flow_id, published.version_id, True, plan, items, 0, 1)
    inputs = ", ".join(map(str, range(items)))
    step = AttemptStart(0, "loop", None, "flow", 1, f'{{"inputs": [{inputs}], "concurrency": 100}}')
    await database.write(step_journal.pause, claimed.lease, None, step, "Waiting", None, None, batch)


async def nested_loops(database: Database, published: PublishedFlow, items: int = ITEMS) -> tuple[UUID, list[Claimed]]:
    """Returns a run whose children are loops themselves, and the claimed children of these."""
    root = await database.write(factory.create_run, published)
    for _ in range(2):
        for claimed in await claim_all(database):
            await pause_for_children(database, published, claimed, items)
    return root, await claim_all(database)


class Enders:
    """Ends runs, as many at the same time as the connections of some workers allow."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.connections = asyncio.Semaphore(12)

    async def end(self, claimed: Claimed, status: RunStatus) -> bool:
        """Ends a run as its worker. Returns False if the lease was lost."""
        async with self.connections:
            return await end(self.database, claimed, status)

    async def cancel(self, run_id: UUID) -> bool:
        """Cancels a run. Returns False if it had ended."""
        async with self.connections:
            return (await self.database.write(cancellation.stop, run_id, "Cancelled")).run

    async def renew(self, leases: list[Lease]) -> None:
        """Renews leases; lost leases stay lost."""
        async with self.connections:
            await self.database.write(claims.renew, leases, LEASE)


async def end(database: Database, claimed: Claimed, status: RunStatus) -> bool:
    """Ends a run as its worker. Returns False if the lease was lost."""
    values = {"duration_ms": 1}
    try:
        await database.write(step_journal.finish, claimed.lease, None, status, "Ended", values, is_retry=False)
    except LeaseLostError:
        return False
    return True


async def deadlocks(database: Database) -> int:
    if database.dialect == "sqlite":
        return 0
    query = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return await database.read(lambda conn: int(conn.execute(query).scalar_one()))


async def live_in_family(database: Database, root: UUID) -> int:
    query = select(func.count()).where(_run.root_run_id == root, _run.status.in_(sorted(LIVE)))
    return await database.read(lambda conn: conn.execute(query).scalar_one())


def statuses_of_ends(number: int) -> Sequence[RunStatus]:
    """Every 50th child fails."""
    return [RunStatus.FAILED if index % 50 == 49 else RunStatus.SUCCEEDED for index in range(number)]


@pytest.fixture
async def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock fails the test: `Database.write` would repeat the transaction otherwise."""
    monkeypatch.setattr("db.core.database._MAX_ATTEMPTS", 1)


@pytest.mark.usefixtures("no_retries")
async def test_a_thousand_children_end_during_a_cancellation(database: Database, published: PublishedFlow) -> None:
    root, claimed = await nested_loops(database, published)
    assert len(claimed) == ITEMS * ITEMS
    before = await deadlocks(database)
    enders = Enders(database)
    ends = [
        asyncio.create_task(enders.end(child, status))
        for child, status in zip(claimed, statuses_of_ends(len(claimed)), strict=True)
    ]
    # The cancellation starts when some children have ended, in the middle of the queue of the others.
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    cancelled = await database.write(cancellation.stop, root, "Cancelled")
    ended_before = sum(task.done() for task in ends)
    results = await asyncio.gather(*ends)
    assert cancelled.run
    assert await live_in_family(database, root) == 0
    # It did not wait until all had ended, and later transactions found their runs stopped.
    assert ended_before < len(claimed)
    assert results.count(False) >= len(claimed) - ended_before
    assert await deadlocks(database) == before


@pytest.mark.usefixtures("no_retries")
async def test_cancellations_at_every_level_and_renewals_meet(database: Database, published: PublishedFlow) -> None:
    root, claimed = await nested_loops(database, published, 20)
    middle = await database.read(families.parents, [child.lease.run_id for child in claimed])
    leases = [child.lease for child in claimed]
    enders = Enders(database)
    before = await deadlocks(database)
    work: list[Coroutine[Any, Any, object]] = [
        *(
            enders.end(child, status)
            for child, status in zip(claimed[::2], statuses_of_ends(len(claimed)), strict=False)
        ),
        *(enders.cancel(run_id) for run_id in middle[::2]),
        *(enders.renew(leases[start::7]) for start in range(7)),
        *(enders.cancel(child.lease.run_id) for child in claimed[1:200:2]),
    ]
    random.Random(1).shuffle(work)
    await asyncio.gather(*work, enders.cancel(root))
    assert await live_in_family(database, root) == 0
    assert await deadlocks(database) == before


async def test_all_children_end_without_a_cancellation(database: Database, published: PublishedFlow) -> None:
    root, claimed = await nested_loops(database, published, FEW_ITEMS)
    enders = Enders(database)
    await asyncio.gather(*(enders.end(child, RunStatus.SUCCEEDED) for child in claimed))
    # Each loop was woken once all of its items had ended.
    woken = await claim_all(database)
    assert len(woken) == FEW_ITEMS
    await asyncio.gather(*(enders.end(loop, RunStatus.SUCCEEDED) for loop in woken))
    assert [claimed.lease.run_id for claimed in await claim_all(database)] == [root]


async def test_families_share_a_bounded_number_of_locks(database: Database, published: PublishedFlow) -> None:
    roots = await database.write(factory.make_runs, published, [{}] * 1_000)

    def count(uow: UnitOfWork) -> int:
        families.lock_of_runs(uow, roots, exclusive=True)
        if database.dialect == "sqlite":
            return 0
        query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        return int(uow.conn.execute(query).scalar_one())

    assert await database.write(count) <= 256
