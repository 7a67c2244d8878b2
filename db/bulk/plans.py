"""Plans: operations that began as a dry run, and wait to be executed on exactly the runs that the dry run found."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from db.bulk import leases, operations
from db.bulk.leases import BulkLease
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation
from db.models.types import table
from domain import ids
from domain.bulk import BulkStatus
from domain.time import clock

_operations = table(BulkOperation)
_operation = _operations.c


def keep_as_plan(uow: UnitOfWork, lease: BulkLease, lifetime: timedelta) -> None:
    """Changes the status from PREPARING to PLANNED: all runs are pinned, and none is changed. The plan expires after
    `lifetime`.

    Raises:
        OperationLostError
    """
    values = {"expires_at": clock.now() + lifetime, "lease_token": None, "lease_until": None}
    leases.change(uow, lease, BulkStatus.PREPARING, {"status": BulkStatus.PLANNED, **values})


def execute_plan(
    uow: UnitOfWork, operation_id: UUID, values: Mapping[str, Any], duration: timedelta
) -> BulkLease | None:
    """Changes the status from PLANNED to RUNNING, and sets further columns. Returns None if the operation is not
    planned any more, or has expired.

    A plan without runs is COMPLETED at once.
    """
    now = clock.now()
    lease = BulkLease(operation_id, ids.new_uuid())
    is_executable = (
        _operation.id == operation_id,
        _operation.status == BulkStatus.PLANNED,
        _operation.expires_at > now,
    )
    running = {
        "status": BulkStatus.RUNNING,
        "started_at": now,
        "lease_token": lease.token,
        "lease_until": now + duration,
    }
    statement = update(_operations).where(*is_executable).values({**values, **running})
    matched = uow.conn.execute(statement.returning(_operation.matched)).scalar()
    if matched is None:
        return None
    if matched == 0:
        operations.end(uow, operation_id, BulkStatus.COMPLETED)
    operations.record_progress(uow, operation_id)
    return lease


def expire_oldest(uow: UnitOfWork, project_id: UUID | None, but: int) -> None:
    """Makes the plans of a project (None: those over several projects) expire, except the newest `but` plans."""
    now = clock.now()
    is_open = (operations.in_project(project_id), _operation.status == BulkStatus.PLANNED, _operation.expires_at > now)
    oldest = select(_operation.id).where(*is_open).order_by(_operation.id.desc()).offset(but)
    uow.conn.execute(update(_operations).where(_operation.id.in_(oldest)).values(expires_at=now))


def expire_stale_plans(uow: UnitOfWork, now: datetime, expired_before: datetime, limit: int) -> None:
    """Deletes the oldest plan that expired before `expired_before`, up to `limit` outcomes at a time.

    Also fails operations whose process was lost before all runs were pinned.
    """
    operations.fail_lost_preparations(uow, now)
    is_stale = (_operation.status == BulkStatus.PLANNED, _operation.expires_at <= expired_before)
    plan_id = uow.conn.execute(select(_operation.id).where(*is_stale).order_by(_operation.id).limit(1)).scalar()
    if plan_id is not None:
        operations.delete_part(uow, plan_id, limit)
