"""Cancels runs, each with all its live descendants, as the mutation `cancel` does."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import ColumnElement, Connection, case, exists, or_, select

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import PENDING_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.queue import slots
from db.row_types import RunRow
from db.runs import cancellation, families, transitions
from db.runs.transitions import EndedRun
from domain.bulk import BulkKind, BulkReason, BulkResult
from domain.enums import RunStatus
from domain.runs.state_machine import LIVE

_child = RUNS.alias("child")
_NOT_ALONE = (
    select(RUNS.c.id)
    .where(
        RUNS.c.id.in_(PENDING_IN_CHUNK),
        or_(
            RUNS.c.status != RunStatus.QUEUED,
            RUNS.c.parent_run_id.is_not(None),
            exists().where(_child.c.parent_run_id == RUNS.c.id),
            slots.LIMITED,
        ),
    )
    .limit(1)
)


class CancelRuns(BulkAction):
    """Stops live runs and their live descendants."""

    kind = BulkKind.CANCEL
    columns = transitions.COLUMNS_FOR_END

    def refusal(self) -> ColumnElement[str | None]:
        """Returns SQL for the reason why a run cannot be cancelled."""
        return case((RUNS.c.status.not_in(sorted(LIVE)), BulkReason.RUN_NOT_CANCELLABLE.value), else_=None)

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the families of the runs, their live descendants, and the parents that wait for them."""
        run_ids = uow.conn.execute(PENDING_IN_CHUNK, chunk.parameters).scalars().all()
        families.lock_of_runs(uow, run_ids, exclusive=True)
        cancellation.lock_for_stop(uow, run_ids)

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Stops `runs` and every live run below them."""
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        rows = cast("Sequence[EndedRun]", runs)  # They have `columns`.
        stopped = cancellation.stop_locked(uow, rows, chunk.requested_by.cancellation_message, chunk.requested_by)
        outcomes.record_related(uow, chunk, stopped)

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run has relatives or a concurrency slot that its end would release."""
        return conn.execute(_NOT_ALONE, chunk.parameters).first() is None

    def is_alone(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run was started, or got a child run, since `can_pipeline`."""
        return self.can_pipeline(conn, chunk)
