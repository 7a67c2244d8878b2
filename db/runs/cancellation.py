"""Ends live runs from outside: cancellation, an exhausted quota, the failure of a child run."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, select, update

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import AttemptRef, RunRef
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import MillisecondsUntil, table
from db.queue import quota
from db.runs import children, input_requests, transitions
from db.runs import reads as run_reads
from db.runs.transitions import EndedRun, ExternalFailure
from db.sql.any_of import any_of
from domain import ids
from domain.enums import AttemptStatus, RunStatus, StepStatus
from domain.ids import IdKind
from domain.runs.state_machine import UNFINISHED
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_results = table(StepResult)
_step = _results.c
_attempts = table(StepAttempt)
_attempt = _attempts.c

_BATCH = 1_000
"""Runs that one statement stops."""

_UNFINISHED = (
    select(
        *(_step.run_id, _run.project_id, _run.flow_id),
        *(_step.position, _step.name, _step.status, _step.attempts_count),
    )
    .join_from(_results, _runs, _run.id == _step.run_id)
    .where(any_of(_step.run_id, "run_ids"), _step.status.in_(sorted(UNFINISHED)))
    .order_by(_step.run_id, _step.position)
)
_STOP_STEPS = (
    update(_results)
    .where(any_of(_step.run_id, "run_ids"), _step.status.in_(sorted(UNFINISHED)))
    .values(
        status=StepStatus.STOPPED,
        finished_at=bindparam("ended"),
        duration_ms=MillisecondsUntil(_step.started_at, bindparam("ended", type_=_step.finished_at.type)),
    )
)
_STOP_ATTEMPTS = (
    update(_attempts)
    .where(any_of(_attempt.run_id, "run_ids"), _attempt.status == AttemptStatus.RUNNING)
    .values(status=AttemptStatus.STOPPED, finished_at=bindparam("ended"))
)


def message_for(key_name: str) -> str:
    """Returns the status message of a run that was cancelled with the API key of this name."""
    return f"Cancelled with the key {key_name!r}"


def stop(uow: UnitOfWork, run_id: UUID, message: str) -> bool:
    """Stops a run and all its live descendants. Returns True if the run itself was live."""
    return run_id in stop_all(uow, [run_id], message)


def stop_all(uow: UnitOfWork, run_ids: Sequence[UUID], message: str) -> set[UUID]:
    """Stops runs and all their live descendants; returns all runs that were stopped."""
    ended = _end(uow, run_ids, RunStatus.STOPPED, message)
    return _stop_descendants(uow, run_ids, ended, message)


def stop_locked(uow: UnitOfWork, rows: Sequence[EndedRun], message: str) -> set[UUID]:
    """Does what `stop_all` does, for runs that this transaction has locked."""
    ended = transitions.end_locked(uow, rows, RunStatus.STOPPED, message)
    _finish_steps(uow, ended)
    return _stop_descendants(uow, [row.id for row in rows], ended, message)


def _stop_descendants(uow: UnitOfWork, run_ids: Sequence[UUID], ended: Sequence[EndedRun], message: str) -> set[UUID]:
    stopped = {row.id for row in ended}
    # Read after the lock: a child that was being created had to wait for its parent's row, or was there before.
    frontier = list(run_reads.children(uow.conn, run_ids))
    while frontier:
        batch, frontier = frontier[:_BATCH], frontier[_BATCH:]
        stopped.update(row.id for row in _end(uow, batch, RunStatus.STOPPED, message))
        frontier += run_reads.children(uow.conn, batch)
    notify_parents(uow, _with_parents(ended))
    return stopped


def apply_quota(uow: UnitOfWork) -> set[UUID]:
    """Charges the runs that the unit of work created to their projects' quotas; returns those beyond a quota.

    These end as QUOTA_EXCEEDED. Every unit of work does this at its end; a caller that has to know does it before.
    """
    refused: set[UUID] = set()
    while beyond := quota.charge(uow):
        error = ExternalFailure("QUOTA_EXCEEDED", "The project has used up its quota of runs.")
        # The parent of a refused run may create its next child, which is charged in turn.
        notify_parents(uow, _with_parents(_end(uow, beyond, RunStatus.QUOTA_EXCEEDED, error.message, error)))
        refused |= set(beyond)
    return refused


def notify_parents(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Continues the parents of runs that have ended. Parents that fail with a child notify their own parents."""
    while run_ids:
        children.advance_batches(uow, run_ids)
        failed: list[UUID] = []
        for child in run_reads.failing_their_parents(uow.conn, run_ids):
            error = ExternalFailure(
                "CHILD_FAILED", f"The child run {ids.encode(IdKind.RUN, child.id)} is {child.status}."
            )
            failed += _with_parents(_end(uow, [child.parent_run_id], RunStatus.FAILED, error.message, error))
        run_ids = failed


def _end(
    uow: UnitOfWork, run_ids: Sequence[UUID], target: RunStatus, message: str, error: ExternalFailure | None = None
) -> Sequence[EndedRun]:
    """Ends live runs and their unfinished steps; returns them as they were before."""
    ended = transitions.end(uow, run_ids, target, message, error)
    _finish_steps(uow, ended)
    return ended


def _finish_steps(uow: UnitOfWork, ended: Sequence[EndedRun]) -> None:
    """Ends the unfinished steps and cancels the input requests of runs that were ended from outside."""
    if started := [row.id for row in ended if row.status != RunStatus.QUEUED]:
        _stop_steps(uow, started)
        input_requests.cancel(uow, started)


def _stop_steps(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    steps = uow.conn.execute(_UNFINISHED, {"run_ids": run_ids}).all()
    if not steps:
        return
    now = clock.now()
    ended = {"run_ids": run_ids, "ended": now}
    uow.conn.execute(_STOP_STEPS, ended)
    uow.conn.execute(_STOP_ATTEMPTS, ended)
    rows = [
        event_log.step_row(
            RunRef(step.run_id, step.project_id, step.flow_id),
            AttemptRef(step.position, step.name, step.attempts_count),
            step.status,
            StepStatus.STOPPED,
            now,
        )
        for step in steps
    ]
    event_log.prepend(uow, rows)


def _with_parents(ended: Sequence[EndedRun]) -> list[UUID]:
    return [row.id for row in ended if row.parent_run_id is not None]
