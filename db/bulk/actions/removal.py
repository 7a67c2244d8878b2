"""What bulk erase and bulk delete have in common: they take families whose runs have all ended."""

from sqlalchemy import ColumnElement, Connection, select

from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import PENDING_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.removal import eligibility

_HAS_RELATIVES = select(RUNS.c.id).where(RUNS.c.id.in_(PENDING_IN_CHUNK), eligibility.HAS_RELATIVES).limit(1)


class RemovalAction(BulkAction):
    """Changes final runs together with all their descendants, which have ended, too."""

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why nothing of a run can be removed."""
        return eligibility.REFUSAL

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the families of runs that have relatives, their descendants, and the runs that are linked to them."""
        if not self.can_pipeline(uow.conn, chunk):
            eligibility.lock(uow, uow.conn.execute(PENDING_IN_CHUNK, chunk.parameters).scalars().all())

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run has relatives, which another chunk may change."""
        return conn.execute(_HAS_RELATIVES, chunk.parameters).first() is None

    def is_alone(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run got a relative before it was locked."""
        return self.can_pipeline(conn, chunk)
