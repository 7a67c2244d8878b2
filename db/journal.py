"""What workers write while they execute runs: claims, and the journal of steps.

Every write shows the token of the claim under which it is made, in the same transaction (`hold`). A worker that was
stopped, cut off or slow for longer than its lease finds another token there, and changes nothing any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, select, tuple_, update

from db import runs, signals, transitions
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.rows import AnyRow
from db.transitions import Lease
from domain import clock, ids
from domain.states import AttemptStatus, RunStatus, StepStatus

_runs = table(FlowRun)
_run = _runs.c
_results = table(StepResult)
_step = _results.c
_attempts = table(StepAttempt)
_attempt = _attempts.c


class LeaseLostError(Exception):
    """Another worker has the run, or it was ended: nothing more may be written to it."""


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt at a step, as it begins."""

    position: int
    name: str
    display_name: str | None
    kind: str
    number: int
    input: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last attempt at a step went."""

    position: int
    status: StepStatus
    number: int
    started_at: datetime
    output: str | None = None
    error: str | None = None


def claim(conn: Connection, limit: int, lease: timedelta) -> Sequence[Lease]:
    """Take up to `limit` runs that are due, longest due first, for as long as `lease`."""
    now = clock.now()
    due = select(_run.id).where(_run.due_at <= now).order_by(_run.due_at).limit(limit).with_for_update(skip_locked=True)
    run_ids = conn.execute(due).scalars().all()
    if not run_ids:
        return []
    token = ids.new_uuid()
    conn.execute(
        update(_runs)
        .where(_run.id.in_(run_ids))
        .values(
            lease_token=token,
            due_at=now + lease,
            # A token that nobody gave back is that of a worker that was lost.
            interruptions=_run.interruptions + case((_run.lease_token.is_(None), 0), else_=1),
        )
    )
    transitions.begin(conn, run_ids)
    return [Lease(run_id, token) for run_id in run_ids]


def next_due(conn: Connection) -> datetime | None:
    """When the next run is due."""
    return conn.execute(select(func.min(_run.due_at))).scalar()


def renew(conn: Connection, leases: Sequence[Lease], lease: timedelta) -> set[UUID]:
    """Prolong `leases`; returns the runs among them that are still held."""
    statement = update(_runs).where(_held(leases)).values(due_at=clock.now() + lease).returning(_run.id)
    return set(conn.execute(statement).scalars())


def release(conn: Connection, leases: Sequence[Lease]) -> None:
    """End claims whose work was broken off; the runs are due at once."""
    conn.execute(update(_runs).where(_held(leases)).values(due_at=clock.now(), lease_token=None))


def release_all(conn: Connection) -> int:
    """Make every claimed run due at once: for a process that knows that no other worker is alive."""
    held = _run.lease_token.is_not(None)
    return conn.execute(update(_runs).where(held, _run.due_at.is_not(None)).values(due_at=clock.now())).rowcount


def load(conn: Connection, lease: Lease) -> tuple[AnyRow, Sequence[AnyRow]]:
    """The claimed run, and its journal in the order of the definition.

    Each step comes with `failures`, the number of its attempts that failed.

    Raises:
        LeaseLostError: the run is no longer held.
    """
    run = hold(conn, lease, _runs)
    failed = _attempt.status == AttemptStatus.FAILED
    failures = select(func.count()).where(_same_step(_attempt, _step.run_id, _step.position), failed).scalar_subquery()
    steps = select(_results, failures.label("failures")).where(_step.run_id == lease.run_id).order_by(_step.position)
    return run, conn.execute(steps).all()


def hold(conn: Connection, lease: Lease, what: Any = _run.id) -> AnyRow:
    """Make sure that `lease` holds until the end of the transaction.

    Raises:
        LeaseLostError: it does not.
    """
    # FOR NO KEY UPDATE on PostgreSQL: two that share the row and then both write it would lock each other out for good.
    # On SQLite this transaction is the only writer anyway.
    query = select(what).where(_run.id == lease.run_id, _run.lease_token == lease.token).with_for_update(key_share=True)
    row = conn.execute(query).first()
    if row is None:
        raise LeaseLostError
    return row


def advance(conn: Connection, lease: Lease, outcome: Outcome | None, next_try: Try | None) -> None:
    """Journal how the last attempt went and that the next one begins, in one transaction."""
    held = hold(conn, lease, _run.interruptions)
    if outcome is not None:
        _record(conn, lease.run_id, outcome)
        if held.interruptions:
            # The run made progress: workers lost before do not count against it any more.
            conn.execute(update(_runs).where(_run.id == lease.run_id).values(interruptions=0))
    if next_try is not None:
        _start(conn, lease.run_id, next_try)


def skip(conn: Connection, lease: Lease, outcome: Outcome | None, skipped: Try) -> None:
    """Journal how the last attempt went, and that a step's condition does not hold."""
    advance(conn, lease, outcome, None)
    now = clock.now()
    _put(conn, lease.run_id, skipped, status=StepStatus.SKIPPED, started_at=now, finished_at=now, duration_ms=0)


def interrupt(conn: Connection, lease: Lease, position: int) -> None:
    """Journal that the attempt under way at a step was cut short, because its worker was lost."""
    hold(conn, lease)
    conn.execute(
        update(_attempts)
        .where(_same_step(_attempt, lease.run_id, position), _attempt.status == AttemptStatus.RUNNING)
        .values(status=AttemptStatus.INTERRUPTED, finished_at=clock.now())
    )


def hand_back(conn: Connection, lease: Lease, outcome: Outcome | None, due_at: datetime) -> None:
    """End the claim; the run shall be looked at again at `due_at`."""
    advance(conn, lease, outcome, None)
    conn.execute(
        update(_runs)
        .where(_run.id == lease.run_id)
        .values(due_at=due_at, lease_token=None, interruptions=0, epoch=_run.epoch + 1)
    )
    signals.after_commit(conn, signals.RUNS_DUE)


def finish(
    conn: Connection,
    lease: Lease,
    outcome: Outcome | None,
    status: RunStatus,
    message: str,
    values: dict[str, Any],
    *,
    is_retry: bool,
) -> None:
    """Journal how the last attempt went, and end the run."""
    advance(conn, lease, outcome, None)
    if not transitions.finish(conn, lease, RunStatus.RUNNING, status, message, values):
        raise LeaseLostError
    if is_retry and status is RunStatus.SUCCEEDED:
        runs.mark_recovered(conn, lease.run_id)


def _start(conn: Connection, run_id: UUID, attempt: Try) -> None:
    now = clock.now()
    if attempt.number == 1:
        _put(conn, run_id, attempt, status=StepStatus.RUNNING, attempts_count=1, started_at=now)
    else:
        values = {"status": StepStatus.RUNNING, "attempts_count": attempt.number, "input": attempt.input}
        conn.execute(update(_results).where(_same_step(_step, run_id, attempt.position)).values(values))
    row = {"run_id": run_id, "position": attempt.position, "number": attempt.number}
    conn.execute(insert(_attempts).values(**row, status=AttemptStatus.RUNNING, started_at=now))


def _put(conn: Connection, run_id: UUID, attempt: Try, **values: Any) -> None:
    row = {
        "run_id": run_id,
        "position": attempt.position,
        "name": attempt.name,
        "display_name": attempt.display_name,
        "kind": attempt.kind,
        "input": attempt.input,
        "attempts_count": 0,
        **values,
    }
    conn.execute(insert(_results).values(row))


def _record(conn: Connection, run_id: UUID, outcome: Outcome) -> None:
    now = clock.now()
    over = outcome.status is not StepStatus.PENDING
    conn.execute(
        update(_results)
        .where(_same_step(_step, run_id, outcome.position))
        .values(
            status=outcome.status,
            output=outcome.output,
            error=outcome.error,
            finished_at=now if over else None,
            duration_ms=(now - outcome.started_at) // timedelta(milliseconds=1) if over else None,
        )
    )
    succeeded = outcome.status is StepStatus.SUCCEEDED
    under_way = and_(_attempt.number == outcome.number, _attempt.status == AttemptStatus.RUNNING)
    conn.execute(
        update(_attempts)
        .where(_same_step(_attempt, run_id, outcome.position), under_way)
        .values(
            status=AttemptStatus.SUCCEEDED if succeeded else AttemptStatus.FAILED,
            error=outcome.error,
            finished_at=now,
        )
    )


def _held(leases: Sequence[Lease]) -> ColumnElement[bool]:
    pairs = [(each.run_id, each.token) for each in leases]
    # The IDs once more, for the primary key.
    return and_(_run.id.in_([run_id for run_id, _ in pairs]), tuple_(_run.id, _run.lease_token).in_(pairs))


def _same_step(columns: Any, run_id: Any, position: Any) -> Any:
    return and_(columns.run_id == run_id, columns.position == position)
