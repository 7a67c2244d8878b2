"""A part of a bulk operation: the runs that one transaction deals with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, exists, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import BulkOutcome, FlowRun
from db.models.types import table
from db.sql.any_of import any_of
from db.sql.rows import AnyRow
from domain.bulk import BulkReason, BulkResult

OUTCOMES = table(BulkOutcome)
_outcome = OUTCOMES.c

# The statements are built once: to build one anew for each chunk costs as much as SQLite takes to run it.

IN_CHUNK = and_(
    _outcome.operation_id == bindparam("of_operation"),
    _outcome.run_id > bindparam("after"),
    _outcome.run_id <= bindparam("through"),
)
"""The condition that the outcomes of a chunk meet, of which the parameters are `Chunk.named`."""
ACCEPTED = select(_outcome.run_id).where(IN_CHUNK, _outcome.result == BulkResult.SUCCEEDED)
"""The IDs of the runs of a chunk that something is done to."""
PENDING = _outcome.result == BulkResult.PENDING
"""Whether it is still open what becomes of a run."""

_SETTLE = (
    update(OUTCOMES)
    .where(IN_CHUNK, PENDING)
    .values(result=bindparam("became"), reason=bindparam("why"), at=bindparam("settled_at"))
)
_SETTLE_SOME = _SETTLE.where(any_of(_outcome.run_id, "run_ids"))
_SETTLE_MISSING = _SETTLE.where(~exists().where(table(FlowRun).c.id == _outcome.run_id))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The runs of `operation`, a whole row, from behind `after` up to `through`."""

    operation: AnyRow
    after: UUID
    through: UUID
    length: int
    pending: int
    """How many of them are to be dealt with. Some may have been stopped before, with one above them."""
    now: datetime

    @property
    def named(self) -> dict[str, Any]:
        """What its statements call it by."""
        return {"of_operation": self.operation.id, "after": self.after, "through": self.through}


def record_outcomes(
    uow: UnitOfWork,
    chunk: Chunk,
    result: BulkResult,
    reason: BulkReason | None = None,
    run_ids: Sequence[UUID] | None = None,
) -> None:
    """Write what became of those of these runs that are still pending; without IDs, of all."""
    values = {"became": result, "why": reason, "settled_at": chunk.now}
    if run_ids is None:
        uow.conn.execute(_SETTLE, chunk.named | values)
    else:
        uow.conn.execute(_SETTLE_SOME, chunk.named | values | {"run_ids": run_ids})


def record_missing(uow: UnitOfWork, chunk: Chunk) -> None:
    """Note of which runs the rows are gone."""
    gone = {"became": BulkResult.SKIPPED, "why": BulkReason.RUN_NOT_FOUND, "settled_at": chunk.now}
    uow.conn.execute(_SETTLE_MISSING, chunk.named | gone)
