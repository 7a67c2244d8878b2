"""Bulk cancel while runs end, and faults of single runs."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from db.assembly import COMMIT_STEPS, open_database
from db.bulk import chunks, pinning
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.runs import claims, transitions
from domain.bulk import BulkKind, BulkResult
from domain.enums import RetryStrategy, RunStatus
from domain.time import clock
from engine.worker.bulk_worker import LEASE, BulkWorker
from tests.engine.worker.bulk.harness import (
    _event,
    _outcome,
    add,
    counts,
    events_of,
    outcomes,
    retries_of,
    start_leased,
    start_operation,
)
from tests.support import factory
from tests.support.worker import LEASE as RUN_LEASE
from tests.support.worker import Flow, WorkerHarness, python


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
