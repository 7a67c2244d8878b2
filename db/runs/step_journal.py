"""What workers write while they execute runs: claims, and the journal of steps.

Every write shows the token of the claim under which it is made, in the same transaction (`lock_lease`). A worker that
was stopped, cut off or slow for longer than its lease finds another token there, and changes nothing any more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    tuple_,
    update,
)

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import AttemptRef, RunRef
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import MillisecondsUntil, table
from db.queue import due, quota, slots
from db.runs import children, files, input_requests, logs, transitions
from db.runs import reads as run_reads
from db.runs.children import ChildBatch
from db.runs.transitions import Ending, ExternalFailure, Lease
from db.sql.any_of import any_of
from db.sql.rows import AnyRow, group_by
from domain import ids, json_codec
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

P = ParamSpec("P")
T = TypeVar("T")


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
class AttemptStart:
    """One attempt at a step, as it begins."""

    position: int
    name: str
    display_name: str | None
    kind: str
    number: int
    input: str | None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How the last attempt at a step went."""

    position: int
    name: str
    status: StepStatus
    number: int
    started_at: datetime
    output: str | None = None
    error: str | None = None
    source: StepStatus = StepStatus.RUNNING
    """The step's status in the journal until now."""


@dataclass(frozen=True, slots=True)
class Advance:
    """A run goes on: how its last attempt went, and the next one, which begins."""

    lease: Lease
    outcome: AttemptResult | None
    next_try: AttemptStart


@dataclass(frozen=True, slots=True)
class End:
    """A run ends: how its last attempt went, and what it gives."""

    lease: Lease
    outcome: AttemptResult | None
    ending: Ending


@dataclass(frozen=True, slots=True)
class LockedRun:
    """A claim that holds until the end of the transaction."""

    run: RunRef
    interruptions: int
    """Workers that were lost with the run since it last made progress."""


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a run logged and stored meanwhile."""

    log_lines: Sequence[logs.Line]
    max_lines: int
    """Of the run's log."""
    files: Sequence[Mapping[str, Any]]
    """Rows of `run_file`."""


# The statements of the hot path are built once: building one anew costs more than SQLite takes to run it.

_same_run = _run.id == bindparam("of_run")
_same_step = and_(_step.run_id == bindparam("of_run"), _step.position == bindparam("at"))
_same_attempts = and_(_attempt.run_id == bindparam("of_run"), _attempt.position == bindparam("at"))

_DUE_COLUMNS = (_run.id, _run.status, _run.project_id, _run.flow_id, slots.LIMITED.label("limited"))
_DUE = due.select_due(_DUE_COLUMNS, limit="at_most")
_DUE_WITHOUT_LIMIT = due.select_due(
    [_run.id], ~slots.LIMITED, _run.id.not_in(bindparam("but_not", expanding=True)), limit="at_most"
)
_CLAIM = (
    update(_runs)
    .where(any_of(_run.id, "run_ids"))
    .values(
        lease_token=bindparam("token"),
        due_at=bindparam("until"),
        priority=due.STARTED,
        blocked_since=None,
        blocked_by=None,
        # A token that nobody gave back is that of a worker that was lost.
        interruptions=_run.interruptions + case((_run.lease_token.is_(None), 0), else_=1),
    )
    .returning(_run.id, _run.status)
)
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
_JOURNALS = (
    select(_results, _FAILURES.label("failures"))
    .where(any_of(_step.run_id, "run_ids"))
    .order_by(_step.run_id, _step.position)
)
# FOR NO KEY UPDATE on PostgreSQL: two that share the row and then both write it would lock each other out for good.
# On SQLite this transaction is the only writer anyway.
_LOCK = (
    select(_run.id, _run.project_id, _run.flow_id, _run.interruptions)
    .where(_same_run, _run.lease_token == bindparam("token"))
    .with_for_update(key_share=True)
)
# Those that somebody else writes just now are not waited for.
_LOCK_ALL = (
    select(
        *(_run.id, _run.project_id, _run.flow_id, _run.status, _run.lease_token, _run.interruptions),
        slots.LIMITED.label("limited"),
    )
    .where(any_of(_run.id, "run_ids"))
    .with_for_update(key_share=True, skip_locked=True, of=_runs)
)
_RESET_INTERRUPTIONS = update(_runs).where(_same_run).values(interruptions=0)
_SNOOZE = update(_runs).where(_same_run).values(due_at=bindparam("due"), lease_token=None, interruptions=0)
_INSERT_STEP = insert(_results)
_INSERT_ATTEMPT = insert(_attempts)
_RESTART_STEP = (
    update(_results)
    .where(_same_step)
    .values(status=bindparam("became"), attempts_count=bindparam("number_"), input=bindparam("rendered"))
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
_INTERRUPT = (
    update(_results)
    .where(_same_step, _step.status == StepStatus.RUNNING)
    .values(status=StepStatus.PENDING)
    .returning(_step.name, _step.attempts_count)
)
_INTERRUPT_ATTEMPT = (
    update(_attempts)
    .where(_same_attempts, _attempt.status == AttemptStatus.RUNNING)
    .values(status=AttemptStatus.INTERRUPTED, finished_at=bindparam("ended"))
)


def claim(uow: UnitOfWork, limit: int, lease: timedelta) -> Sequence[Claimed]:
    """Take up to `limit` runs that are due, longest due first, for as long as `lease`."""
    now = clock.now()
    run_ids = _admissible(uow, now, limit)
    if not run_ids:
        return []
    token = ids.new_uuid()
    claimed = uow.conn.execute(_CLAIM, {"run_ids": run_ids, "token": token, "until": now + lease})
    return _mark_started(uow, run_ids, token, {row.id: row.status for row in claimed})


def _mark_started(
    uow: UnitOfWork, run_ids: Sequence[UUID], token: UUID, statuses: Mapping[UUID, str]
) -> Sequence[Claimed]:
    """The runs that the transaction under way has claimed, which had these `statuses`; RUNNING, with their journals."""
    transitions.start(uow, statuses)
    found = {run.id: run for run in uow.conn.execute(_CLAIMED, {"run_ids": run_ids})}
    # One that is new has no journal, unless it is a retry that keeps steps.
    old = [run_id for run_id in run_ids if statuses[run_id] != RunStatus.QUEUED or found[run_id].retry_of_id]
    steps = group_by(uow.conn.execute(_JOURNALS, {"run_ids": old}), "run_id") if old else {}
    return [Claimed(Lease(run_id, token), found[run_id], steps.get(run_id, ())) for run_id in run_ids]


def _admissible(uow: UnitOfWork, now: datetime, limit: int) -> list[UUID]:
    """Returns runs that are due and may run, in the order of the queue; they are locked."""
    rows = due.in_order(uow.conn.execute(_DUE, {"now": now, "at_most": limit}).all())
    admitted = slots.admit(uow, rows)
    refused = len(rows) - len(admitted)
    if refused:
        # Runs without limits do not wait behind the others. No further slots are locked, see `db.queue.slots`.
        more = {"now": now, "at_most": refused, "but_not": admitted}
        admitted += [row.id for row in due.in_order(uow.conn.execute(_DUE_WITHOUT_LIMIT, more).all())]
    return admitted


def renew(uow: UnitOfWork, leases: Sequence[Lease], lease: timedelta) -> set[UUID]:
    """Prolong `leases`; returns the runs among them that are still held."""
    statement = update(_runs).where(_leased(leases)).values(due_at=clock.now() + lease).returning(_run.id)
    return set(uow.conn.execute(statement).scalars())


def still_held(conn: Connection, leases: Sequence[Lease]) -> set[UUID]:
    """The runs that are still held by one of `leases`."""
    return set(conn.execute(select(_run.id).where(_leased(leases))).scalars())


def find_cancelled(conn: Connection, run_ids: Sequence[UUID]) -> set[UUID]:
    """Those of these runs that were cancelled, or stopped with a run above them."""
    query = select(_run.id).where(any_of(_run.id, run_ids), _run.status == RunStatus.STOPPED)
    return set(conn.execute(query).scalars())


def release(uow: UnitOfWork, leases: Sequence[Lease]) -> None:
    """End claims whose work was broken off; the runs are due at once."""
    uow.conn.execute(update(_runs).where(_leased(leases)).values(due_at=clock.now(), lease_token=None))
    uow.publish_after_commit(pubsub.RUNS_DUE)


def reschedule_after_clock_change(uow: UnitOfWork, before: datetime) -> int:
    """After the clock was set back from `before`: what waited for a worker then shall not wait until then again."""
    now = clock.now()
    waiting = and_(
        _run.priority.in_(due.PRIORITIES), _run.due_at > now, _run.due_at <= before, _run.lease_token.is_(None)
    )
    run_ids = uow.conn.execute(update(_runs).where(waiting).values(due_at=now).returning(_run.id)).scalars().all()
    uow.publish_after_commit(pubsub.RUNS_DUE)
    return len(run_ids)


def release_leases(uow: UnitOfWork) -> int:
    """Make every claimed run due at once: for a process that knows that no other worker is alive."""
    held = _run.lease_token.is_not(None)
    return uow.conn.execute(update(_runs).where(held, _run.due_at.is_not(None)).values(due_at=clock.now())).rowcount


def load(conn: Connection, lease: Lease) -> Claimed:
    """Returns the claimed run as it is now.

    Raises:
        LeaseLostError: the run is no longer held under `lease`.
    """
    of_run = {"run_ids": [lease.run_id]}
    run = conn.execute(_CLAIMED, of_run).first()
    if run is None or run.lease_token != lease.token:
        raise LeaseLostError
    return Claimed(lease, run, conn.execute(_JOURNALS, of_run).all())


def lock_lease(uow: UnitOfWork, lease: Lease) -> LockedRun:
    """Make sure that `lease` holds until the end of the transaction.

    Raises:
        LeaseLostError: it does not.
    """
    row = uow.conn.execute(_LOCK, {"of_run": lease.run_id, "token": lease.token}).first()
    if row is None:
        raise LeaseLostError
    return LockedRun(RunRef(row.id, row.project_id, row.flow_id), row.interruptions)


def advance(uow: UnitOfWork, lease: Lease, outcome: AttemptResult | None, next_try: AttemptStart | None) -> None:
    """Journal how the last attempt went and that the next one begins, in one transaction."""
    run = _pass(uow, lease, outcome)
    if next_try is not None:
        _start(uow, [(run, next_try)])


def _pass(uow: UnitOfWork, lease: Lease, outcome: AttemptResult | None) -> RunRef:
    """Journal how the last attempt went, under `lease`; returns the run."""
    held = lock_lease(uow, lease)
    if outcome is not None:
        event_log.append(uow, _record(uow, [(held.run, outcome)]))
        if held.interruptions:
            # The run made progress: workers lost before do not count against it any more.
            uow.conn.execute(_RESET_INTERRUPTIONS, {"of_run": lease.run_id})
    return held.run


def advance_batch(uow: UnitOfWork, changes: Sequence[Advance | End]) -> set[UUID]:
    """`advance` and `finish` for many runs in the same few statements; returns the runs for which that was done.

    It waits for nobody. The others have lost their leases, or somebody else writes them just now: each is to be
    written by itself. Ends may be neither those of children nor those of retries, which concern other runs too.
    """
    rows = uow.conn.execute(_LOCK_ALL, {"run_ids": [change.lease.run_id for change in changes]})
    tokens = {change.lease.run_id: change.lease.token for change in changes}
    held = {row.id: row for row in rows if row.lease_token == tokens[row.id] and row.status == RunStatus.RUNNING}
    subjects = {run_id: RunRef(run_id, row.project_id, row.flow_id) for run_id, row in held.items()}
    found = [(subjects[change.lease.run_id], change) for change in changes if change.lease.run_id in held]
    if outcomes := [(run, change.outcome) for run, change in found if change.outcome is not None]:
        event_log.append(uow, _record(uow, outcomes))
    advances = [(run, change) for run, change in found if isinstance(change, Advance)]
    if forgiven := [
        {"of_run": run.run_id}
        for run, change in advances
        if change.outcome is not None and held[run.run_id].interruptions
    ]:
        uow.conn.execute(_RESET_INTERRUPTIONS, forgiven)
    if advances:
        _start(uow, [(run, change.next_try) for run, change in advances])
    if ends := [(held[run.run_id], change) for run, change in found if isinstance(change, End)]:
        transitions.finish_many(uow, [(row, change.lease, change.ending) for row, change in ends])
    return set(held)


def with_output(
    uow: UnitOfWork,
    lease: Lease,
    output: RunOutput,
    work: Callable[Concatenate[UnitOfWork, Lease, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Returns the result of `work(uow, lease, …)`, a journal write; `output` is written in the same transaction."""
    # The write goes first: it shows whether the lease holds, and some of them end it.
    result = work(uow, lease, *args, **kwargs)
    _note(uow, lease.run_id, output)
    return result


def write_output(uow: UnitOfWork, lease: Lease, output: RunOutput) -> None:
    """Writes `output` while an attempt is running."""
    lock_lease(uow, lease)
    _note(uow, lease.run_id, output)


def skip(uow: UnitOfWork, lease: Lease, outcome: AttemptResult | None, skipped: AttemptStart) -> None:
    """Journal how the last attempt went, and that a step's condition does not hold."""
    run = _pass(uow, lease, outcome)
    now = clock.now()
    row = _step_row(run, skipped, StepStatus.SKIPPED, started_at=now, finished_at=now, duration_ms=0)
    uow.conn.execute(_INSERT_STEP, row)
    _append_attempt_started(uow, run, skipped, StepStatus.SKIPPED, now, 0)


def interrupt(uow: UnitOfWork, lease: Lease, position: int) -> None:
    """Journal that the attempt under way at a step was cut short, because its worker was lost."""
    run = lock_lease(uow, lease).run
    now = clock.now()
    at = {"of_run": lease.run_id, "at": position}
    step = uow.conn.execute(_INTERRUPT, at).first()
    if step is not None:
        uow.conn.execute(_INTERRUPT_ATTEMPT, {**at, "ended": now})
        cut_short = AttemptRef(position, step.name, step.attempts_count)
        event_log.append(uow, [event_log.step_row(run, cut_short, StepStatus.RUNNING, StepStatus.PENDING, now)])


def pause(
    uow: UnitOfWork,
    lease: Lease,
    outcome: AttemptResult | None,
    waiting: AttemptStart,
    message: str,
    due_at: datetime | None,
    request: Mapping[str, Any] | None = None,
    batch: ChildBatch | None = None,
) -> None:
    """Journal how the last attempt went and that a step waits; ends the claim.

    With the step go the question that it asks, or the child runs that it waits for.
    """
    _start(uow, [(_pass(uow, lease, outcome), waiting)], StepStatus.PAUSED)
    if request is not None:
        input_requests.create(uow, request)
    if batch is not None:
        children.create(uow, _row(uow.conn, lease), batch)
    if not transitions.pause(uow, lease, message, due_at):
        raise LeaseLostError


def wait_on(
    uow: UnitOfWork, lease: Lease, message: str, due_at: datetime | None, children_of: tuple[int, int] | None = None
) -> None:
    """Pause again a run that was looked at too early; it waits for the children of a step's attempt, if given."""
    if not transitions.pause(uow, lease, message, due_at):
        raise LeaseLostError
    if children_of is not None:
        # The last of them may have ended while the run was not paused, and had nobody to wake.
        children.wake_parent_if_done(uow, lease.run_id, *children_of)


def launch(
    uow: UnitOfWork, lease: Lease, outcome: AttemptResult | None, attempt: AttemptStart, batch: ChildBatch
) -> list[UUID]:
    """Journal an attempt that starts child runs and does not wait for them; returns their IDs."""
    run = _pass(uow, lease, outcome)
    _start(uow, [(run, attempt)])
    made = children.create(uow, _row(uow.conn, lease), batch)
    started_at = clock.now()
    output = json_codec.encode(
        [ids.encode(IdKind.RUN, key) for key in made], limit=json_codec.MAX_INPUT_BYTES, what="IDs"
    )
    done = AttemptResult(attempt.position, attempt.name, StepStatus.SUCCEEDED, attempt.number, started_at, output)
    event_log.append(uow, _record(uow, [(run, done)]))
    return made


def cancelled_with(key_name: str) -> str:
    """What the history of a run says that was cancelled with a key of this name."""
    return f"Cancelled with the key {key_name!r}"


def stop(uow: UnitOfWork, run_id: UUID, message: str) -> bool:
    """Stop a run and every live one below it; whether it was live itself."""
    return run_id in stop_all(uow, [run_id], message)


def stop_all(uow: UnitOfWork, run_ids: Sequence[UUID], message: str) -> set[UUID]:
    """Stop runs, and every live one below them; returns all that were stopped."""
    ended = _end(uow, run_ids, RunStatus.STOPPED, message)
    return _stop_below(uow, run_ids, ended, message)


def stop_locked(uow: UnitOfWork, rows: Sequence[AnyRow], message: str) -> set[UUID]:
    """`stop_all`, of runs that the transaction under way has locked; their rows begin with `COLUMNS_FOR_END`."""
    ended = transitions.end_locked(uow, rows, RunStatus.STOPPED, message)
    _finish_steps(uow, ended)
    return _stop_below(uow, [row.id for row in rows], ended, message)


def _stop_below(uow: UnitOfWork, run_ids: Sequence[UUID], ended: Sequence[AnyRow], message: str) -> set[UUID]:
    stopped = {row.id for row in ended}
    # Asked for only now: a child that was being created had to wait for its parent's row, or was there before.
    frontier = list(run_reads.children(uow.conn, run_ids))
    while frontier:
        few, frontier = frontier[:_BATCH], frontier[_BATCH:]
        stopped.update(row.id for row in _end(uow, few, RunStatus.STOPPED, message))
        frontier += run_reads.children(uow.conn, few)
    _notify_parents(uow, _with_parents(ended))
    return stopped


def apply_quota(uow: UnitOfWork) -> set[UUID]:
    """Count the runs that the unit of work created against their projects' quotas; returns those that were too many.

    These have ended as QUOTA_EXCEEDED. The end of each unit does this; whoever must know calls it before.
    """
    refused: set[UUID] = set()
    while beyond := quota.charge(uow):
        error = ExternalFailure("QUOTA_EXCEEDED", "The project has used up its quota of runs.")
        # A parent may go on with its next child, which is counted in turn.
        _notify_parents(uow, _with_parents(_end(uow, beyond, RunStatus.QUOTA_EXCEEDED, error.message, error)))
        refused |= set(beyond)
    return refused


def _end(
    uow: UnitOfWork, run_ids: Sequence[UUID], target: RunStatus, message: str, error: ExternalFailure | None = None
) -> Sequence[AnyRow]:
    """End live runs from outside, and what their steps were doing."""
    ended = transitions.end(uow, run_ids, target, message, error)
    _finish_steps(uow, ended)
    return ended


def _finish_steps(uow: UnitOfWork, ended: Sequence[AnyRow]) -> None:
    """End what the steps of runs were doing that were ended from outside."""
    if begun := [row.id for row in ended if row.status != RunStatus.QUEUED]:
        _stop_steps(uow, begun)
        input_requests.cancel(uow, begun)


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


def _with_parents(ended: Sequence[AnyRow]) -> list[UUID]:
    return [row.id for row in ended if row.parent_run_id is not None]


def _notify_parents(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Go on with the parents of runs that ended; those that fail with a child tell their own parents in turn."""
    while run_ids:
        children.advance_batches(uow, run_ids)
        failed: list[UUID] = []
        for child in run_reads.failing_their_parents(uow.conn, run_ids):
            error = ExternalFailure(
                "CHILD_FAILED", f"The child run {ids.encode(IdKind.RUN, child.id)} is {child.status}."
            )
            failed += _with_parents(_end(uow, [child.parent_run_id], RunStatus.FAILED, error.message, error))
        run_ids = failed


def snooze(uow: UnitOfWork, lease: Lease, outcome: AttemptResult | None, due_at: datetime) -> None:
    """End the claim; the run shall be looked at again at `due_at`."""
    _pass(uow, lease, outcome)
    uow.conn.execute(_SNOOZE, {"of_run": lease.run_id, "due": due_at})
    uow.publish_after_commit(pubsub.RUNS_DUE)


def finish(
    uow: UnitOfWork,
    lease: Lease,
    outcome: AttemptResult | None,
    status: RunStatus,
    message: str,
    values: dict[str, Any],
    *,
    is_retry: bool,
) -> None:
    """Journal how the last attempt went, and end the run."""
    # First, for it also shows whether the lease holds.
    ended = transitions.finish(uow, lease, RunStatus.RUNNING, status, message, values)
    if ended is None:
        raise LeaseLostError
    if outcome is not None:
        run = RunRef(lease.run_id, ended.project_id, ended.flow_id)
        event_log.prepend(uow, _record(uow, [(run, outcome)]))
    if is_retry and status is RunStatus.SUCCEEDED:
        _recover(uow, lease.run_id)
    if ended.parent_run_id is not None:
        _notify_parents(uow, [lease.run_id])


def _recover(uow: UnitOfWork, run_id: UUID) -> None:
    """Note and tell that `run_id` recovered the runs that it retries."""
    now = clock.now()
    recovered = run_reads.mark_recovered(uow, run_id)
    if recovered:
        event_log.append(
            uow,
            [
                {
                    "run_id": row.id,
                    "project_id": row.project_id,
                    "flow_id": row.flow_id,
                    "kind": event_log.RUN_RECOVERED,
                    "from_status": None,
                    "to_status": None,
                    "message": "A retry succeeded",
                    "at": now,
                }
                for row in recovered
            ],
        )


def _row(conn: Connection, lease: Lease) -> AnyRow:
    return conn.execute(_CLAIMED, {"run_ids": [lease.run_id]}).one()


def _note(uow: UnitOfWork, run_id: UUID, output: RunOutput) -> None:
    if output.log_lines:
        logs.append(uow, run_id, output.log_lines, output.max_lines)
    if output.files:
        files.create(uow, output.files)


def _start(
    uow: UnitOfWork, tries: Sequence[tuple[RunRef, AttemptStart]], status: StepStatus = StepStatus.RUNNING
) -> None:
    """Journal that attempts begin."""
    now = clock.now()
    again = [
        {
            "of_run": run.run_id,
            "at": attempt.position,
            "number_": attempt.number,
            "rendered": attempt.input,
            "became": status,
        }
        for run, attempt in tries
        if attempt.number > 1
    ]
    first = [
        _step_row(run, attempt, status, attempts_count=1, started_at=now)
        for run, attempt in tries
        if attempt.number == 1
    ]
    if first:
        uow.conn.execute(_INSERT_STEP, first)
    if again:
        uow.conn.execute(_RESTART_STEP, again)
    begun = {"status": AttemptStatus.RUNNING, "started_at": now}
    rows = [{"run_id": run.run_id, "position": each.position, "number": each.number, **begun} for run, each in tries]
    uow.conn.execute(_INSERT_ATTEMPT, rows)
    for run, attempt in tries:
        _append_attempt_started(uow, run, attempt, status, now, attempt.number)


def _step_row(run: RunRef, attempt: AttemptStart, status: StepStatus, **values: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "position": attempt.position,
        "name": attempt.name,
        "display_name": attempt.display_name,
        "kind": attempt.kind,
        "input": attempt.input,
        "attempts_count": 0,
        "status": status,
        **values,
    }


def _append_attempt_started(
    uow: UnitOfWork, run: RunRef, attempt: AttemptStart, status: StepStatus, at: datetime, number: int
) -> None:
    begun = AttemptRef(attempt.position, attempt.name, number)  # 0 of a step that is skipped
    event_log.append(uow, [event_log.step_row(run, begun, StepStatus.PENDING, status, at)])


def _record(uow: UnitOfWork, outcomes: Sequence[tuple[RunRef, AttemptResult]]) -> list[dict[str, Any]]:
    """Journal how attempts went; returns the events of that."""
    now = clock.now()
    steps, attempts, rows = [], [], []
    for run, outcome in outcomes:
        over = outcome.status is not StepStatus.PENDING
        succeeded = outcome.status is StepStatus.SUCCEEDED
        at = {"of_run": run.run_id, "at": outcome.position, "why": outcome.error}
        steps.append(
            {
                **at,
                "became": outcome.status,
                "gave": outcome.output,
                "ended": now if over else None,
                "took": clock.milliseconds_since(outcome.started_at, now) if over else None,
            }
        )
        became = AttemptStatus.SUCCEEDED if succeeded else AttemptStatus.FAILED
        attempts.append({**at, "number_": outcome.number, "became": became, "ended": now})
        ended = AttemptRef(outcome.position, outcome.name, outcome.number)
        rows.append(event_log.step_row(run, ended, outcome.source, outcome.status, now))
    uow.conn.execute(_END_STEP, steps)
    uow.conn.execute(_END_ATTEMPT, attempts)
    return rows


def _leased(leases: Sequence[Lease]) -> ColumnElement[bool]:
    pairs = [(each.run_id, each.token) for each in leases]
    # The IDs once more, for the primary key.
    return and_(_run.id.in_([run_id for run_id, _ in pairs]), tuple_(_run.id, _run.lease_token).in_(pairs))
