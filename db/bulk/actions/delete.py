"""Deletes runs."""

from collections.abc import Sequence

from db.bulk import outcomes
from db.bulk.actions.removal import RemovalAction
from db.bulk.outcomes import Chunk
from db.core.unit_of_work import UnitOfWork
from db.removal import deletion, eligibility
from db.row_types import RunRow
from domain.bulk import BulkKind, BulkResult


class DeleteRuns(RemovalAction):
    """Deletes final runs, and each run below them."""

    kind = BulkKind.DELETE

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Deletes `runs`."""
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        deleted = eligibility.with_descendants(uow.conn, [run.id for run in runs])
        deletion.delete_runs(uow, deleted, chunk.now)
        outcomes.record_related(uow, chunk, deleted)
