"""Cancelling many runs, each with all live ones below it, as a single cancel does."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, case, update

from db.bulk.chunks import OUTCOMES, PENDING, Chunk, record_outcomes
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation, FlowRun
from db.models.types import table
from db.runs import step_journal
from db.sql.any_of import any_of
from db.sql.rows import AnyRow
from domain.bulk import BulkReason, BulkResult
from domain.enums import RetryStrategy, RunStatus
from domain.state_machine import LIVE

_run = table(FlowRun).c
_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_SETTLE = (
    update(OUTCOMES)
    .where(
        _outcome.operation_id == bindparam("of_operation"),
        any_of(_outcome.run_id, "run_ids"),
        PENDING,
    )
    .values(result=BulkResult.SUCCEEDED, at=bindparam("now"))
)


def refusal(_: RetryStrategy | None) -> ColumnElement[str | None]:
    """Why a run cannot be cancelled; null when it can."""
    return case((_run.status.not_in(sorted(LIVE)), BulkReason.RUN_NOT_CANCELLABLE.value), else_=None)


def apply(uow: UnitOfWork, chunk: Chunk, accepted: Sequence[AnyRow]) -> None:
    """Stop the runs accepted, and every live one below them."""
    record_outcomes(uow, chunk, BulkResult.SUCCEEDED)
    stopped = step_journal.stop_locked(uow, accepted, step_journal.cancelled_with(chunk.operation.key_name))
    below = stopped.difference(row.id for row in accepted)
    if below:
        _settle_early(uow, chunk, below)


def can_pipeline(_: Connection, __: Chunk, accepted: Sequence[AnyRow]) -> bool:
    """Whether these runs have nothing above them or below, and free no place that others wait for."""
    return all(row.status == RunStatus.QUEUED and row.parent_run_id is None and not row.limited for row in accepted)


def _settle_early(uow: UnitOfWork, chunk: Chunk, run_ids: Collection[UUID]) -> None:
    """Count runs that were to be cancelled later, and were stopped with one above them."""
    early = {"of_operation": chunk.operation.id, "run_ids": list(run_ids), "now": chunk.now}
    settled = uow.conn.execute(_SETTLE, early).rowcount
    counts = {"processed": _operation.processed + settled, "succeeded": _operation.succeeded + settled}
    uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(counts))
