"""Tests of writes of several runs in one transaction."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text

from db import projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.core.write_batcher import WriteBatcher
from db.models import RunEvent
from db.models.types import table
from db.runs import cancellation, claims, step_journal
from db.runs import reads as run_reads
from db.runs.step_journal import Advance, AttemptResult, AttemptStart, End
from db.runs.transitions import Ending, Lease
from domain import ids
from domain.enums import RunStatus, StepStatus
from domain.errors import DatabaseUnavailableError
from tests.db.runs.test_step_journal import (
    NEXT_STEP,
    SECOND_TRY,
    SUCCESS,
    TO_BE_RETRIED,
    attempt_rows,
    contents,
    step_rows,
)
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import MINUTE, PublishedFlow

FIRST = AttemptStart(0, "a", "A", "transform", 1, "{}")
LAST = AttemptResult(1, "b", StepStatus.FAILED, 1, START, error='{"code":"E"}')
FAILED = Ending(RunStatus.FAILED, "Run failed", {"failed_step_name": "b", "error_code": "E", "duration_ms": 5})


async def claimed(database: Database, published: PublishedFlow, count: int) -> list[Lease]:
    await database.write(factory.make_runs, published, [{} for _ in range(count)])
    return sorted((each.lease for each in await database.write(claims.claim, count, MINUTE)), key=lambda it: it.run_id)


_RUN = ("status", "due_at", "lease_token", "finished_at", "duration_ms", "failed_step_name", "error_code", "output")
_event = table(RunEvent).c


def run_state(conn: Connection, run_id: UUID) -> list[Any]:
    """Returns the stored data of a run without its IDs."""
    row: Any = run_reads.by_ids(conn, [run_id], _RUN)[run_id]
    run = tuple(row)[1:]
    steps = [tuple(row)[1:] for row in step_rows(conn, run_id)]
    columns = select(_event.kind, _event.step_name, _event.from_status, _event.to_status, _event.message, _event.data)
    history = [tuple(row) for row in conn.execute(columns.where(_event.run_id == run_id).order_by(_event.seq))]
    return [run, steps, attempt_rows(conn, run_id), history]


async def alone(database: Database, lease: Lease) -> None:
    await database.write(step_journal.advance, lease, None, FIRST)
    await database.write(step_journal.advance, lease, TO_BE_RETRIED, SECOND_TRY)
    await database.write(step_journal.advance, lease, SUCCESS, NEXT_STEP)
    await database.write(
        step_journal.finish, lease, LAST, FAILED.status, FAILED.message, dict(FAILED.values), is_retry=False
    )


async def together(database: Database, leases: Sequence[Lease]) -> None:
    for last, next_attempt in ((None, FIRST), (TO_BE_RETRIED, SECOND_TRY), (SUCCESS, NEXT_STEP)):
        changes = [Advance(lease, last, next_attempt) for lease in leases]
        assert await database.write(step_journal.advance_batch, changes) == {lease.run_id for lease in leases}
    ends = [End(lease, LAST, FAILED) for lease in leases]
    assert await database.write(step_journal.advance_batch, ends) == {lease.run_id for lease in leases}


async def test_batched_writes_equal_single_writes(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    leases = await claimed(database, published, 3)
    await alone(database, leases[0])
    await together(database, leases[1:])
    first, *others = [await database.read(run_state, lease.run_id) for lease in leases]
    assert [len(rows) for rows in first[1:]] == [2, 3, 8]
    assert others == [first] * 2


async def test_batch_omits_only_runs_with_lost_lease(database: Database, published: PublishedFlow) -> None:
    kept, lost = await claimed(database, published, 2)
    changes = [Advance(kept, None, FIRST), Advance(Lease(lost.run_id, ids.new_uuid()), None, FIRST)]
    assert await database.write(step_journal.advance_batch, changes) == {kept.run_id}
    assert [row[0] for row in (await database.read(contents))[1]] == [kept.run_id]


async def test_batch_does_not_change_final_run(database: Database, published: PublishedFlow) -> None:
    (lease,) = await claimed(database, published, 1)
    assert (await database.write(cancellation.stop, lease.run_id, "Enough")).run
    before = await database.read(contents)
    assert await database.write(step_journal.advance_batch, [End(lease, None, FAILED)]) == set()
    assert await database.read(contents) == before


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_batch_skips_locked_run(database: Database, published: PublishedFlow) -> None:
    free, busy = await claimed(database, published, 2)
    locked, over = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with database._engine.begin() as conn:
            await conn.execute(text("SELECT FROM flow_run WHERE id = :id FOR UPDATE"), {"id": busy.run_id})
            locked.set()
            await over.wait()

    other = asyncio.create_task(write_slowly())
    await locked.wait()
    changes = [Advance(lease, None, FIRST) for lease in (busy, free)]
    assert await database.write(step_journal.advance_batch, changes) == {free.run_id}
    over.set()
    await other
    assert await database.write(step_journal.advance_batch, changes[:1]) == {busy.run_id}


def create(uow: UnitOfWork, names: Sequence[str]) -> Collection[str]:
    for name in names:
        if name == "bad":
            raise RuntimeError("no")
        if name != "nothing":
            projects.create(uow, name)
    return [name for name in names if name != "nothing"]


async def test_concurrent_writes_share_batch(database: Database) -> None:
    names = [f"{number:03}" for number in range(100)]
    done = await asyncio.gather(*(database.write_batched(create, each, each) for each in [*names, "nothing"]))
    assert done == [True] * 100 + [False]
    assert sorted(await database.read(projects.names)) == names


async def test_failed_write_rejects_whole_batch(database: Database) -> None:
    done = await asyncio.gather(*(database.write_batched(create, each, each) for each in ("one", "bad", "two")))
    assert done == [False] * 3
    assert await database.read(projects.names) == []
    assert await database.write_batched(create, "one", "one")


class Slow:
    """Writes batches when `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.served: list[list[str]] = []
        self.error: Exception | None = None

    async def write(self, items: Sequence[str]) -> Collection[str]:
        self.served.append(list(items))
        await self.go.wait()
        if self.error:
            raise self.error
        return items


def submit(batcher: WriteBatcher, name: str, tasks: list[asyncio.Task[None]]) -> asyncio.Future[bool]:
    done = batcher.submit(name, name)
    if batcher.needs_drain:
        tasks.append(asyncio.create_task(batcher.drain()))
    return done


async def test_write_during_batch_waits_for_next_batch() -> None:
    slow, tasks = Slow(), list[asyncio.Task[None]]()
    batcher = WriteBatcher(slow.write)
    waiting = []
    for some in ("ab", "cd", "ef", "g"):
        waiting += [submit(batcher, name, tasks) for name in some]
        await asyncio.sleep(0)
    assert slow.served == [["a", "b"], ["c", "d"]]
    waiting[4].cancel()
    slow.go.set()
    await asyncio.gather(*tasks)
    assert slow.served[2:] == [["e", "f", "g"]]
    assert [each.cancelled() or each.result() for each in waiting] == [True] * 7


async def test_unavailable_database_fails_every_write_of_batch() -> None:
    slow, tasks = Slow(), list[asyncio.Task[None]]()
    slow.error = DatabaseUnavailableError()
    slow.go.set()
    batcher = WriteBatcher(slow.write)
    waiting = [submit(batcher, name, tasks) for name in "ab"]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results == [slow.error] * 2
    await asyncio.gather(*tasks)
