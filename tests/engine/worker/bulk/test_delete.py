"""Bulk operations that delete runs: what goes, what stays, and that a lost worker loses nothing."""

from collections import Counter
from uuid import UUID

from sqlalchemy import Connection, select

from db.bulk import chunks
from db.events import log as event_log
from db.models import FlowRun, RunEvent, StepResult
from db.models.types import table
from db.rollups import check
from db.runs.output import files
from domain import ids
from domain.bulk import BulkKind
from domain.enums import RunStatus
from domain.time import clock
from engine.worker import maintenance
from engine.worker.bulk_worker import LEASE, BulkWorker
from tests.engine.worker.bulk.harness import add, counts, events_of, outcomes, start_leased, start_operation
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.worker import Flow, WorkerHarness

_run = table(FlowRun).c


def remaining(conn: Connection) -> dict[UUID, UUID | None]:
    """Returns the runs, each with the run that it retries."""
    return dict(conn.execute(select(_run.id, _run.retry_of_id)).all())


async def test_runs_are_deleted_with_descendants_and_links_are_set(worker: WorkerHarness, flow: Flow) -> None:
    database = worker.database
    first, other, live = await add(worker, flow, RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.RUNNING)
    (second,) = await add(worker, flow, RunStatus.FAILED, retry_of_id=first, attempt=2)
    (third,) = await add(worker, flow, RunStatus.SUCCEEDED, retry_of_id=second, attempt=3)
    (child,) = await add(worker, flow, RunStatus.SUCCEEDED, parent_run_id=second, root_run_id=second, depth=1)
    (beside,) = await add(worker, flow, RunStatus.SUCCEEDED, parent_run_id=live, root_run_id=live, depth=1)
    await database.write(factory.make_steps, second, [{}, {}])
    file_id = ids.new_uuid()
    file = {"id": file_id, "run_id": second, "step_name": "a", "attempt": 1, "name": "f", "size": 1}
    await database.write(files.create, [{**file, "media_type": "text/plain", "key": "k", "created_at": clock.now()}])
    operation_id = await start_operation(worker, BulkKind.DELETE, [second, child, live, beside])
    await BulkWorker(database).drain()
    assert await counts(worker, operation_id) == ("COMPLETED", 4, 4, 2, 2, 0)
    found = {key: (row.result, row.reason) for key, row in (await outcomes(worker, operation_id)).items()}
    assert found == {
        second: ("SUCCEEDED", None),
        child: ("SUCCEEDED", None),
        live: ("SKIPPED", "RUN_NOT_FINAL"),
        beside: ("SKIPPED", "FAMILY_NOT_FINAL"),
    }
    # The later retry is one of the run before: that has a retry still.
    assert await database.read(remaining) == {first: None, other: None, live: None, third: first, beside: None}
    steps = select(table(StepResult).c.run_id)
    assert await database.read(lambda conn: conn.execute(steps).all()) == []
    of_run = select(table(RunEvent).c.kind, table(RunEvent).c.run_id).where(
        table(RunEvent).c.run_id.in_([second, child])
    )
    events = await database.read(lambda conn: conn.execute(of_run).all())
    assert sorted(events) == sorted((event_log.RUN_DELETED, key) for key in (second, child))
    assert [row.key for row in await database.read(files.purged, 10)] == ["k"]
    await database.write(files.remove, [file_id])
    assert await database.read(files.purged, 10) == []


async def test_runs_of_which_a_later_retry_is_live_stay(worker: WorkerHarness, flow: Flow) -> None:
    first, other = await add(worker, flow, RunStatus.FAILED, RunStatus.FAILED)
    (second,) = await add(worker, flow, RunStatus.FAILED, retry_of_id=first, attempt=2)
    # It keeps child runs of the first one, as the second one did.
    (third,) = await add(worker, flow, RunStatus.RUNNING, retry_of_id=second, attempt=3)
    await add(worker, flow, RunStatus.SUCCEEDED, retry_of_id=other, attempt=2)
    for kind in (BulkKind.ERASE, BulkKind.DELETE):
        operation_id = await start_operation(worker, kind, [first, second, other])
        await BulkWorker(worker.database).drain()
        found = {key: row.reason for key, row in (await outcomes(worker, operation_id)).items()}
        assert found == {first: "RETRY_UNDER_WAY", second: "RETRY_UNDER_WAY", other: None}
    assert {first, second, third} <= set(await worker.database.read(remaining))


async def test_counts_follow_and_a_lost_worker_loses_nothing(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow
) -> None:
    database = worker.database
    run_ids = await add(worker, flow, *[RunStatus.FAILED, RunStatus.SUCCEEDED] * 20)
    kept = await add(worker, flow, RunStatus.FAILED)
    await fake_clock.drive(maintenance.keep_counts(database))
    lease = await start_leased(worker, BulkKind.DELETE, run_ids)
    # The worker commits a chunk, and is lost; another one claims the operation when the lease is over.
    assert not await database.write(chunks.process_chunk, lease, 15, LEASE)
    assert await database.read(check.differences) == []
    fake_clock.block(LEASE.total_seconds())
    await BulkWorker(database, chunk_size=10).drain()
    assert await counts(worker, lease.operation_id) == ("COMPLETED", 40, 40, 40, 0, 0)
    assert set(await database.read(remaining)) == set(kept)
    deleted = Counter(row.run_id for row in await events_of(worker, event_log.RUN_DELETED))
    assert deleted == Counter(run_ids)
    assert await database.read(check.differences) == []
    await fake_clock.drive(maintenance.keep_counts(database))
    assert await database.read(check.differences) == []
