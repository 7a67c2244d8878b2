"""The processing of bulk operations: chunks, leases, races, faults and pace."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db import projects
from db.assembly import COMMIT_STEPS, open_database
from db.bulk import chunks, leases, pinning, plans
from db.bulk import reads as bulk_reads
from db.bulk.chunks import ChunkOutOfOrderError, PipelineConflictError
from db.bulk.leases import BulkLease, OperationLostError
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import BulkOperation, BulkOutcome, FlowRun, RunEvent
from db.models.types import table
from db.queue import due
from db.runs import claims, transitions
from db.runs import reads as run_reads
from db.sql.rows import AnyRow
from domain import ids, json_codec
from domain.bulk import BulkKind, BulkResult, BulkStatus
from domain.enums import RetryStrategy, RunStatus
from domain.ids import IdKind
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.file_store import FileStore
from engine.worker import maintenance
from engine.worker.bulk_worker import EXPIRE_INTERVAL, LEASE, PLANS_KEPT, BulkWorker, ChunkPipeline
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow
from tests.support.worker import LEASE as RUN_LEASE
from tests.support.worker import Flow, WorkerHarness, python, transform

_run = table(FlowRun).c
_outcome = table(BulkOutcome).c
_event = table(RunEvent).c
SECOND = timedelta(seconds=1)


@pytest.fixture
async def flow(worker: WorkerHarness) -> Flow:
    return await worker.publish(transform("a", 1), transform("b", 2))


async def add(worker: WorkerHarness, flow: Flow, *statuses: RunStatus, **values: Any) -> list[UUID]:
    """Add runs with these statuses."""
    published = PublishedFlow(worker.project_id, flow.id, flow.version_id)
    return await worker.database.write(
        factory.make_runs, published, [{"status": status, **values} for status in statuses]
    )


async def start_leased(worker: WorkerHarness, kind: BulkKind, run_ids: Sequence[UUID], **values: Any) -> BulkLease:
    """Start an operation on these runs, and keep its lease."""
    row = {"project_id": worker.project_id, "kind": kind, "key_id": ids.new_uuid(), "key_name": "test"}
    lease = await worker.database.write(pinning.prepare, {**row, "excluded_ids": "[]", **values}, LEASE)
    if run_ids:
        await worker.database.write(pinning.pin, lease, sorted(run_ids), LEASE, dry_run=False)
    await worker.database.write(pinning.start, lease, LEASE)
    return lease


async def start_operation(worker: WorkerHarness, kind: BulkKind, run_ids: Sequence[UUID], **values: Any) -> UUID:
    """Start an operation on these runs that a worker can claim."""
    lease = await start_leased(worker, kind, run_ids, **values)
    await worker.database.write(leases.release, lease)
    return lease.operation_id


async def operation(worker: WorkerHarness, operation_id: UUID) -> AnyRow:
    columns = {column.name for column in table(BulkOperation).c}
    return (await worker.database.read(bulk_reads.by_ids, [operation_id], columns))[operation_id]


async def counts(worker: WorkerHarness, operation_id: UUID) -> tuple[str, int, int, int, int, int]:
    row = await operation(worker, operation_id)
    return row.status, row.matched, row.processed, row.succeeded, row.skipped, row.failed


async def outcomes(worker: WorkerHarness, operation_id: UUID) -> dict[UUID, AnyRow]:
    query = select(table(BulkOutcome)).where(_outcome.operation_id == operation_id)
    return {row.run_id: row for row in await worker.database.read(lambda conn: conn.execute(query).all())}


async def events_of(worker: WorkerHarness, kind: str) -> Sequence[AnyRow]:
    query = select(table(RunEvent)).where(_event.kind == kind).order_by(_event.seq)
    return await worker.database.read(lambda conn: conn.execute(query).all())


async def retries_of(worker: WorkerHarness, run_ids: Sequence[UUID]) -> Sequence[AnyRow]:
    """The retries of these runs, oldest first."""
    query = select(table(FlowRun)).where(_run.retry_of_id.is_not(None)).order_by(_run.id)
    retries = await worker.database.read(lambda conn: conn.execute(query).all())
    return [row for row in retries if row.retry_of_id in set(run_ids)]


# Chunks


async def test_thousands_of_runs_are_processed_chunk_by_chunk(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED, RunStatus.QUEUED] * 1_500)
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await BulkWorker(worker.database, chunk_size=250).drain()
    assert await counts(worker, operation_id) == ("COMPLETED", 3_000, 3_000, 1_500, 1_500, 0)
    progress = [json_codec.decode(row.data) for row in await events_of(worker, event_log.BULK_PROGRESS)]
    assert [event["processed"] for event in progress] == [*range(0, 3_001, 250)]
    assert [event["status"] for event in progress] == ["RUNNING"] * 12 + ["COMPLETED"]
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
    long, short = await add(worker, flow, *[RunStatus.FAILED] * 6), await add(worker, flow, *[RunStatus.SUCCEEDED] * 2)
    first = await start_operation(worker, BulkKind.ARCHIVE, long)
    second = await start_operation(worker, BulkKind.ARCHIVE, short)
    await BulkWorker(worker.database, chunk_size=1).drain()
    ended = {row.operation_id: row.seq for row in await events_of(worker, event_log.BULK_PROGRESS)}
    assert ended[second] < ended[first]


# Leases


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


async def test_worker_is_woken_by_new_operations_and_looks_every_second(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    fake_clock.watch(worker.database)
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 2)
    bulk_worker = BulkWorker(worker.database)
    task = asyncio.create_task(bulk_worker.run())
    await fake_clock.settle()
    heard = await start_operation(worker, BulkKind.ARCHIVE, run_ids)
    await fake_clock.settle()
    assert (await operation(worker, heard)).status == "COMPLETED"
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
    await fake_clock.advance((LEASE + EXPIRE_INTERVAL).total_seconds())
    row = await operation(worker, left.operation_id)
    assert (row.status, row.finished_at) == (BulkStatus.FAILED, row.finished_at)
    assert row.finished_at is not None
    assert len(await outcomes(worker, planned.operation_id)) == 3
    fake_clock.block(PLANS_KEPT.total_seconds())
    await fake_clock.advance(2 * EXPIRE_INTERVAL.total_seconds())
    assert await outcomes(worker, planned.operation_id) == {}
    assert await worker.database.read(bulk_reads.by_ids, [planned.operation_id], set()) == {}
    bulk_worker.stop()
    await fake_clock.drive(task)


# Retention


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
    # Once the operation that takes over its runs has ended, the source is purged too.
    await worker.database.write(plans.expire_stale_plans, clock.now(), clock.now(), 10)
    assert (await operation(worker, lease.operation_id)).status == "FAILED"
    await fake_clock.drive(job.work())
    assert await worker.database.read(bulk_reads.by_ids, [read], set()) == {}
    assert await outcomes(worker, read) == {}


async def test_without_retention_no_operation_is_purged(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    operation_id = await start_operation(worker, BulkKind.ARCHIVE, await add(worker, flow, RunStatus.FAILED))
    await BulkWorker(worker.database).drain()
    fake_clock.block(timedelta(days=10_000).total_seconds())
    await maintenance.prune_bulk_operations(worker.database, None)
    assert len(await outcomes(worker, operation_id)) == 1


# Pipelined chunks


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


# Races


async def test_run_that_ends_before_its_chunk_is_skipped(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    claimed = await worker.claim()
    lease = await start_leased(worker, BulkKind.CANCEL, [run_id])
    done = dict.fromkeys(("output", "failed_step_name", "error_code", "error_message", "error_fingerprint"))
    await worker.database.write(
        transitions.finish, claimed.lease, RunStatus.RUNNING, RunStatus.SUCCEEDED, "Done", {**done, "duration_ms": 1}
    )
    assert await worker.database.write(chunks.process_chunk, lease, 10, LEASE)
    assert (await outcomes(worker, lease.operation_id))[run_id].reason == "RUN_NOT_CANCELLABLE"
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_worker_of_a_cancelled_run_loses_its_lease(worker: WorkerHarness, flow: Flow) -> None:
    run_id = await worker.start(flow)
    claimed = await worker.claim()
    lease = await start_leased(worker, BulkKind.CANCEL, [run_id])
    assert await worker.database.write(chunks.process_chunk, lease, 10, LEASE)
    with pytest.raises(claims.LeaseLostError):
        await worker.database.write(claims.lock_lease, claimed.lease)
    assert (await outcomes(worker, lease.operation_id))[run_id].result == BulkResult.SUCCEEDED
    assert [row.to_status for row in await worker.events(run_id)] == ["QUEUED", "RUNNING", "STOPPED"]


async def test_runs_that_finish_during_a_bulk_cancel_end_once(
    worker: WorkerHarness, flow: Flow, database_url: str
) -> None:
    run_ids = await worker.start_many(flow, 60)
    claimed_runs = await worker.database.write(claims.claim, 60, RUN_LEASE)
    operation_id = await start_operation(worker, BulkKind.CANCEL, run_ids)
    other = open_database(database_url)
    values = {"duration_ms": 1}

    async def finish(lease: Any) -> bool:
        ended = (lease, RunStatus.RUNNING, RunStatus.SUCCEEDED, "Done", values)
        return await other.write(transitions.finish, *ended) is not None

    cancelling = asyncio.create_task(BulkWorker(worker.database, chunk_size=5).drain())
    finished = [await finish(claimed.lease) for claimed in reversed(claimed_runs)]
    await cancelling
    await other.close()
    by_run = await outcomes(worker, operation_id)
    for claimed, won in zip(reversed(claimed_runs), finished, strict=True):
        run_id = claimed.lease.run_id
        assert (by_run[run_id].result == BulkResult.SKIPPED) is won
        history = [row.to_status for row in await worker.events(run_id)]
        assert history == ["QUEUED", "RUNNING", "SUCCEEDED" if won else "STOPPED"]


@pytest.mark.parametrize("kind", [BulkKind.ARCHIVE, BulkKind.CANCEL])
async def test_two_operations_over_the_same_runs_change_each_run_once(
    worker: WorkerHarness, flow: Flow, database_url: str, kind: BulkKind
) -> None:
    status = RunStatus.FAILED if kind is BulkKind.ARCHIVE else RunStatus.QUEUED
    run_ids = await add(worker, flow, *[status] * 60)
    both = [await start_operation(worker, kind, run_ids) for _ in range(2)]
    other = open_database(database_url)
    await asyncio.gather(*(BulkWorker(database, chunk_size=7).drain() for database in (worker.database, other)))
    await other.close()
    totals = [await counts(worker, key) for key in both]
    assert all(total[:3] == ("COMPLETED", 60, 60) for total in totals)
    assert sum(succeeded for *_, succeeded, _, _ in totals) == 60
    logged = await events_of(worker, event_log.RUN_ARCHIVED if kind is BulkKind.ARCHIVE else event_log.RUN_STATUS)
    assert Counter(row.run_id for row in logged) == Counter(run_ids)


async def test_cancelled_child_ends_the_wait_of_its_parent(worker: WorkerHarness, flow: Flow) -> None:
    (parent,) = await add(worker, flow, RunStatus.PAUSED, due_at=None)
    (child,) = await add(
        worker, flow, RunStatus.QUEUED, parent_run_id=parent, fail_parent_on_failure=True, root_run_id=parent
    )
    operation_id = await start_operation(worker, BulkKind.CANCEL, [child])
    await BulkWorker(worker.database).drain()
    assert (await worker.run(child)).status == "STOPPED"
    row = await worker.run(parent)
    assert (row.status, row.error_code) == ("FAILED", "CHILD_FAILED")
    assert await counts(worker, operation_id) == ("COMPLETED", 1, 1, 1, 0, 0)


async def test_bulk_cancel_stops_running_steps(worker: WorkerHarness) -> None:
    asking = await worker.publish(python("a", "stamp"))
    run_ids = await add(worker, asking, RunStatus.RUNNING, RunStatus.RUNNING)
    for run_id in run_ids:
        await worker.database.write(factory.make_steps, run_id, [{"status": "RUNNING", "finished_at": None}])
    await start_operation(worker, BulkKind.CANCEL, run_ids)
    await BulkWorker(worker.database).drain()
    for run_id in run_ids:
        assert await worker.statuses(run_id) == {"a": "STOPPED"}
        assert [status for *_, status in await worker.tries(run_id)] == ["STOPPED"]
        assert (await worker.run(run_id)).finished_at is not None


async def test_step_events_of_a_cancelled_run_precede_its_end(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.RUNNING)
    for run_id in run_ids:
        await worker.database.write(factory.make_steps, run_id, [{}, {"status": "RUNNING", "finished_at": None}])
    await start_operation(worker, BulkKind.CANCEL, run_ids)
    await BulkWorker(worker.database).drain()
    ends = select(_event.run_id, _event.kind, _event.to_status, _event.step_name)
    query = ends.where(_event.run_id.in_(run_ids)).order_by(_event.seq)
    events = await worker.database.read(lambda conn: conn.execute(query).all())
    for run_id in run_ids:
        assert [tuple(row[1:]) for row in events if row.run_id == run_id] == [
            (event_log.STEP_STATUS, "STOPPED", "b"),
            (event_log.RUN_STATUS, "STOPPED", None),
        ]


# Faults


class Faulty(Database):
    """Raises an error in each chunk that contains the run `broken`."""

    broken = UUID(int=0)

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work in (chunks.process_chunk, chunks.process_next_chunk):
            return await super().write(self._process, work, *args)
        return await super().write(work, *args, **kwargs)

    def _process(self, uow: UnitOfWork, work: Any, *args: Any) -> bool:
        done: bool = work(uow, *args)
        query = select(_outcome.result).where(_outcome.run_id == self.broken)
        if uow.conn.execute(query).scalar() == BulkResult.SUCCEEDED:
            raise RuntimeError("a bug")
        return done


async def test_fault_fails_only_the_run_that_causes_it(worker: WorkerHarness, flow: Flow, database_url: str) -> None:
    run_ids = sorted(await add(worker, flow, *[RunStatus.FAILED] * 45))
    database = Faulty(database_url, COMMIT_STEPS)
    database.broken = run_ids[23]
    operation_id = await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.FROM_FAILED_STEP)
    await BulkWorker(database, chunk_size=20).drain()
    await database.close()
    assert await counts(worker, operation_id) == ("COMPLETED", 45, 45, 44, 0, 1)
    by_run = await outcomes(worker, operation_id)
    assert {run_id for run_id, row in by_run.items() if row.result == "FAILED"} == {run_ids[23]}
    assert (by_run[run_ids[23]].reason, by_run[run_ids[23]].new_run_id) == ("INTERNAL_ERROR", None)
    assert Counter(row.retry_of_id for row in await retries_of(worker, run_ids)) == Counter(
        set(run_ids) - {run_ids[23]}
    )
    # A later operation can take over the failed run.
    selection = pinning.Selection(None, operation_id, BulkResult.FAILED, (), None, clock.now())
    assert await worker.database.read(pinning.select_runs, selection, None, 10) == [run_ids[23]]


# Retries


async def test_retries_keep_succeeded_steps(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 3, failed_step_name="b")
    steps: list[dict[str, Any]] = [{"output": "1"}, {"status": "FAILED", "output": None}]
    for run_id in run_ids:
        await worker.database.write(factory.make_steps, run_id, steps)
    operation_id = await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.FROM_FAILED_STEP)
    await BulkWorker(worker.database).drain()
    by_run = await outcomes(worker, operation_id)
    for row in await retries_of(worker, run_ids):
        assert by_run[row.retry_of_id].new_run_id == row.id
        assert (row.status, row.due_at, row.root_run_id) == ("QUEUED", clock.now(), row.id)
        assert row.retry_operation_id == operation_id
        (kept,) = await worker.steps(row.id)
        assert (kept.name, kept.output, kept.reused_from_id) == ("a", "1", row.retry_of_id)


@pytest.mark.parametrize(
    ("pace", "between"),
    [
        ({"max_per_second": 4.0}, 0.25),
        ({"spread_over_ms": 24_000}, 2.0),
        ({"max_per_second": 4.0, "spread_over_ms": 24_000}, 2.0),
        ({"max_per_second": 0.1, "spread_over_ms": 24_000}, 10.0),
    ],
)
async def test_each_paced_retry_is_due_in_its_own_interval(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow, pace: dict[str, Any], between: float
) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 12)
    retry = {"strategy": RetryStrategy.ON_LATEST_VERSION, **pace}
    await start_operation(worker, BulkKind.RETRY, run_ids, **retry)
    start = clock.now()
    bulk_worker = BulkWorker(worker.database, chunk_size=5)
    await bulk_worker.process_turn()
    # The worker pauses for less time than the intervals given so far take.
    fake_clock.block(between)
    await bulk_worker.drain()
    due = [(row.due_at - start).total_seconds() for row in await retries_of(worker, run_ids)]
    assert due == sorted(due)
    for number, at in enumerate(due):
        assert number * between <= at <= (number + 1) * between
    # Jitter makes the distances unequal.
    assert len({round(after - before, 3) for before, after in pairwise(due)}) > 1


async def test_missed_intervals_are_not_made_up_for(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 6)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION, max_per_second=1.0)
    bulk_worker = BulkWorker(worker.database, chunk_size=3)
    await bulk_worker.process_turn()
    fake_clock.block(100)
    again = clock.now()
    await bulk_worker.drain()
    late = [(row.due_at - again).total_seconds() for row in await retries_of(worker, run_ids)][3:]
    assert all(number <= at <= number + 1 for number, at in enumerate(late))


async def test_paced_retry_is_claimed_when_it_is_due(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 3)
    await start_operation(
        worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION, spread_over_ms=30_000
    )
    await BulkWorker(worker.database).drain()
    claim = claims.claim
    claimed: list[UUID] = []
    for number, row in enumerate(await retries_of(worker, run_ids)):
        fake_clock.block((row.due_at - clock.now()).total_seconds())
        claimed += [run.lease.run_id for run in await worker.database.write(claim, 10, 3_600 * SECOND)]
        assert len(claimed) == number + 1
    assert claimed == [row.id for row in await retries_of(worker, run_ids)]


async def test_single_retry_is_claimed_before_bulk_retries(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 2)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    by_hand = await worker.retry(run_ids[0])
    assert sorted(row.priority for row in await retries_of(worker, run_ids)) == [due.NEW, due.NEW, due.INTERACTIVE]
    (first,) = await worker.database.write(claims.claim, 1, RUN_LEASE)
    assert first.lease.run_id == by_hand


async def test_history_of_a_retry_names_the_retried_run(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, RunStatus.TIMEOUT)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    (row,) = await retries_of(worker, run_ids)
    (event,) = await worker.events(row.id)
    assert event.message == f"Retry of {ids.encode(IdKind.RUN, run_ids[0])} on the latest version"
    assert (event.from_status, event.to_status, event.at) == (None, "QUEUED", row.created_at)


async def test_successful_bulk_retry_recovers_the_run(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, RunStatus.FAILED)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    (row,) = await retries_of(worker, run_ids)
    await worker.database.write(run_reads.mark_recovered, row.id, clock.now())
    assert (await worker.run(run_ids[0])).recovered_by_id == row.id


async def test_each_change_of_a_bulk_operation_is_logged_once(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.QUEUED] * 5)
    await start_operation(worker, BulkKind.CANCEL, run_ids)
    await BulkWorker(worker.database, chunk_size=2).drain()
    logged = await events_of(worker, event_log.RUN_STATUS)
    # Of two pipelined chunks, either may log its events first.
    assert sorted((row.run_id, row.from_status, row.to_status) for row in logged) == [
        (run_id, "QUEUED", "STOPPED") for run_id in sorted(run_ids)
    ]
    total = select(func.count()).where(_run.status.in_(sorted(FINAL)))
    assert await worker.database.read(lambda conn: conn.execute(total).scalar_one()) == 5
