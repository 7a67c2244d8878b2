"""Bulk operations are processed chunk by chunk, by several workers, and purged."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from db.assembly import open_database
from db.bulk import chunks, leases, operations, pinning, plans
from db.bulk import reads as bulk_reads
from db.bulk.leases import OperationLostError
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from domain import json_codec
from domain.bulk import BulkKind, BulkStatus
from domain.enums import RetryStrategy, RunStatus
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine.file_store import FileStore
from engine.worker import maintenance
from engine.worker.bulk_worker import EXPIRE_INTERVAL, LEASE, PLANS_KEPT, BulkWorker, ChunkPipeline
from tests.engine.worker.bulk.harness import (
    SECOND,
    add,
    counts,
    events_of,
    operation,
    outcomes,
    retries_of,
    start_leased,
    start_operation,
)
from tests.support.clock import FakeClock
from tests.support.databases.overlap import overlapping
from tests.support.worker import Flow, WorkerHarness


async def test_many_runs_are_processed_chunk_by_chunk(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED, RunStatus.QUEUED] * 750)
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await BulkWorker(worker.database, chunk_size=250).drain()
    assert await counts(worker, operation_id) == ("COMPLETED", 1_500, 1_500, 750, 750, 0)
    progress = [json_codec.decode(row.data) for row in await events_of(worker, event_log.BULK_PROGRESS)]
    assert [event["processed"] for event in progress] == [*range(0, 1_501, 250)]
    assert [event["status"] for event in progress] == ["RUNNING"] * 6 + ["COMPLETED"]
    archived = await events_of(worker, event_log.RUN_ARCHIVED)
    assert sorted(row.run_id for row in archived) == sorted(run_ids[::2])
    assert {(row.flow_id, row.from_status, row.to_status) for row in archived} == {(flow.id, None, None)}


async def test_selection_is_read_in_pages(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 25))
    where = RunFilter(project_ids=[worker.project_id], statuses=[RunStatus.FAILED])
    selection = pinning.Selection(where, None, None, run_ids[3:5], run_ids[-2], clock.now())
    selected: list[UUID] = []
    while page := await worker.database.read(pinning.select_runs, selection, selected[-1] if selected else None, 4):
        assert len(page) <= 4
        selected += page
    assert selected == [key for key in run_ids[:-1] if key not in run_ids[3:5]]


async def test_operation_without_runs_completes_at_once(worker: WorkerHarness) -> None:
    lease = await start_leased(worker, BulkKind.CANCEL, [])
    assert await counts(worker, lease.operation_id) == ("COMPLETED", 0, 0, 0, 0, 0)
    assert (await operation(worker, lease.operation_id)).finished_at is not None


async def test_operations_are_processed_in_turn(worker: WorkerHarness, flow: Flow) -> None:
    # Long enough that the second ends first, whether or not its second chunk is processed in parallel with its first.
    long, short = await add(worker, flow, *[RunStatus.FAILED] * 16), await add(worker, flow, *[RunStatus.SUCCEEDED] * 2)
    first = await start_operation(worker, BulkKind.ARCHIVE, long)
    second = await start_operation(worker, BulkKind.ARCHIVE, short)
    await BulkWorker(worker.database, chunk_size=1).drain()
    ended = {row.operation_id: row.seq for row in await events_of(worker, event_log.BULK_PROGRESS)}
    assert ended[second] < ended[first]


async def test_of_two_workers_on_one_operation_the_later_claim_wins(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 4)
    first = await start_leased(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    assert not await worker.database.write(chunks.process_chunk, first, 1, LEASE)
    assert await worker.database.write(leases.claim, LEASE) is None
    await fake_clock.advance(LEASE.total_seconds())
    second = await worker.database.write(leases.claim, LEASE)
    assert second is not None
    with pytest.raises(OperationLostError):
        await worker.database.write(chunks.process_chunk, first, 4, LEASE)
    with pytest.raises(OperationLostError):
        await worker.database.write(chunks.fail_next_run, first, LEASE)
    assert await worker.database.write(chunks.process_chunk, second, 4, LEASE)
    assert await ChunkPipeline(worker.database, first).process_next()
    assert await counts(worker, first.operation_id) == ("COMPLETED", 4, 4, 4, 0, 0)
    assert sorted(row.retry_of_id for row in await retries_of(worker, run_ids)) == sorted(run_ids)


async def test_many_workers_process_each_run_once(worker: WorkerHarness, flow: Flow, database_url: str) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 60)
    operation_ids = [
        await start_operation(worker, BulkKind.RETRY, some, strategy=RetryStrategy.FROM_FAILED_STEP)
        for some in (run_ids[:20], run_ids[20:40], run_ids[40:])
    ]
    others = [open_database(database_url) for _ in range(2)]
    await asyncio.gather(*(BulkWorker(database, chunk_size=3).drain() for database in (worker.database, *others)))
    for database in others:
        await database.close()
    for operation_id in operation_ids:
        assert await counts(worker, operation_id) == ("COMPLETED", 20, 20, 20, 0, 0)
    assert Counter(row.retry_of_id for row in await retries_of(worker, run_ids)) == Counter(run_ids)


async def test_stopped_worker_releases_its_operations(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 3)
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    bulk_worker = BulkWorker(worker.database, chunk_size=1)
    assert await bulk_worker.process_turn()
    bulk_worker.stop()
    await bulk_worker.run()
    assert (await operation(worker, operation_id)).lease_until is None
    await BulkWorker(worker.database).drain()
    assert await counts(worker, operation_id) == ("COMPLETED", 3, 3, 3, 0, 0)


async def test_worker_is_woken_by_new_operations_and_polls_every_second(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    fake_clock.watch(worker.database)
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 2)
    bulk_worker = BulkWorker(worker.database)
    task = asyncio.create_task(bulk_worker.run())
    await fake_clock.settle()
    received = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await fake_clock.settle()
    assert (await operation(worker, received)).status == "COMPLETED"
    lease = await start_leased(worker, BulkKind.UNARCHIVE, run_ids)
    await fake_clock.advance(LEASE.total_seconds() + 1)
    assert (await operation(worker, lease.operation_id)).status == "COMPLETED"
    bulk_worker.stop()
    await fake_clock.drive(task)


async def test_lost_preparation_fails_and_stale_plans_are_deleted(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    fake_clock.watch(worker.database)
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 3))
    columns = {"project_id": worker.project_id, "kind": BulkKind.ARCHIVE, "key_id": run_ids[0], "key_name": "test"}
    left, planned = [
        await worker.database.write(pinning.prepare, {**columns, "excluded_ids": "[]"}, LEASE) for _ in range(2)
    ]
    await worker.database.write(pinning.pin, planned, run_ids, LEASE, dry_run=True)
    await worker.database.write(plans.keep_as_plan, planned, SECOND)
    bulk_worker = BulkWorker(worker.database)
    task = asyncio.create_task(bulk_worker.run())
    # Not second by second, because the worker would poll at each of them.
    fake_clock.block((LEASE + EXPIRE_INTERVAL).total_seconds() - 2)
    await fake_clock.advance(2)
    row = await operation(worker, left.operation_id)
    assert (row.status, row.finished_at) == (BulkStatus.FAILED, row.finished_at)
    assert row.finished_at is not None
    assert len(await outcomes(worker, planned.operation_id)) == 3
    fake_clock.block((PLANS_KEPT + 2 * EXPIRE_INTERVAL).total_seconds() - 2)
    await fake_clock.advance(2)
    assert await outcomes(worker, planned.operation_id) == {}
    assert await worker.database.read(bulk_reads.by_ids, [planned.operation_id], set()) == {}
    bulk_worker.stop()
    await fake_clock.drive(task)


async def test_old_operations_are_purged_with_their_outcomes(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_clock.watch(worker.database)
    monkeypatch.setattr(maintenance, "OUTCOME_BATCH", 2)
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 5)
    old = [await start_operation(worker, BulkKind.ARCHIVE, run_ids), await start_operation(worker, BulkKind.CANCEL, [])]
    await BulkWorker(worker.database).drain()
    read = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await BulkWorker(worker.database).drain()
    row = {"project_id": worker.project_id, "kind": BulkKind.UNARCHIVE, "key_id": read, "key_name": "test"}
    undoing = {**row, "excluded_ids": "[]", "source_id": read}
    lease = await worker.database.write(pinning.prepare, undoing, LEASE)
    fake_clock.block(timedelta(days=7).total_seconds())
    young = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await BulkWorker(worker.database).drain()
    fake_clock.block(SECOND.total_seconds())
    under_way = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    (job,) = [
        job
        for job in maintenance.maintenance_jobs(worker.database, FileStore(str(tmp_path)), None, bulk_days=7)
        if "bulk" in job.name
    ]
    await fake_clock.drive(job.work())
    kept = await worker.database.read(bulk_reads.by_ids, [*old, read, young, under_way], set())
    assert set(kept) == {read, young, under_way}
    assert [len(await outcomes(worker, key)) for key in (*old, read, young, under_way)] == [0, 0, 5, 5, 5]
    # When the operation that selected its runs has ended, the source is purged too.
    await worker.database.write(plans.expire_stale_plans, clock.now(), clock.now(), 10)
    assert (await operation(worker, lease.operation_id)).status == "FAILED"
    await fake_clock.drive(job.work())
    assert await worker.database.read(bulk_reads.by_ids, [read], set()) == {}
    assert await outcomes(worker, read) == {}


@pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has one writer
async def test_workers_that_delete_one_plan_leave_no_outcome_behind(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 5)
    plan_id = await start_operation(worker, BulkKind.ARCHIVE, run_ids)

    def delete_part(uow: UnitOfWork) -> None:
        operations.delete_part(uow, plan_id, 2)

    await overlapping(worker.database, delete_part, delete_part)
    assert len(await outcomes(worker, plan_id)) == 3
    assert await worker.database.read(bulk_reads.by_ids, [plan_id], set())
    for _ in range(2):
        await worker.database.write(delete_part)
    assert await outcomes(worker, plan_id) == await worker.database.read(bulk_reads.by_ids, [plan_id], set()) == {}


async def test_without_retention_no_operation_is_purged(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, await add(worker, flow, RunStatus.FAILED))
    await BulkWorker(worker.database).drain()
    fake_clock.block(timedelta(days=10_000).total_seconds())
    await maintenance.prune_bulk_operations(worker.database, None)
    assert len(await outcomes(worker, operation_id)) == 1
