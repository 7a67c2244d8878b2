"""Leases on bulk operations: each names the process that works on an operation.

Every write for an operation carries its lease's token, and is refused once another process has claimed the operation.
So of two processes that believe they work on it, only one can change anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, or_, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation
from db.models.types import table
from db.queue import holds
from db.row_types import BulkOperationRow
from domain import ids
from domain.bulk import BulkStatus
from domain.time import clock

_operations = table(BulkOperation)
_operation = _operations.c

_leased = (
    _operation.id == bindparam("of_operation"),
    _operation.lease_token == bindparam("token"),
    _operation.status == bindparam("expected_status"),
)
_GET = select(_operations).where(*_leased)
_LOCK = update(_operations).where(*_leased).values(lease_until=bindparam("until")).returning(*_operation)


class OperationLostError(Exception):
    """The operation has ended or was claimed by another process. Nothing was written."""


@dataclass(frozen=True, slots=True)
class BulkLease:
    """The right to work on a bulk operation, until it expires and another process claims the operation."""

    operation_id: UUID
    token: UUID

    def parameters(self, status: BulkStatus) -> dict[str, Any]:
        """Returns the parameters of statements that need this lease and the status of the operation."""
        return {"of_operation": self.operation_id, "token": self.token, "expected_status": status}


def has_claimable(conn: Connection) -> bool:
    """Returns True if `claim` would find an operation, and workers are not drained."""
    return conn.execute(_claimable(clock.now())).first() is not None and not holds.is_drained(conn)


def claim(uow: UnitOfWork, duration: timedelta) -> BulkLease | None:
    """Leases the oldest running operation that no process works on. Skips operations that other processes are
    claiming."""
    now = clock.now()
    operation_id = uow.conn.execute(_claimable(now).with_for_update(skip_locked=True)).scalar()
    if operation_id is None:
        return None
    lease = BulkLease(operation_id, ids.new_uuid())
    values = {"lease_token": lease.token, "lease_until": now + duration}
    uow.conn.execute(update(_operations).where(_operation.id == operation_id).values(values))
    return lease


def get(conn: Connection, lease: BulkLease, status: BulkStatus) -> BulkOperationRow:
    """Returns the row of the operation without locking it.

    Raises:
        OperationLostError
    """
    row = conn.execute(_GET, lease.parameters(status)).first()
    if row is None:
        raise OperationLostError
    return row


def lock(uow: UnitOfWork, lease: BulkLease, status: BulkStatus, duration: timedelta) -> BulkOperationRow:
    """Renews the lease and returns the operation's row, which stays locked until the end of the transaction.

    Raises:
        OperationLostError
    """
    row = uow.conn.execute(_LOCK, lease.parameters(status) | {"until": clock.now() + duration}).first()
    if row is None:
        raise OperationLostError
    return row


def change(uow: UnitOfWork, lease: BulkLease, status: BulkStatus, values: Mapping[str, Any]) -> None:
    """Writes columns of an operation that has the status `status`.

    Raises:
        OperationLostError
    """
    statement = update(_operations).where(*_leased).values(values)
    if uow.conn.execute(statement, lease.parameters(status)).rowcount == 0:
        raise OperationLostError


def release(uow: UnitOfWork, lease: BulkLease) -> None:
    """Ends the lease, so that another process can claim the operation at once."""
    leased = (_operation.id == lease.operation_id, _operation.lease_token == lease.token)
    uow.conn.execute(update(_operations).where(*leased).values(lease_until=None))
    uow.publish_after_commit(pubsub.BULK_DUE)


def release_leases(uow: UnitOfWork) -> None:
    """Ends all leases. Only for a worker that knows that no other worker is alive."""
    uow.conn.execute(update(_operations).where(_operation.status == BulkStatus.RUNNING).values(lease_until=None))


def _claimable(now: datetime) -> Select[Any]:
    """Returns the query for the ID of the oldest running operation without a valid lease."""
    is_free = or_(_operation.lease_until.is_(None), _operation.lease_until <= now)
    running = select(_operation.id).where(_operation.status == BulkStatus.RUNNING, is_free)
    return running.order_by(_operation.id).limit(1)
