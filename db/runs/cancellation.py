"""Ends live runs from outside: cancellation, an exhausted quota, the failure of a child run."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, select, update

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import AttemptRef, RunRef
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import MillisecondsUntil, table
from db.queue import quota
from db.runs import children, families, transitions
from db.runs import reads as run_reads
from db.runs.children import FailedBatch
from db.runs.families import Links
from db.runs.transitions import EndedRun, ExternalFailure
from db.runs.waits import input_requests
from db.sql.any_of import any_of
from domain import ids
from domain.actor import Actor
from domain.enums import AttemptStatus, OnItemFailure, RunStatus, StepStatus
from domain.ids import IdKind
from domain.runs.state_machine import LIVE, UNFINISHED
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


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The runs that a cancellation stopped."""

    run: bool
    """True if the run itself was live."""
    run_ids: Sequence[UUID]
    """All runs that were stopped, ancestors before their descendants."""


def stop(
    uow: UnitOfWork, run_id: UUID, message: str, by: Actor | None = None, *, include_descendants: bool = False
) -> Cancelled:
    """Stops a live run with all its live descendants.

    If the run has ended, nothing is changed, unless `include_descendants` is set: then its live descendants are
    stopped.
    """
    families.lock_of_runs(uow, [run_id], exclusive=True)
    rows = transitions.lock_live(uow, [run_id, *lock_for_stop(uow, [run_id])])
    is_live = any(row.id == run_id for row in rows)
    stopped = _stop(uow, rows, message, by) if is_live or include_descendants else ()
    return Cancelled(is_live, stopped)


def stop_all(
    uow: UnitOfWork, run_ids: Sequence[UUID], message: str, by: Actor, statuses: Collection[RunStatus] = LIVE
) -> Sequence[UUID]:
    """Stops the runs among `run_ids` with one of these statuses, with their live descendants; returns all stopped
    runs."""
    if not run_ids:
        return ()
    families.lock_of_runs(uow, run_ids, exclusive=True)
    given = set(run_ids)
    rows = transitions.lock_live(uow, [*run_ids, *lock_for_stop(uow, run_ids)])
    return stop_locked(uow, [row for row in rows if row.id in given and row.status in statuses], message, by)


def lock_for_stop(uow: UnitOfWork, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Locks runs, their live descendants and the parents that wait for them; returns the live descendants.

    The families of the runs must be locked exclusively.
    """
    below = families.live_descendants(uow.conn, run_ids)
    families.lock_runs(uow, {*run_ids, *below, *families.parents(uow.conn, run_ids)})
    return below


def stop_locked(uow: UnitOfWork, rows: Sequence[EndedRun], message: str, by: Actor) -> Sequence[UUID]:
    """Stops these live runs, and their live descendants, after `lock_for_stop`; returns all stopped runs."""
    if below := families.live_descendants(uow.conn, [row.id for row in rows]):
        rows = transitions.lock_live(uow, [*(row.id for row in rows), *below])
    return _stop(uow, rows, message, by)


def _stop(uow: UnitOfWork, rows: Sequence[EndedRun], message: str, by: Actor | None) -> Sequence[UUID]:
    ended: list[EndedRun] = []
    for start in range(0, len(rows), _BATCH):
        ended += transitions.end_locked(uow, rows[start : start + _BATCH], RunStatus.STOPPED, message, cancelled_by=by)
    _finish_steps(uow, ended)
    stopped = {row.id for row in ended}
    # The other parents were stopped with their children.
    notify_parents(uow, [row.id for row in ended if row.parent_run_id and row.parent_run_id not in stopped])
    return [row.id for row in ended]


def abandon(uow: UnitOfWork, run_id: UUID, position: int, attempt: int, message: str) -> None:
    """Ends the wait of an attempt: stops its child runs, with their descendants, and expires its input request.

    The family of the run must be locked exclusively.
    """
    _stop_children(uow, children.live_of_attempt(uow.conn, run_id, position, attempt), message)
    input_requests.expire_of_step(uow, run_id, position)


def apply_quota(uow: UnitOfWork) -> set[UUID]:
    """Charges the runs that the unit of work created to their projects' quotas; returns those beyond a quota.

    These end as QUOTA_EXCEEDED. Every unit of work does this at its end; a caller that needs the result does it before.
    """
    refused: set[UUID] = set()
    while beyond := quota.charge(uow):
        error = ExternalFailure("QUOTA_EXCEEDED", "The project has used up its quota of runs.")
        # The parent of a refused run may create its next child, which is charged in turn.
        notify_parents(uow, _with_parents(_end(uow, beyond, RunStatus.QUOTA_EXCEEDED, error.message, error)))
        refused |= set(beyond)
    return refused


def lock_for_end(uow: UnitOfWork, run: Links, status: RunStatus) -> None:
    """Locks the runs that the end of a run by its worker concerns. Must precede the other locks of the transaction."""
    chain = families.retried_chain(uow.conn, run.id) if run.retry_of_id and status is RunStatus.SUCCEEDED else ()
    if run.parent_run_id is None:
        families.lock_runs(uow, {run.id, *chain} if chain else ())
        return
    # A failure may stop siblings, or fail the parent.
    may_spread = status is not RunStatus.SUCCEEDED and run.fail_parent_on_failure
    families.lock(uow, [run.root_run_id], exclusive=may_spread)
    others: Sequence[UUID] = ()
    if may_spread and run.fails_parent_from_outside:
        others = [*families.ancestors(uow.conn, run.id), *families.live_descendants(uow.conn, [run.root_run_id])]
    elif may_spread and _cancels_siblings(uow, run):
        others = families.live_descendants(uow.conn, [run.parent_run_id])
    families.lock_runs(uow, {run.parent_run_id, run.id, *chain, *others})


def notify_parents(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Continues the parents of runs that have ended. Parents that fail with a child notify their own parents."""
    while run_ids:
        for batch in children.advance_batches(uow, run_ids):
            _report_failure(uow, batch)
        failed: list[UUID] = []
        for child in run_reads.failing_their_parents(uow.conn, run_ids):
            error = ExternalFailure(
                "CHILD_FAILED", f"The child run {ids.encode(IdKind.RUN, child.id)} is {child.status}."
            )
            ended = _end(uow, [child.parent_run_id], RunStatus.FAILED, error.message, error)
            _stop_children(
                uow, children.live_waited(uow.conn, [row.id for row in ended]), "Cancelled: the parent failed"
            )
            failed += _with_parents(ended)
        run_ids = failed


def _report_failure(uow: UnitOfWork, batch: FailedBatch) -> None:
    """Cancels the other items of a step of which one failed, or records in the parent's history that it waits for
    them."""
    share = f"{batch.failed} of {batch.items} failed"
    if batch.on_item_failure is OnItemFailure.CANCEL:
        _stop_children(uow, batch.live, f"Cancelled: {share} in the loop of the parent")
        children.wake_parent(uow, batch.parent.id)
        return
    transitions.note(uow, batch.parent, f"{share}; the step fails when the others have ended")


def _stop_children(uow: UnitOfWork, run_ids: Sequence[UUID], message: str) -> None:
    """Stops live children whose parent continues without them, with their descendants."""
    # Repeated until none is left: without an exclusive lock on the family, descendants may be created at the same time.
    while run_ids and (rows := transitions.lock_live(uow, [*run_ids, *families.live_descendants(uow.conn, run_ids)])):
        _finish_steps(uow, transitions.end_locked(uow, rows, RunStatus.STOPPED, message))


def _cancels_siblings(uow: UnitOfWork, run: Links) -> bool:
    if run.parent_run_id is None or run.parent_position is None:
        return False
    return (
        children.plan_of_step(uow.conn, run.parent_run_id, run.parent_position).on_item_failure is OnItemFailure.CANCEL
    )


def _end(
    uow: UnitOfWork, run_ids: Sequence[UUID], target: RunStatus, message: str, error: ExternalFailure | None = None
) -> Sequence[EndedRun]:
    """Ends live runs and their unfinished steps; returns them as they were before."""
    ended = transitions.end(uow, run_ids, target, message, error)
    _finish_steps(uow, ended)
    return ended


def _finish_steps(uow: UnitOfWork, ended: Sequence[EndedRun]) -> None:
    """Ends the unfinished steps and cancels the input requests of runs that were ended by another transaction than
    their worker's."""
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
