"""Chunks that begin before the previous one is committed."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.util import await_only

from db import projects
from db.assembly import COMMIT_STEPS
from db.bulk import chunks, leases
from db.bulk.chunks import ChunkOutOfOrderError, PipelineConflictError
from db.bulk.leases import OperationLostError
from db.bulk.outcomes import Chunk
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import table
from domain.bulk import BulkKind
from domain.enums import RetryStrategy, RunStatus
from engine.worker.bulk_worker import LEASE, BulkWorker
from tests.engine.worker.bulk.harness import (
    _run,
    add,
    counts,
    events_of,
    outcomes,
    retries_of,
    start_leased,
    start_operation,
)
from tests.support.clock import FakeClock
from tests.support.worker import Flow, WorkerHarness


async def test_pipelined_chunks_commit_in_order(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 6))
    lease = await start_leased(worker, BulkKind.ARCHIVE, run_ids)
    write = worker.database.write
    assert await worker.database.read(chunks.next_boundary, lease, 3) == run_ids[2]
    with pytest.raises(ChunkOutOfOrderError):
        await write(chunks.process_next_chunk, lease, run_ids[2], 3, LEASE)
    assert {row.result for row in (await outcomes(worker, lease.operation_id)).values()} == {"PENDING"}
    assert await events_of(worker, event_log.RUN_ARCHIVED) == []
    assert not await write(chunks.process_chunk, lease, 3, LEASE)
    assert await write(chunks.process_next_chunk, lease, run_ids[2], 3, LEASE)
    assert await counts(worker, lease.operation_id) == ("COMPLETED", 6, 6, 6, 0, 0)
    with pytest.raises(OperationLostError):
        await write(chunks.process_next_chunk, lease, run_ids[2], 3, LEASE)
    logged = await events_of(worker, event_log.RUN_ARCHIVED)
    assert Counter(row.run_id for row in logged) == Counter(run_ids)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_pipelined_chunk_that_is_done_first_waits_for_its_turn(
    worker: WorkerHarness, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 6))
    lease = await start_leased(worker, BulkKind.ARCHIVE, run_ids)
    write, process, loop = worker.database.write, chunks._process, asyncio.get_running_loop()
    begun, next_is_done = asyncio.Event(), asyncio.Event()

    def process_slowly(uow: UnitOfWork, chunk: Chunk, *, is_pipelined: bool = False) -> None:
        if not is_pipelined:
            loop.call_soon(begun.set)
            await_only(next_is_done.wait())
        process(uow, chunk, is_pipelined=is_pipelined)
        if is_pipelined:
            loop.call_soon(next_is_done.set)

    monkeypatch.setattr(chunks, "_process", process_slowly)
    first = asyncio.create_task(write(chunks.process_chunk, lease, 3, LEASE))
    await begun.wait()
    assert await write(chunks.process_next_chunk, lease, run_ids[2], 3, LEASE)
    assert not await first
    assert await counts(worker, lease.operation_id) == ("COMPLETED", 6, 6, 6, 0, 0)


async def test_no_chunk_is_pipelined_with_the_last_one(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 5))
    lease = await start_leased(worker, BulkKind.ARCHIVE, run_ids)
    read, write = worker.database.read, worker.database.write
    assert await read(chunks.next_boundary, lease, 3) == run_ids[2]
    assert await read(chunks.next_boundary, lease, 5) is None
    assert not await write(chunks.process_chunk, lease, 3, LEASE)
    assert await read(chunks.next_boundary, lease, 3) is None
    assert await write(chunks.process_chunk, lease, 3, LEASE)
    with pytest.raises(OperationLostError):
        await read(chunks.next_boundary, lease, 3)
    lease = await start_leased(worker, BulkKind.UNARCHIVE, run_ids)
    assert not await worker.database.write(chunks.process_next_chunk, lease, run_ids[4], 3, LEASE)
    assert await counts(worker, lease.operation_id) == ("RUNNING", 5, 0, 0, 0, 0)


async def test_pipelined_chunk_of_a_lost_lease_changes_nothing(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 4))
    lease = await start_leased(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    assert not await worker.database.write(chunks.process_chunk, lease, 2, LEASE)
    await fake_clock.advance(LEASE.total_seconds())
    later = await worker.database.write(leases.claim, LEASE)
    assert later is not None
    with pytest.raises(OperationLostError):
        await worker.database.write(chunks.process_next_chunk, lease, run_ids[1], 2, LEASE)
    assert await worker.database.write(chunks.process_chunk, later, 2, LEASE)
    assert Counter(row.retry_of_id for row in await retries_of(worker, run_ids)) == Counter(run_ids)


CANCEL_ONE: tuple[BulkKind, RunStatus, dict[str, Any]] = (BulkKind.CANCEL, RunStatus.QUEUED, {})


RETRY_ONE = (BulkKind.RETRY, RunStatus.FAILED, {"strategy": RetryStrategy.ON_LATEST_VERSION})


@pytest.mark.parametrize(
    ("what", "run", "operation", "project"),
    [
        (CANCEL_ONE, {"status": RunStatus.RUNNING}, {}, {}),
        (CANCEL_ONE, {"parent_run_id": UUID(int=1), "root_run_id": UUID(int=1)}, {}, {}),
        (CANCEL_ONE, {}, {}, {"max_concurrent_runs": 3}),
        (RETRY_ONE, {}, {"max_per_second": 1.0}, {}),
        (RETRY_ONE, {}, {}, {"quota_runs": 10, "quota_period": "DAY"}),
    ],
    ids=["running", "child", "slot", "pace", "quota"],
)
async def test_chunk_that_shares_locks_with_the_previous_one_is_not_pipelined(
    worker: WorkerHarness,
    flow: Flow,
    what: tuple[BulkKind, RunStatus, dict[str, Any]],
    run: dict[str, Any],
    operation: dict[str, Any],
    project: dict[str, Any],
) -> None:
    kind, status, values = what
    plain = sorted(await add(worker, flow, status, status))
    others = await add(worker, flow, run.get("status", status))
    changed = update(table(FlowRun)).where(_run.id == others[0]).values({"depth": 0, **run})
    await worker.database.write(lambda uow: uow.conn.execute(changed).rowcount)
    if project:
        await worker.database.write(projects.change, worker.project_id, project)
    lease = await start_leased(worker, kind, [*plain, *others], **values, **operation)
    assert not await worker.database.write(chunks.process_chunk, lease, 2, LEASE)
    with pytest.raises(PipelineConflictError):
        await worker.database.write(chunks.process_next_chunk, lease, plain[-1], 2, LEASE)
    assert await counts(worker, lease.operation_id) == ("RUNNING", 3, 2, 2, 0, 0)
    await worker.database.write(leases.release, lease)
    await BulkWorker(worker.database, chunk_size=1).drain()
    assert await counts(worker, lease.operation_id) == ("COMPLETED", 3, 3, 3, 0, 0)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_chunk_begins_while_a_pipelined_one_is_in_progress(
    worker: WorkerHarness, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 12))
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    process, loop = chunks._process, asyncio.get_running_loop()
    begun = {key: asyncio.Event() for key in run_ids[2::3]}

    def process_after_the_next_has_begun(uow: UnitOfWork, chunk: Chunk, *, is_pipelined: bool = False) -> None:
        loop.call_soon(begun[chunk.through].set)
        position = run_ids.index(chunk.through)
        if is_pipelined and position + 3 < len(run_ids):
            await_only(begun[run_ids[position + 3]].wait())
        process(uow, chunk, is_pipelined=is_pipelined)

    monkeypatch.setattr(chunks, "_process", process_after_the_next_has_begun)
    await BulkWorker(worker.database, chunk_size=3).drain()
    assert await counts(worker, operation_id) == ("COMPLETED", 12, 12, 12, 0, 0)
    assert Counter(row.run_id for row in await events_of(worker, event_log.RUN_ARCHIVED)) == Counter(run_ids)


async def test_chunk_with_a_child_waits_for_the_judgement_of_its_parent(worker: WorkerHarness, flow: Flow) -> None:
    parents = sorted(await add(worker, flow, RunStatus.FAILED, RunStatus.FAILED))
    (child,) = await add(worker, flow, RunStatus.FAILED)
    tie = {"parent_run_id": parents[0], "root_run_id": parents[0], "depth": 1, "item_index": 0, "parent_position": 0}
    tied = update(table(FlowRun)).where(_run.id == child).values(tie)
    await worker.database.write(lambda uow: uow.conn.execute(tied).rowcount)
    lease = await start_leased(worker, RETRY_ONE[0], [*parents, child], **RETRY_ONE[2])
    write = worker.database.write
    with pytest.raises(PipelineConflictError) as refused:
        await write(chunks.process_next_chunk, lease, parents[-1], 2, LEASE)
    assert refused.type is PipelineConflictError  # Every chunk that begins too early is out of order.
    assert not await write(chunks.process_chunk, lease, 2, LEASE)
    assert await write(chunks.process_next_chunk, lease, parents[-1], 2, LEASE)
    assert (await outcomes(worker, lease.operation_id))[child].reason == "COVERED_BY_PARENT"


class Recording(Database):
    """Records the functions of `db.bulk.chunks` that it runs."""

    def __init__(self, url: str) -> None:
        super().__init__(url, COMMIT_STEPS)
        self.calls: list[str] = []

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(work.__name__)
        return await super().write(work, *args, **kwargs)


@pytest.mark.parametrize(("pace", "pipelined"), [({}, True), ({"max_per_second": 10_000.0}, False)])
async def test_pipeline_stops_after_a_conflict_of_the_action(
    worker: WorkerHarness, flow: Flow, database_url: str, pace: dict[str, float], pipelined: bool
) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 12)
    operation_id = await start_operation(
        worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION, **pace
    )
    database = Recording(database_url)
    await BulkWorker(database, chunk_size=2).drain()
    await database.close()
    assert await counts(worker, operation_id) == ("COMPLETED", 12, 12, 12, 0, 0)
    calls = Counter(database.calls)
    if database.dialect == "sqlite":
        assert calls["process_next_chunk"] == 0
    elif pipelined:
        assert calls["process_next_chunk"] >= 3
    else:
        assert (calls["process_chunk"], calls["process_next_chunk"]) == (6, 1)
