"""Cancels runs, each with all its live descendants, as a single cancel does."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, case, update

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import OUTCOMES, PENDING, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation
from db.models.types import table
from db.runs import cancellation, transitions
from db.sql.any_of import any_of
from db.sql.rows import AnyRow
from domain.bulk import BulkKind, BulkReason, BulkResult
from domain.enums import RunStatus
from domain.runs.state_machine import LIVE

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_RECORD_DESCENDANTS = (
    update(OUTCOMES)
    .where(
        _outcome.operation_id == bindparam("of_operation"),
        any_of(_outcome.run_id, "run_ids"),
        PENDING,
    )
    .values(result=BulkResult.SUCCEEDED, at=bindparam("now"))
)


class CancelRuns(BulkAction):
    """Stops live runs and their live descendants."""

    kind = BulkKind.CANCEL
    columns = transitions.COLUMNS_FOR_END

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why a run cannot be cancelled."""
        return case((RUNS.c.status.not_in(sorted(LIVE)), BulkReason.RUN_NOT_CANCELLABLE.value), else_=None)

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[AnyRow]) -> None:
        """Stops `runs` and every live run below them."""
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        stopped = cancellation.stop_locked(uow, runs, cancellation.message_for(chunk.operation.key_name))
        descendants = stopped.difference(run.id for run in runs)
        if descendants:
            _record_descendants(uow, chunk, descendants)

    def can_pipeline(self, conn: Connection, chunk: Chunk, runs: Sequence[AnyRow]) -> bool:
        """True if no run has a parent or children, or holds a concurrency slot that its end would release."""
        return all(run.status == RunStatus.QUEUED and run.parent_run_id is None and not run.limited for run in runs)


def _record_descendants(uow: UnitOfWork, chunk: Chunk, run_ids: Collection[UUID]) -> None:
    """Counts runs of later chunks that were stopped together with a parent in this one."""
    parameters = {"of_operation": chunk.operation.id, "run_ids": list(run_ids), "now": chunk.now}
    recorded = uow.conn.execute(_RECORD_DESCENDANTS, parameters).rowcount
    counts = {"processed": _operation.processed + recorded, "succeeded": _operation.succeeded + recorded}
    uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(counts))
