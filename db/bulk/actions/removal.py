"""What bulk erase and bulk delete have in common: they take families whose runs have all ended."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, case, exists, or_, select

from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import PENDING_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.runs import families
from db.sql.rows import AnyRow
from domain.bulk import BulkReason
from domain.runs.state_machine import FINAL, LIVE

_run = RUNS.c
_root = RUNS.alias("root")
_member = RUNS.alias("member")
_retry = RUNS.alias("live_retry")
_linked = RUNS.alias("linked")
_IS_FAMILY_LIVE = or_(
    exists().where(_root.c.id == _run.root_run_id, _root.c.status.in_(sorted(LIVE))).correlate(RUNS),
    exists()
    .where(
        _member.c.root_run_id == _run.root_run_id,
        _member.c.parent_run_id.is_not(None),
        _member.c.status.in_(sorted(LIVE)),
    )
    .correlate(RUNS),
)
# A live retry looks at the child runs that steps of its run have started.
_HAS_LIVE_RETRY = (
    exists()
    .where(or_(_retry.c.retry_of_id == _run.id, _retry.c.rerun_of_id == _run.id), _retry.c.status.in_(sorted(LIVE)))
    .correlate(RUNS)
)
_HAS_RELATIVES = (
    select(_run.id)
    .where(
        _run.id.in_(PENDING_IN_CHUNK),
        or_(
            _run.parent_run_id.is_not(None),
            _run.retry_of_id.is_not(None),
            exists().where(_linked.c.parent_run_id == _run.id).correlate(RUNS),
            exists().where(_linked.c.retry_of_id == _run.id).correlate(RUNS),
            exists().where(_linked.c.rerun_of_id == _run.id).correlate(RUNS),
        ),
    )
    .limit(1)
)


class RemovalAction(BulkAction):
    """Changes final runs together with all their descendants, which have ended, too."""

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why nothing of a run can be removed."""
        return case(
            (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
            (_IS_FAMILY_LIVE, BulkReason.FAMILY_NOT_FINAL.value),
            (_HAS_LIVE_RETRY, BulkReason.RETRY_UNDER_WAY.value),
            else_=None,
        )

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the families of runs that have relatives, and their descendants."""
        if uow.conn.execute(_HAS_RELATIVES, chunk.parameters).first() is not None:
            run_ids = uow.conn.execute(PENDING_IN_CHUNK, chunk.parameters).scalars().all()
            families.lock_of_runs(uow, run_ids, exclusive=True)
            families.lock_runs(uow, {*run_ids, *families.final_descendants(uow.conn, run_ids)})

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """True if no run has relatives, which another chunk may change."""
        return conn.execute(_HAS_RELATIVES, chunk.parameters).first() is None


def with_descendants(conn: Connection, runs: Sequence[AnyRow]) -> list[UUID]:
    """Returns the IDs of runs and of all runs below them."""
    run_ids = [run.id for run in runs]
    return list({*run_ids, *families.final_descendants(conn, run_ids)})
