"""Helpers of the bulk worker's tests."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from db.bulk import leases, pinning
from db.bulk import reads as bulk_reads
from db.bulk.leases import BulkLease
from db.models import BulkOperation, BulkOutcome, FlowRun, RunEvent
from db.models.types import table
from db.row_types import BulkOperationRow
from db.sql.rows import AnyRow
from domain import ids
from domain.bulk import BulkKind
from domain.enums import RunStatus
from engine.worker.bulk_worker import LEASE
from tests.support import factory
from tests.support.factory import PublishedFlow
from tests.support.worker import Flow, WorkerHarness

_run = table(FlowRun).c


_outcome = table(BulkOutcome).c


_event = table(RunEvent).c


SECOND = timedelta(seconds=1)


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


async def operation(worker: WorkerHarness, operation_id: UUID) -> BulkOperationRow:
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
