"""Cancels runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import cancellation
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import RunNotCancellableError
from domain.ids import IdKind
from resolvers.context import Context
from resolvers.flow_runs import runs


@dataclass(frozen=True, slots=True)
class CancelledRuns:
    """The result of a cancellation."""

    run_id: UUID
    """The run that the request names."""
    stopped_ids: Sequence[UUID]
    """The runs that were stopped, ancestors before their descendants."""


async def cancel(context: Context, run_id: str, *, include_descendants: bool = False) -> CancelledRuns:
    """Cancels a run and all its live descendants. Workers abort the steps that they execute for these runs.

    With `include_descendants`, live descendants of a run that has ended are cancelled, too.

    Raises:
        InvalidIdError, RunNotFoundError.
        RunNotCancellableError: the run has ended, and nothing was cancelled.
    """
    run = await runs.get_existing(context, run_id, frozenset())
    message = context.viewer.actor.cancellation_message
    cancelled = await context.database.write(
        _cancel, context.origin, run, message, include_descendants=include_descendants
    )
    if not cancelled.run_ids:
        raise RunNotCancellableError
    return CancelledRuns(run.id, cancelled.run_ids)


def _cancel(
    uow: UnitOfWork, origin: Origin, run: RunRow, message: str, *, include_descendants: bool
) -> cancellation.Cancelled:
    cancelled = cancellation.stop(uow, run.id, message, origin.actor, include_descendants=include_descendants)
    if cancelled.run_ids:
        details = {"cancelledRuns": len(cancelled.run_ids)}
        audit_events.record(uow, origin, AuditAction.CANCEL, IdKind.RUN, run.id, run.project_id, details=details)
    return cancelled
