"""What workers write while they execute runs: claims, and the journal of steps.

Every write shows the token of the claim under which it is made, in the same transaction (`hold`). A worker that was
stopped, cut off or slow for longer than its lease finds another token there, and changes nothing any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    tuple_,
    update,
)

from db import runs, signals, transitions
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.rows import AnyRow, grouped
from db.transitions import Lease
from domain import clock, ids
from domain.states import AttemptStatus, RunStatus, StepStatus

_runs = table(FlowRun)
_run = _runs.c
_results = table(StepResult)
_step = _results.c
_attempts = table(StepAttempt)
_attempt = _attempts.c
_MILLISECOND = timedelta(milliseconds=1)


class LeaseLostError(Exception):
    """Another worker has the run, or it was ended: nothing more may be written to it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run in the hands of a worker."""

    lease: Lease
    run: AnyRow
    steps: Sequence[AnyRow]
    """Its journal, in the order of the definition; each step with `failures`, the number of its failed attempts."""


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


# The statements of the hot path are built once: building one anew costs more than SQLite takes to run it.

_same_run = _run.id == bindparam("of_run")
_same_step = and_(_step.run_id == bindparam("of_run"), _step.position == bindparam("at"))
_same_attempts = and_(_attempt.run_id == bindparam("of_run"), _attempt.position == bindparam("at"))
_these_runs: BindParameter[Any] = bindparam("run_ids", expanding=True)

_DUE = (
    select(_run.id)
    .where(_run.due_at <= bindparam("now"))
    .order_by(_run.due_at)
    .limit(bindparam("at_most", type_=Integer))
    .with_for_update(skip_locked=True)
)
# The condition lets SQLite use the index, in which only live runs are.
_NEXT_DUE = select(func.min(_run.due_at)).where(_run.due_at.is_not(None))
_CLAIM = (
    update(_runs)
    .where(_run.id.in_(_these_runs))
    .values(
        lease_token=bindparam("token"),
        due_at=bindparam("until"),
        # A token that nobody gave back is that of a worker that was lost.
        interruptions=_run.interruptions + case((_run.lease_token.is_(None), 0), else_=1),
    )
)
_CLAIMED = select(_runs).where(_run.id.in_(_these_runs))
_FAILURES = (
    select(func.count())
    .where(
        _attempt.run_id == _step.run_id,
        _attempt.position == _step.position,
        _attempt.status == AttemptStatus.FAILED,
    )
    .scalar_subquery()
)
_JOURNALS = (
    select(_results, _FAILURES.label("failures"))
    .where(_step.run_id.in_(_these_runs))
    .order_by(_step.run_id, _step.position)
)
# FOR NO KEY UPDATE on PostgreSQL: two that share the row and then both write it would lock each other out for good.
# On SQLite this transaction is the only writer anyway.
_HOLD = (
    select(_run.interruptions).where(_same_run, _run.lease_token == bindparam("token")).with_for_update(key_share=True)
)
_FORGIVE = update(_runs).where(_same_run).values(interruptions=0)
_HAND_BACK = (
    update(_runs)
    .where(_same_run)
    .values(due_at=bindparam("due"), lease_token=None, interruptions=0, epoch=_run.epoch + 1)
)
_INSERT_STEP = insert(_results)
_INSERT_ATTEMPT = insert(_attempts)
_TRY_AGAIN = (
    update(_results)
    .where(_same_step)
    .values(status=StepStatus.RUNNING, attempts_count=bindparam("number_"), input=bindparam("rendered"))
)
_END_STEP = (
    update(_results)
    .where(_same_step)
    .values(
        status=bindparam("became"),
        output=bindparam("gave"),
        error=bindparam("why"),
        finished_at=bindparam("ended"),
        duration_ms=bindparam("took"),
    )
)
_END_ATTEMPT = (
    update(_attempts)
    .where(
        _same_attempts,
        _attempt.number == bindparam("number_"),
        _attempt.status == AttemptStatus.RUNNING,
    )
    .values(status=bindparam("became"), error=bindparam("why"), finished_at=bindparam("ended"))
)
_INTERRUPT = (
    update(_attempts)
    .where(_same_attempts, _attempt.status == AttemptStatus.RUNNING)
    .values(status=AttemptStatus.INTERRUPTED, finished_at=bindparam("ended"))
)


def claim(conn: Connection, limit: int, lease: timedelta) -> Sequence[Claimed]:
    """Take up to `limit` runs that are due, longest due first, for as long as `lease`."""
    now = clock.now()
    run_ids = conn.execute(_DUE, {"now": now, "at_most": limit}).scalars().all()
    if not run_ids:
        return []
    token = ids.new_uuid()
    conn.execute(_CLAIM, {"run_ids": run_ids, "token": token, "until": now + lease})
    transitions.begin(conn, run_ids)
    steps = grouped(conn.execute(_JOURNALS, {"run_ids": run_ids}), "run_id")
    runs = conn.execute(_CLAIMED, {"run_ids": run_ids})
    return [Claimed(Lease(run.id, token), run, steps.get(run.id, ())) for run in runs]


def next_due(conn: Connection) -> datetime | None:
    """When the next run is due."""
    return conn.execute(_NEXT_DUE).scalar()


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


def load(conn: Connection, lease: Lease) -> Claimed:
    """The claimed run as it stands now.

    Raises:
        LeaseLostError: it is no longer held.
    """
    hold(conn, lease)
    of_run = {"run_ids": [lease.run_id]}
    return Claimed(lease, conn.execute(_CLAIMED, of_run).one(), conn.execute(_JOURNALS, of_run).all())


def hold(conn: Connection, lease: Lease) -> int:
    """Make sure that `lease` holds until the end of the transaction; returns the run's `interruptions`.

    Raises:
        LeaseLostError: it does not.
    """
    row = conn.execute(_HOLD, {"of_run": lease.run_id, "token": lease.token}).first()
    if row is None:
        raise LeaseLostError
    interruptions: int = row.interruptions
    return interruptions


def advance(conn: Connection, lease: Lease, outcome: Outcome | None, next_try: Try | None) -> None:
    """Journal how the last attempt went and that the next one begins, in one transaction."""
    interruptions = hold(conn, lease)
    if outcome is not None:
        _record(conn, lease.run_id, outcome)
        if interruptions:
            # The run made progress: workers lost before do not count against it any more.
            conn.execute(_FORGIVE, {"of_run": lease.run_id})
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
    conn.execute(_INTERRUPT, {"of_run": lease.run_id, "at": position, "ended": clock.now()})


def hand_back(conn: Connection, lease: Lease, outcome: Outcome | None, due_at: datetime) -> None:
    """End the claim; the run shall be looked at again at `due_at`."""
    advance(conn, lease, outcome, None)
    conn.execute(_HAND_BACK, {"of_run": lease.run_id, "due": due_at})
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
    # First, for it also shows whether the lease holds.
    if not transitions.finish(conn, lease, RunStatus.RUNNING, status, message, values):
        raise LeaseLostError
    if outcome is not None:
        _record(conn, lease.run_id, outcome)
    if is_retry and status is RunStatus.SUCCEEDED:
        runs.mark_recovered(conn, lease.run_id)


def _start(conn: Connection, run_id: UUID, attempt: Try) -> None:
    now = clock.now()
    if attempt.number == 1:
        _put(conn, run_id, attempt, status=StepStatus.RUNNING, attempts_count=1, started_at=now)
    else:
        again = {"of_run": run_id, "at": attempt.position, "number_": attempt.number, "rendered": attempt.input}
        conn.execute(_TRY_AGAIN, again)
    row = {"run_id": run_id, "position": attempt.position, "number": attempt.number}
    conn.execute(_INSERT_ATTEMPT, {**row, "status": AttemptStatus.RUNNING, "started_at": now})


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
    conn.execute(_INSERT_STEP, row)


def _record(conn: Connection, run_id: UUID, outcome: Outcome) -> None:
    now = clock.now()
    over = outcome.status is not StepStatus.PENDING
    succeeded = outcome.status is StepStatus.SUCCEEDED
    step = {
        "of_run": run_id,
        "at": outcome.position,
        "became": outcome.status,
        "gave": outcome.output,
        "why": outcome.error,
        "ended": now if over else None,
        "took": (now - outcome.started_at) // _MILLISECOND if over else None,
    }
    conn.execute(_END_STEP, step)
    attempt = {
        "of_run": run_id,
        "at": outcome.position,
        "number_": outcome.number,
        "became": AttemptStatus.SUCCEEDED if succeeded else AttemptStatus.FAILED,
        "why": outcome.error,
        "ended": now,
    }
    conn.execute(_END_ATTEMPT, attempt)


def _held(leases: Sequence[Lease]) -> ColumnElement[bool]:
    pairs = [(each.run_id, each.token) for each in leases]
    # The IDs once more, for the primary key.
    return and_(_run.id.in_([run_id for run_id, _ in pairs]), tuple_(_run.id, _run.lease_token).in_(pairs))
