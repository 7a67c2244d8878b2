"""Claims: the leases under which workers execute runs.

A claim takes due runs for the length of a lease and gives them a new lease token. Every later write of the worker
checks the token in its own transaction (`lock_lease`). A worker that was stopped, cut off or slow for longer than its
lease finds another token there, and changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, text, tuple_, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events.log import RunRef
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.queue import due, slots
from db.row_types import RunRow, StepRow
from db.runs import transitions
from db.runs.transitions import Lease
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, fetch_first, group_by
from domain import ids
from domain.enums import AttemptStatus, RunStatus
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_results = table(StepResult)
_step = _results.c
_attempts = table(StepAttempt)
_attempt = _attempts.c


class LeaseLostError(Exception):
    """Another worker has the run, or the run has ended: nothing more may be written to it."""


class ClaimedRun(RunRow, Protocol):
    """A run that has been claimed; its status is RUNNING."""

    started_at: datetime
    running_since: datetime


class JournalRow(StepRow, Protocol):
    """A step result in the journal of a claimed run. A step without an attempt has none."""

    started_at: datetime

    failures: int
    """Number of the step's failed attempts."""
    attempt_started_at: datetime | None
    """Start of the last attempt; None: the step was skipped, or its result is kept from another run."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that a worker has claimed."""

    lease: Lease
    run: ClaimedRun
    steps: Sequence[JournalRow]
    """The journal, in the order of the definition."""


@dataclass(frozen=True, slots=True)
class LockedRun:
    """A run whose lease is valid until the end of the transaction, because its row is locked."""

    run: RunRef
    interruptions: int
    """Number of workers that were lost with the run since it last made progress."""


# The statements of the hot path are built once: building a statement costs more than SQLite takes to execute it.

_DUE_COLUMNS = (_run.id, _run.status, _run.project_id, _run.flow_id, slots.LIMITED.label("limited"))
_DUE = due.select_due(_DUE_COLUMNS, limit="at_most")
_DUE_WITHOUT_LIMIT = due.select_due(
    [_run.id, _run.status], ~slots.LIMITED, _run.id.not_in(bindparam("but_not", expanding=True)), limit="at_most"
)
_WALK_INDEX = text("SET LOCAL enable_sort = off")
"""With the statistics of a smaller table, PostgreSQL would sort the whole backlog at each claim instead of walking the
index that has its order: of 20,000 to 60,000 due runs, that took 69 to 188 ms instead of 0.4."""
_CLAIMED = select(_runs).where(any_of(_run.id, "run_ids"))
_FAILURES = (
    select(func.count())
    .where(
        _attempt.run_id == _step.run_id,
        _attempt.position == _step.position,
        _attempt.status == AttemptStatus.FAILED,
    )
    .scalar_subquery()
)
_LAST_START = (
    select(_attempt.started_at)
    .where(
        _attempt.run_id == _step.run_id, _attempt.position == _step.position, _attempt.number == _step.attempts_count
    )
    .scalar_subquery()
)
_JOURNALS = (
    select(_results, _FAILURES.label("failures"), _LAST_START.label("attempt_started_at"))
    .where(any_of(_step.run_id, "run_ids"))
    .order_by(_step.run_id, _step.position)
)
# FOR NO KEY UPDATE on PostgreSQL: two transactions that share the row and then both write it would deadlock.
# On SQLite this transaction is the only writer.
_LOCK = (
    select(_run.id, _run.project_id, _run.flow_id, _run.interruptions)
    .where(_run.id == bindparam("of_run"), _run.lease_token == bindparam("token"))
    .with_for_update(key_share=True)
)


def claim(uow: UnitOfWork, limit: int, lease: timedelta) -> Sequence[Claimed]:
    """Claims up to `limit` due runs, longest due first, for as long as `lease`."""
    now = clock.now()
    statuses = _admissible(uow, now, limit)
    if not statuses:
        return []
    token = ids.new_uuid()
    runs = {run.id: cast("ClaimedRun", run) for run in transitions.claim(uow, statuses, token, now + lease)}
    # A new run has no journal, unless it is a retry or a rerun that keeps steps.
    old = [run.id for run in runs.values() if statuses[run.id] != RunStatus.QUEUED or _may_keep_steps(run)]
    steps = group_by(uow.conn.execute(_JOURNALS, {"run_ids": old}), "run_id") if old else {}
    return [Claimed(Lease(run_id, token), runs[run_id], steps.get(run_id, ())) for run_id in statuses]


def _may_keep_steps(run: ClaimedRun) -> bool:
    return run.retry_of_id is not None or run.rerun_of_id is not None


def _admissible(uow: UnitOfWork, now: datetime, limit: int) -> dict[UUID, str]:
    """Returns due runs that may start, in the order of the queue, and their statuses. They are locked."""
    if uow.conn.dialect.name == "postgresql":
        uow.conn.execute(_WALK_INDEX)
    rows = due.in_order(uow.conn.execute(_DUE, {"now": now, "at_most": limit}).all())
    admitted = slots.admit(uow, rows)
    if refused := len(rows) - len(admitted):
        # Runs without limits do not wait behind the others. No further slots are locked, see `db.queue.slots`.
        more = {"now": now, "at_most": refused, "but_not": admitted}
        others = due.in_order(uow.conn.execute(_DUE_WITHOUT_LIMIT, more).all())
        rows, admitted = [*rows, *others], [*admitted, *(row.id for row in others)]
    statuses = {row.id: row.status for row in rows}
    return {run_id: statuses[run_id] for run_id in admitted}


def renew(uow: UnitOfWork, leases: Sequence[Lease], lease: timedelta) -> set[UUID]:
    """Prolongs `leases`; returns the runs whose leases are still valid."""
    valid = _lock_leases(uow, leases)
    uow.conn.execute(update(_runs).where(any_of(_run.id, valid)).values(due_at=clock.now() + lease))
    return set(valid)


def valid_leases(conn: Connection, leases: Sequence[Lease]) -> set[UUID]:
    """Returns the runs whose leases are still valid."""
    return set(conn.execute(select(_run.id).where(_leased(leases))).scalars())


def find_cancelled(conn: Connection, run_ids: Sequence[UUID]) -> set[UUID]:
    """Returns the runs that were cancelled, by themselves or with an ancestor."""
    query = select(_run.id).where(any_of(_run.id, run_ids), _run.status == RunStatus.STOPPED)
    return set(conn.execute(query).scalars())


def release(uow: UnitOfWork, leases: Sequence[Lease]) -> None:
    """Ends claims whose execution was aborted; the runs are due at once."""
    valid = _lock_leases(uow, leases)
    uow.conn.execute(update(_runs).where(any_of(_run.id, valid)).values(due_at=clock.now(), lease_token=None))
    uow.publish_after_commit(pubsub.RUNS_DUE)


def postpone(uow: UnitOfWork, leases: Sequence[Lease], delay: timedelta) -> None:
    """Ends claims whose execution has not begun; the runs are due after `delay`."""
    valid = _lock_leases(uow, leases)
    uow.conn.execute(update(_runs).where(any_of(_run.id, valid)).values(due_at=clock.now() + delay, lease_token=None))


def release_all(uow: UnitOfWork) -> int:
    """Makes every claimed run due at once; returns their number. For a process that knows that no other worker is
    alive."""
    claimed = _run.lease_token.is_not(None)
    return uow.conn.execute(update(_runs).where(claimed, _run.due_at.is_not(None)).values(due_at=clock.now())).rowcount


def reschedule_after_clock_change(uow: UnitOfWork, before: datetime) -> int:
    """Makes runs due that became due while the clock was ahead, up to `before`; returns their number.

    Otherwise they would wait until the clock, which was set back, reaches that time again.
    """
    now = clock.now()
    waiting = and_(
        _run.priority.in_(due.PRIORITIES), _run.due_at > now, _run.due_at <= before, _run.lease_token.is_(None)
    )
    # Rows that another transaction has locked are being claimed or ended.
    query = select(_run.id).where(waiting).with_for_update(key_share=True, skip_locked=True)
    run_ids = uow.conn.execute(query).scalars().all()
    uow.conn.execute(update(_runs).where(any_of(_run.id, run_ids)).values(due_at=now))
    uow.publish_after_commit(pubsub.RUNS_DUE)
    return len(run_ids)


def load(conn: Connection, lease: Lease) -> Claimed:
    """Returns the claimed run as it is now.

    Raises:
        LeaseLostError: the lease is no longer valid.
    """
    of_run = {"run_ids": [lease.run_id]}
    run: ClaimedRun | None = fetch_first(conn, _CLAIMED, of_run)
    if run is None or run.lease_token != lease.token:
        raise LeaseLostError
    return Claimed(lease, run, fetch_all(conn, _JOURNALS, of_run))


def lock_lease(uow: UnitOfWork, lease: Lease) -> LockedRun:
    """Locks the run, so that `lease` stays valid until the end of the transaction.

    Raises:
        LeaseLostError: the lease is no longer valid.
    """
    row = uow.conn.execute(_LOCK, {"of_run": lease.run_id, "token": lease.token}).first()
    if row is None:
        raise LeaseLostError
    return LockedRun(RunRef(row.id, row.project_id, row.flow_id), row.interruptions)


def _lock_leases(uow: UnitOfWork, leases: Sequence[Lease]) -> Sequence[UUID]:
    """Locks the runs whose leases are still valid, in the order in which all transactions lock runs."""
    query = select(_run.id).where(_leased(leases)).order_by(_run.depth, _run.id)
    return uow.conn.execute(query.with_for_update(key_share=True)).scalars().all()


def _leased(leases: Sequence[Lease]) -> ColumnElement[bool]:
    pairs = [(lease.run_id, lease.token) for lease in leases]
    # The IDs are given twice, so that the primary key serves the statement.
    return and_(_run.id.in_([run_id for run_id, _ in pairs]), tuple_(_run.id, _run.lease_token).in_(pairs))
