"""Pins the runs of a bulk operation. All of them are pinned before the first run is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, insert, literal, select, update

from db.bulk import actions, leases, operations
from db.bulk.leases import BulkLease
from db.bulk.outcomes import IN_CHUNK, OUTCOMES, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation, FlowRun
from db.models.types import table
from db.narrowing.narrow import narrowed
from db.row_types import BulkOperationRow
from db.sql.any_of import rows_of
from domain import ids
from domain.bulk import BulkResult, BulkStatus
from domain.runs.run_filter import RunFilter
from domain.time import clock

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_run = table(FlowRun).c

_NIL = UUID(int=0)
"""Smaller than the ID of any run."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs of a bulk operation: the runs that match a filter, or the runs with one outcome in an earlier
    operation."""

    filter: RunFilter | None
    source_id: UUID | None
    """The earlier operation; None if a filter selects the runs."""
    source_result: BulkResult | None
    excluded_ids: Sequence[UUID]
    newest_id: UUID | None
    """The newest run when the operation began; later runs are not selected. None: the runs of an earlier operation are
    selected, which gets no later ones."""
    now: datetime
    """The time at which the operation began."""


def newest_run(conn: Connection, project_ids: Sequence[UUID] | None) -> UUID:
    """Returns the newest run of these projects (None: of all projects). Later runs have greater IDs."""
    query = select(_run.id)
    if project_ids is not None:
        query = query.where(_run.project_id.in_(project_ids))
    return conn.execute(query.order_by(_run.id.desc()).limit(1)).scalar() or _NIL


def select_runs(conn: Connection, selection: Selection, after: UUID | None, limit: int) -> Sequence[UUID]:
    """Returns the next selected runs with IDs greater than `after`, in the order of IDs."""
    if selection.filter is not None:
        run_id: ColumnElement[UUID] = _run.id
        query = select(run_id).where(narrowed(conn, selection.filter, selection.now, reads_all=False))
    else:
        run_id = _outcome.run_id
        query = select(run_id).where(
            _outcome.operation_id == selection.source_id, _outcome.result == selection.source_result
        )
    query = query.where(run_id > (after or _NIL))
    if selection.newest_id is not None:
        query = query.where(run_id <= selection.newest_id)
    if selection.excluded_ids:
        query = query.where(run_id.not_in(selection.excluded_ids))
    return conn.execute(query.order_by(run_id).limit(limit)).scalars().all()


def prepare(uow: UnitOfWork, values: Mapping[str, Any], duration: timedelta) -> BulkLease:
    """Inserts a PREPARING operation without runs, and leases it for `duration`."""
    lease = BulkLease(ids.new_uuid(), ids.new_uuid())
    now = clock.now()
    row = {"id": lease.operation_id, "status": BulkStatus.PREPARING, "created_at": now, **values}
    uow.conn.execute(insert(_operations), {**row, "lease_token": lease.token, "lease_until": now + duration})
    return lease


def pin(uow: UnitOfWork, lease: BulkLease, run_ids: Sequence[UUID], duration: timedelta, *, dry_run: bool) -> None:
    """Adds runs to a PREPARING operation. Their IDs must be sorted, and greater than those pinned before.

    A dry run also records whether each run is eligible, or the reason why it is not.

    Raises:
        OperationLostError
    """
    operation = leases.lock(uow, lease, BulkStatus.PREPARING, duration)
    constants = (literal(lease.operation_id, _operation.id.type), literal(BulkResult.PENDING.value))
    pinned = select(*constants, rows_of(run_ids, uow.conn.dialect.name))
    uow.conn.execute(insert(OUTCOMES).from_select(["operation_id", "result", "run_id"], pinned))
    matched = _operation.matched + len(run_ids)
    uow.conn.execute(update(_operations).where(_operation.id == lease.operation_id).values(matched=matched))
    if dry_run:
        before_first = UUID(int=run_ids[0].int - 1)
        chunk = Chunk(operation, before_first, run_ids[-1], len(run_ids), len(run_ids), clock.now())
        reason = actions.of_operation(operation).planned_reason
        statement = update(OUTCOMES).where(IN_CHUNK).values(planned_reason=reason)
        uow.conn.execute(statement, {**chunk.parameters, "source_id": operation.source_id})
        actions.of_operation(operation).plan_covered(uow.conn, chunk)


def start(uow: UnitOfWork, lease: BulkLease, duration: timedelta) -> BulkOperationRow:
    """Changes the status from PREPARING to RUNNING: all runs are pinned. An operation without runs is COMPLETED at
    once.

    Returns the operation as it was before.

    Raises:
        OperationLostError
    """
    operation = leases.lock(uow, lease, BulkStatus.PREPARING, duration)
    leases.change(uow, lease, BulkStatus.PREPARING, {"status": BulkStatus.RUNNING, "started_at": clock.now()})
    if operation.matched == 0:
        operations.end(uow, operation.id, BulkStatus.COMPLETED)
    operations.record_progress(uow, operation.id)
    return operation
