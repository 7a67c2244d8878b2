"""Archives runs, and unarchives them."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, or_, select

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import PENDING_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.removal import archiving
from db.row_types import RunRow
from db.runs import families
from db.sql.any_of import any_of
from domain.bulk import BulkKind, BulkReason, BulkResult
from domain.runs.state_machine import FINAL

_run = RUNS.c
_source_id = bindparam("source_id", type_=_run.archive_operation_id.type)
_child = RUNS.alias("child")
_HAS_RELATIVES = (
    select(_run.id)
    .where(
        _run.id.in_(PENDING_IN_CHUNK),
        or_(_run.parent_run_id.is_not(None), exists().where(_child.c.parent_run_id == _run.id)),
    )
    .limit(1)
)


class _ArchiveAction(BulkAction):
    """Changes runs together with their descendants that have ended."""

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the runs and their descendants that have ended."""
        if uow.conn.execute(_HAS_RELATIVES, chunk.parameters).first() is not None:
            run_ids = uow.conn.execute(PENDING_IN_CHUNK, chunk.parameters).scalars().all()
            families.lock_runs(uow, {*run_ids, *families.final_descendants(uow.conn, run_ids)})

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run has relatives that another chunk may change."""
        return conn.execute(_HAS_RELATIVES, chunk.parameters).first() is None


class ArchiveRuns(_ArchiveAction):
    """Archives final runs, each with its descendants that have ended."""

    kind = BulkKind.ARCHIVE

    def refusal(self) -> ColumnElement[str | None]:
        """Returns SQL for the reason why a run cannot be archived."""
        return case(
            (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
            (_run.archived_at.is_not(None), BulkReason.RUN_ALREADY_ARCHIVED.value),
            else_=None,
        )

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Archives `runs`."""
        run_ids = [run.id for run in runs]
        below = families.final_descendants(uow.conn, run_ids)
        shown = select(_run.id).where(any_of(_run.id, below), _run.archived_at.is_(None))
        changed = {*run_ids, *uow.conn.execute(shown).scalars()}
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        archiving.archive(uow, changed, chunk.now, chunk.requested_by, chunk.operation.id)
        outcomes.record_related(uow, chunk, changed)


class UnarchiveRuns(_ArchiveAction):
    """Unarchives runs, each with the descendants that the same operation archived.

    An operation with a source undoes that operation: runs that another operation archived since are skipped.
    """

    kind = BulkKind.UNARCHIVE
    takes_over = (BulkKind.ARCHIVE, BulkResult.SUCCEEDED)

    def refusal(self) -> ColumnElement[str | None]:
        """Returns SQL for the reason why a run cannot be unarchived."""
        archived_since = and_(_source_id.is_not(None), _run.archive_operation_id.is_distinct_from(_source_id))
        return case(
            (_run.archived_at.is_(None), BulkReason.RUN_NOT_ARCHIVED.value),
            (archived_since, BulkReason.RUN_CHANGED_SINCE.value),
            else_=None,
        )

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Unarchives `runs`."""
        run_ids = [run.id for run in runs]
        operations = select(_run.archive_operation_id).where(any_of(_run.id, run_ids))
        below = families.final_descendants(uow.conn, run_ids)
        together = select(_run.id).where(any_of(_run.id, below), _run.archive_operation_id.in_(operations))
        changed = {*run_ids, *uow.conn.execute(together).scalars()}
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        archiving.unarchive(uow, changed, chunk.now)
        outcomes.record_related(uow, chunk, changed)
