"""Which runs can be erased or deleted, and how a transaction locks them: families whose runs have all ended."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, case, exists, false, or_, select, union_all

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import families
from db.sql.any_of import any_of
from domain.bulk import BulkReason
from domain.runs.state_machine import FINAL, LIVE

_runs = table(FlowRun)
_run = _runs.c
_root = _runs.alias("root")
_member = _runs.alias("member")
_retry = _runs.alias("retry")
_rerun = _runs.alias("live_rerun")
_linked = _runs.alias("linked")
_IS_FAMILY_LIVE = or_(
    exists().where(_root.c.id == _run.root_run_id, _root.c.status.in_(sorted(LIVE))).correlate(_runs),
    exists()
    .where(
        _member.c.root_run_id == _run.root_run_id,
        _member.c.parent_run_id.is_not(None),
        _member.c.status.in_(sorted(LIVE)),
    )
    .correlate(_runs),
)
_later = (
    select(_retry.c.id, _retry.c.status)
    .where(_retry.c.retry_of_id == _run.id)
    .correlate(_runs)
    .cte("later", recursive=True, nesting=True)
)
_next = _runs.alias("next_retry")
_later = _later.union_all(select(_next.c.id, _next.c.status).join(_later, _next.c.retry_of_id == _later.c.id))
# A live retry looks at the child runs that steps of its run have started, or that its run has kept from an earlier one.
_HAS_LIVE_RETRY = case(
    (
        # Most runs have no retry, and a recursion takes longer than finding that.
        exists().where(_retry.c.retry_of_id == _run.id).correlate(_runs),
        exists(select(_later.c.id).where(_later.c.status.in_(sorted(LIVE)))),
    ),
    else_=false(),
)
_HAS_LIVE_RERUN = exists().where(_rerun.c.rerun_of_id == _run.id, _rerun.c.status.in_(sorted(LIVE))).correlate(_runs)
REFUSAL: ColumnElement[str | None] = case(
    (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
    (_IS_FAMILY_LIVE, BulkReason.FAMILY_NOT_FINAL.value),
    (or_(_HAS_LIVE_RETRY, _HAS_LIVE_RERUN), BulkReason.RETRY_UNDER_WAY.value),
    else_=None,
)
"""SQL for why nothing of a run of `flow_run` can be removed; null if it can be."""
HAS_RELATIVES: ColumnElement[bool] = or_(
    _run.parent_run_id.is_not(None),
    _run.retry_of_id.is_not(None),
    exists().where(_linked.c.parent_run_id == _run.id).correlate(_runs),
    exists().where(_linked.c.retry_of_id == _run.id).correlate(_runs),
    exists().where(_linked.c.rerun_of_id == _run.id).correlate(_runs),
)
"""Condition: the removal of a run of `flow_run` changes or reads other runs."""


def lock(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Locks runs, their descendants, and the runs whose links the deletion of these changes, in the common order.

    Must precede all other locks of the transaction.
    """
    related = uow.conn.execute(select(_run.id).where(any_of(_run.id, run_ids), HAS_RELATIVES)).scalars().all()
    if not related:
        families.lock_runs(uow, run_ids)
        return
    families.lock_of_runs(uow, related, exclusive=True)
    removed = with_descendants(uow.conn, run_ids)
    families.lock_runs(uow, {*removed, *_linked_to(uow.conn, removed)})


def with_descendants(conn: Connection, run_ids: Collection[UUID]) -> list[UUID]:
    """Returns the IDs of runs, and of all runs below them."""
    return list({*run_ids, *families.final_descendants(conn, list(run_ids))})


def _linked_to(conn: Connection, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the retries of runs, direct and through other retries, and the reruns."""
    later = select(_run.id).where(any_of(_run.retry_of_id, run_ids)).cte("later", recursive=True)
    later = later.union(select(_run.id).join(later, _run.retry_of_id == later.c.id))
    reruns = select(_run.id).where(any_of(_run.rerun_of_id, run_ids))
    return conn.execute(union_all(select(later.c.id), reruns)).scalars().all()
