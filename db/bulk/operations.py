"""Bulk operations as a whole: their limits, idempotency keys, progress, cancellation and deletion.

An operation changes a set of runs in three stages. Its runs are pinned as outcomes, in the order of their IDs, before
any of them is changed (`pinning`). Then a worker that holds its lease (`leases`) processes the set in chunks
(`chunks`); an operation that began as a dry run waits as a plan before that (`plans`). Its action changes the runs
(`actions`).
"""

from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from db.bulk.outcomes import OUTCOMES
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import BulkOperation, Project
from db.models.types import table
from db.row_types import BulkOperationRow
from db.sql.rows import fetch_first
from domain.bulk import ENDED, BulkStatus
from domain.time import clock

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_projects = table(Project)

_ALL_PROJECTS = UUID(int=0)
"""Project ID of the events of an operation over several projects. No project has it, so only operator keys see them."""
_COUNTS = ("matched", "processed", "succeeded", "skipped", "failed")


def lock_project(uow: UnitOfWork, project_id: UUID) -> None:
    """Keeps other transactions from starting a bulk operation in the project until this one ends."""
    query = select(_projects.c.id).where(_projects.c.id == project_id)
    uow.conn.execute(query.with_for_update(key_share=True))


def count_active(conn: Connection, project_id: UUID | None) -> int:
    """Returns the number of active operations of a project, or of those over several projects if `project_id` is
    None."""
    # A preparation without a valid lease is lost and will be marked as FAILED.
    is_preparing = and_(_operation.status == BulkStatus.PREPARING, _operation.lease_until > clock.now())
    is_under_way = or_(_operation.status == BulkStatus.RUNNING, is_preparing)
    query = select(func.count()).select_from(_operations).where(in_project(project_id), is_under_way)
    under_way: int = conn.execute(query).scalar_one()
    return under_way


def find_by_idempotency_key(uow: UnitOfWork, project_id: UUID | None, idempotency_key: str) -> BulkOperationRow | None:
    """Returns `id`, `status` and `request_hash` of the operation that was requested under this key."""
    has_key = (in_project(project_id), _operation.idempotency_key == idempotency_key)
    fail_lost_preparations(uow, clock.now(), *has_key)
    query = select(_operation.id, _operation.status, _operation.request_hash).where(*has_key)
    row: BulkOperationRow | None = fetch_first(uow.conn, query)
    return row


def fail_lost_preparations(uow: UnitOfWork, now: datetime, *conditions: ColumnElement[bool]) -> None:
    """Ends operations whose process was lost while it pinned the runs, as FAILED.

    They have changed nothing, so their idempotency keys become free.
    """
    is_lost = (_operation.status == BulkStatus.PREPARING, _operation.lease_until <= now, *conditions)
    values = {"status": BulkStatus.FAILED, "finished_at": now, "lease_token": None, "idempotency_key": None}
    statement = update(_operations).where(*is_lost).values(values).returning(_operation.id)
    for operation_id in uow.conn.execute(statement).scalars():
        record_progress(uow, operation_id)


def cancel(uow: UnitOfWork, operation_id: UUID) -> bool:
    """Cancels a planned or running operation; changed runs stay changed. Returns False if it had ended."""
    if not end(uow, operation_id, BulkStatus.CANCELLED):
        return False
    record_progress(uow, operation_id)
    return True


def end(uow: UnitOfWork, operation_id: UUID, status: BulkStatus) -> bool:
    """Sets the final status of an operation. Returns False if it had ended."""
    is_live = (_operation.id == operation_id, _operation.status.not_in(sorted(ENDED)))
    values = {"status": status, "finished_at": clock.now(), "lease_token": None, "lease_until": None}
    return uow.conn.execute(update(_operations).where(*is_live).values(values)).rowcount == 1


def record_progress(uow: UnitOfWork, operation_id: UUID) -> None:
    """Appends the operation's status and counts to the event log, and wakes subscribers and bulk workers."""
    columns = (_operation.project_id, _operation.status, *(_operation[name] for name in _COUNTS))
    row = uow.conn.execute(select(*columns).where(_operation.id == operation_id)).one()
    data = {"status": row.status, **{name: getattr(row, name) for name in _COUNTS}}
    event = {
        "project_id": row.project_id or _ALL_PROJECTS,
        "operation_id": operation_id,
        "kind": event_log.BULK_PROGRESS,
        "data": orjson.dumps(data).decode(),
        "at": clock.now(),
    }
    event_log.append(uow, [event])
    uow.publish_after_commit(pubsub.operation_changed(operation_id))
    uow.publish_after_commit(pubsub.BULK_DUE)


def purge(uow: UnitOfWork, before: datetime, limit: int) -> bool:
    """Deletes one operation that ended before `before`, or up to `limit` of its outcomes.

    Returns False if there was none. Skips operations that another process is purging, and operations whose outcomes are
    being pinned for another one.
    """
    preparing = _operations.alias("preparing")
    is_source = exists().where(preparing.c.source_id == _operation.id, preparing.c.status == BulkStatus.PREPARING)
    is_old = (_operation.status.in_(sorted(ENDED)), _operation.finished_at < before, ~is_source)
    query = select(_operation.id).where(*is_old).order_by(_operation.id).limit(1)
    operation_id = uow.conn.execute(query.with_for_update(skip_locked=True)).scalar()
    if operation_id is None:
        return False
    delete_part(uow, operation_id, limit)
    return True


def delete_part(uow: UnitOfWork, operation_id: UUID, limit: int) -> None:
    """Deletes up to `limit` outcomes of an operation, and the operation itself once it has none left."""
    in_operation = _outcome.operation_id == operation_id
    part = select(_outcome.run_id).where(in_operation).order_by(_outcome.run_id).limit(limit)
    if uow.conn.execute(delete(OUTCOMES).where(in_operation, _outcome.run_id.in_(part))).rowcount < limit:
        # The number says nothing if another worker has just deleted the same part.
        is_empty = ~exists().where(in_operation)
        uow.conn.execute(delete(_operations).where(_operation.id == operation_id, is_empty))


def in_project(project_id: UUID | None) -> ColumnElement[bool]:
    """Returns the condition that an operation belongs to a project, or to several if `project_id` is None."""
    return _operation.project_id == project_id if project_id is not None else _operation.project_id.is_(None)
