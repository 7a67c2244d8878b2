"""Outcomes: the pinned runs of a bulk operation, and the result of each one.

A chunk is the part of an operation that one transaction processes. It is a range of run IDs, so that the same
statements, with the bounds as parameters, serve every chunk: building a statement takes as long as SQLite takes to
execute it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, exists, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation, BulkOutcome, FlowRun
from db.models.types import table
from db.row_types import BulkOperationRow
from db.sql.any_of import any_of
from domain.actor import Actor, ActorKind
from domain.bulk import BulkReason, BulkResult

OUTCOMES = table(BulkOutcome)
_outcome = OUTCOMES.c
_operations = table(BulkOperation)
_operation = _operations.c

IN_CHUNK = and_(
    _outcome.operation_id == bindparam("of_operation"),
    _outcome.run_id > bindparam("after"),
    _outcome.run_id <= bindparam("through"),
)
"""Condition: the outcome belongs to the chunk. Its parameters are `Chunk.parameters`."""
PENDING = _outcome.result == BulkResult.PENDING
"""Condition: the run has not been processed yet."""
PENDING_IN_CHUNK = select(_outcome.run_id).where(IN_CHUNK, PENDING)
"""Query: the IDs of the runs of the chunk that have not been processed yet."""

_RECORD = (
    update(OUTCOMES)
    .where(IN_CHUNK, PENDING)
    .values(result=bindparam("new_result"), reason=bindparam("new_reason"), at=bindparam("recorded_at"))
)
_RECORD_SOME = _RECORD.where(any_of(_outcome.run_id, "run_ids"))
_RECORD_RELATED = (
    update(OUTCOMES)
    .where(_outcome.operation_id == bindparam("of_operation"), any_of(_outcome.run_id, "run_ids"), PENDING)
    .values(result=BulkResult.SUCCEEDED, at=bindparam("recorded_at"))
)
_RECORD_MISSING = _RECORD.where(~exists().where(table(FlowRun).c.id == _outcome.run_id))


def requester_of(operation: BulkOperationRow) -> Actor:
    """Returns who requested an operation, a row with `user_id`, `key_id` and `key_name`."""
    if operation.user_id is not None:
        return Actor(ActorKind.USER, operation.user_id, operation.key_name)
    return Actor(ActorKind.API_KEY, operation.key_id, operation.key_name)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The runs of `operation`, a complete row, with IDs greater than `after` and up to `through`."""

    operation: BulkOperationRow
    after: UUID
    through: UUID
    length: int
    """Number of runs in the chunk."""
    pending: int
    """Number of these runs that have not been processed. A run that was cancelled with its parent has been."""
    now: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of `IN_CHUNK`."""
        return {"of_operation": self.operation.id, "after": self.after, "through": self.through}

    @property
    def requested_by(self) -> Actor:
        """Returns the actor that requested the operation."""
        return requester_of(self.operation)


def record(
    uow: UnitOfWork,
    chunk: Chunk,
    result: BulkResult,
    reason: BulkReason | None = None,
    run_ids: Sequence[UUID] | None = None,
) -> None:
    """Writes the result of pending runs of the chunk: of `run_ids`, or of all of them if it is None."""
    values = {"new_result": result, "new_reason": reason, "recorded_at": chunk.now}
    if run_ids is None:
        uow.conn.execute(_RECORD, chunk.parameters | values)
    else:
        uow.conn.execute(_RECORD_SOME, chunk.parameters | values | {"run_ids": run_ids})


def record_missing(uow: UnitOfWork, chunk: Chunk) -> None:
    """Marks the runs of the chunk whose rows no longer exist as skipped."""
    values = {"new_result": BulkResult.SKIPPED, "new_reason": BulkReason.RUN_NOT_FOUND, "recorded_at": chunk.now}
    uow.conn.execute(_RECORD_MISSING, chunk.parameters | values)


def record_related(uow: UnitOfWork, chunk: Chunk, run_ids: Collection[UUID]) -> None:
    """Marks the runs of later chunks among `run_ids` as succeeded, and counts them.

    `run_ids` were changed together with the runs of this chunk, which they may include.
    """
    later = [run_id for run_id in run_ids if run_id > chunk.through]
    if not later:
        return
    parameters = {"of_operation": chunk.operation.id, "run_ids": later, "recorded_at": chunk.now}
    recorded = uow.conn.execute(_RECORD_RELATED, parameters).rowcount
    if recorded:
        counts = {"processed": _operation.processed + recorded, "succeeded": _operation.succeeded + recorded}
        uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(counts))
