"""The step journal: the writes of workers while they execute runs.

Every write checks the lease of the run in the same transaction (`claims.lock_lease`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import AttemptRef, RunRef
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.queue import slots
from db.row_types import RunRow
from db.runs import cancellation, children, claims, families, transitions
from db.runs import reads as run_reads
from db.runs.children import ChildBatch
from db.runs.claims import LeaseLostError
from db.runs.output import files, logs
from db.runs.transitions import Ending, Lease
from db.runs.waits import input_requests
from db.sql.any_of import any_of
from db.sql.array_rows import ArrayInsert, ArrayUpdate
from domain import ids, json_codec
from domain.enums import AttemptStatus, RunStatus, StepStatus, WaitKind
from domain.ids import IdKind
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_results = table(StepResult)
_step = _results.c
_attempts = table(StepAttempt)
_attempt = _attempts.c
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """The start of an attempt at a step."""

    position: int
    name: str
    display_name: str | None
    kind: str
    number: int
    input: str | None
    started_at: datetime | None = None
    """When the attempt started; None: now."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of the last attempt at a step."""

    position: int
    name: str
    status: StepStatus
    number: int
    started_at: datetime
    output: str | None = None
    error: str | None = None
    source: StepStatus = StepStatus.RUNNING
    """The step's status in the journal before the result."""
    sealed: str | None = None
    """The redacted parts of the output, encrypted; None if there are none."""


@dataclass(frozen=True, slots=True)
class Advance:
    """A run that continues: the result of its last attempt, and the start of the next one."""

    lease: Lease
    result: AttemptResult | None
    next_attempt: AttemptStart


@dataclass(frozen=True, slots=True)
class End:
    """A run that ends: the result of its last attempt, and its own."""

    lease: Lease
    result: AttemptResult | None
    ending: Ending


@dataclass(frozen=True, slots=True)
class RunOutput:
    """Log lines and files of a run that are not yet written."""

    log_lines: Sequence[logs.Line]
    max_lines: int
    """Largest number of lines in the run's log."""
    files: Sequence[Mapping[str, Any]]
    """Rows of `run_file`."""


# The statements of the hot path are built once: building a statement costs more than SQLite takes to execute it.

_same_run = _run.id == bindparam("of_run")
_same_step = and_(_step.run_id == bindparam("of_run"), _step.position == bindparam("at"))
_same_attempts = and_(_attempt.run_id == bindparam("of_run"), _attempt.position == bindparam("at"))

# Rows that another transaction has locked are skipped.
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
_INSERT_STEPS = ArrayInsert(
    _results,
    ("run_id", "position", "name", "display_name", "kind", "input", "attempts_count", "status", "started_at"),
)
_INSERT_ATTEMPTS = ArrayInsert(_attempts, ("run_id", "position", "number", "status", "started_at"))
_RESTART_STEP = (
    update(_results)
    .where(_same_step)
    .values(
        status=bindparam("became"),
        attempts_count=bindparam("number_"),
        # An attempt that failed before its input was known keeps that of the attempt before, and with it its items.
        input=func.coalesce(bindparam("rendered", type_=_step.input.type), _step.input),
    )
)
_END_STEPS = ArrayUpdate(
    _results,
    {"of_run": _step.run_id, "at": _step.position},
    {
        "became": _step.status,
        "gave": _step.output,
        "kept_secret": _step.sealed,
        "why": _step.error,
        "ended": _step.finished_at,
        "took": _step.duration_ms,
    },
)
_END_ATTEMPTS = ArrayUpdate(
    _attempts,
    {"of_run": _attempt.run_id, "at": _attempt.position, "number_": _attempt.number},
    {"became": _attempt.status, "why": _attempt.error, "ended": _attempt.finished_at},
    lambda statement, _: statement.where(_attempt.status == AttemptStatus.RUNNING),
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


def advance(uow: UnitOfWork, lease: Lease, result: AttemptResult | None, next_attempt: AttemptStart | None) -> None:
    """Journals the result of the last attempt and the start of the next one."""
    run = _pass(uow, lease, result)
    if next_attempt is not None:
        _start(uow, [(run, next_attempt)])


def _pass(uow: UnitOfWork, lease: Lease, result: AttemptResult | None) -> RunRef:
    """Journals the result of the last attempt; returns the run.

    Raises:
        LeaseLostError
    """
    locked = claims.lock_lease(uow, lease)
    if result is not None:
        event_log.append(uow, _record(uow, [(locked.run, result)]))
        if locked.interruptions:
            # The run made progress: workers that were lost before no longer count against it.
            uow.conn.execute(_RESET_INTERRUPTIONS, {"of_run": lease.run_id})
    return locked.run


def advance_batch(uow: UnitOfWork, changes: Sequence[Advance | End]) -> set[UUID]:
    """Does what `advance` and `finish` do, for many runs in a few statements; returns the runs that were written.

    Never waits for a row lock (SKIP LOCKED). Callers must write the other runs one at a time: their lease is lost, or
    their row is locked. An `End` must be neither that of a child run nor that of a retry: those concern other runs too.
    """
    rows = uow.conn.execute(_LOCK_ALL, {"run_ids": [change.lease.run_id for change in changes]})
    tokens = {change.lease.run_id: change.lease.token for change in changes}
    held = {row.id: row for row in rows if row.lease_token == tokens[row.id] and row.status == RunStatus.RUNNING}
    refs = {run_id: RunRef(run_id, row.project_id, row.flow_id) for run_id, row in held.items()}
    changed = [(refs[change.lease.run_id], change) for change in changes if change.lease.run_id in held]
    if results := [(run, change.result) for run, change in changed if change.result is not None]:
        event_log.append(uow, _record(uow, results))
    advances = [(run, change) for run, change in changed if isinstance(change, Advance)]
    if progressed := [
        {"of_run": run.run_id}
        for run, change in advances
        if change.result is not None and held[run.run_id].interruptions
    ]:
        uow.conn.execute(_RESET_INTERRUPTIONS, progressed)
    if advances:
        _start(uow, [(run, change.next_attempt) for run, change in advances])
    if ends := [(held[run.run_id], change) for run, change in changed if isinstance(change, End)]:
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
    # The journal write comes first: it checks the lease, and may end it.
    result = work(uow, lease, *args, **kwargs)
    _write_output(uow, lease.run_id, output)
    return result


def write_output(uow: UnitOfWork, lease: Lease, output: RunOutput) -> None:
    """Writes `output` while an attempt is running."""
    claims.lock_lease(uow, lease)
    _write_output(uow, lease.run_id, output)


def skip(uow: UnitOfWork, lease: Lease, result: AttemptResult | None, skipped: AttemptStart) -> None:
    """Journals the result of the last attempt, and that the condition of a step is false."""
    run = _pass(uow, lease, result)
    now = clock.now()
    row = _step_row(run, skipped, StepStatus.SKIPPED, started_at=now, finished_at=now, duration_ms=0)
    uow.conn.execute(_INSERT_STEP, row)
    _append_attempt_started(uow, run, skipped, StepStatus.SKIPPED, now, 0)


def interrupt(uow: UnitOfWork, lease: Lease, position: int) -> None:
    """Journals that the running attempt at a step was interrupted, because its worker was lost."""
    run = claims.lock_lease(uow, lease).run
    now = clock.now()
    at = {"of_run": lease.run_id, "at": position}
    step = uow.conn.execute(_INTERRUPT, at).first()
    if step is not None:
        uow.conn.execute(_INTERRUPT_ATTEMPT, {**at, "ended": now})
        interrupted = AttemptRef(position, step.name, step.attempts_count)
        event_log.append(uow, [event_log.step_row(run, interrupted, StepStatus.RUNNING, StepStatus.PENDING, now)])


def pause(
    uow: UnitOfWork,
    lease: Lease,
    result: AttemptResult | None,
    waiting: AttemptStart,
    message: str,
    due_at: datetime | None,
    request: Mapping[str, Any] | None = None,
    batch: ChildBatch | None = None,
) -> None:
    """Journals the result of the last attempt and that a step waits; ends the claim.

    The step's input request, or the child runs for which it waits, are created in the same transaction.
    """
    if batch is not None:
        families.lock(uow, [batch.root_run_id], exclusive=False)
    _start(uow, [(_pass(uow, lease, result), waiting)], StepStatus.PAUSED)
    if request is not None:
        input_requests.create(uow, request)
    if batch is not None:
        children.create(uow, _parent(uow.conn, lease), batch)
    waits_for = WaitKind.PERSON if request is not None else WaitKind.CHILDREN if batch is not None else WaitKind.TIME
    if not transitions.pause(uow, lease, message, due_at, waits_for):
        raise LeaseLostError


def wait_on(
    uow: UnitOfWork, lease: Lease, message: str, due_at: datetime | None, children_of: tuple[int, int] | None = None
) -> None:
    """Pauses a run that still waits, for the children of a step's attempt if these are given; ends the claim."""
    if not transitions.pause(uow, lease, message, due_at):
        raise LeaseLostError
    if children_of is not None:
        # The last child may have ended while the run was not paused, so that it could not wake it.
        children.wake_parent_if_done(uow, lease.run_id, *children_of)


def launch(
    uow: UnitOfWork, lease: Lease, result: AttemptResult | None, attempt: AttemptStart, batch: ChildBatch
) -> list[UUID]:
    """Journals an attempt that starts child runs without waiting for them; returns their IDs."""
    families.lock(uow, [batch.root_run_id], exclusive=False)
    run = _pass(uow, lease, result)
    _start(uow, [(run, attempt)])
    child_ids = children.create(uow, _parent(uow.conn, lease), batch)
    started_at = clock.now()
    output = json_codec.encode(
        [ids.encode(IdKind.RUN, key) for key in child_ids], limit=json_codec.MAX_INPUT_BYTES, what="IDs"
    )
    done = AttemptResult(attempt.position, attempt.name, StepStatus.SUCCEEDED, attempt.number, started_at, output)
    event_log.append(uow, _record(uow, [(run, done)]))
    return child_ids


def abandon(uow: UnitOfWork, lease: Lease, root_run_id: UUID, position: int, attempt: int, message: str) -> None:
    """Cancels the child runs and the input request of an attempt, before its failure is journalled."""
    families.lock(uow, [root_run_id], exclusive=True)
    below = families.live_descendants(uow.conn, [lease.run_id])
    families.lock_runs(uow, {lease.run_id, *below})
    claims.lock_lease(uow, lease)
    cancellation.abandon(uow, lease.run_id, position, attempt, message)


def snooze(uow: UnitOfWork, lease: Lease, result: AttemptResult | None, due_at: datetime) -> None:
    """Journals the result of the last attempt and ends the claim; the run is due again at `due_at`."""
    _pass(uow, lease, result)
    uow.conn.execute(_SNOOZE, {"of_run": lease.run_id, "due": due_at})
    uow.publish_after_commit(pubsub.RUNS_DUE)


def finish(
    uow: UnitOfWork,
    lease: Lease,
    result: AttemptResult | None,
    status: RunStatus,
    message: str,
    values: dict[str, Any],
    *,
    is_retry: bool,
    has_relatives: bool = True,
) -> None:
    """Journals the result of the last attempt and ends the run.

    `has_relatives` may be False for a run that neither has a parent nor is a retry: nothing else is locked then.
    """
    if has_relatives and (links := families.links(uow.conn, lease.run_id)) is not None:
        cancellation.lock_for_end(uow, links, status)
    # This comes before the journal, because it also checks the lease.
    ended = transitions.finish(uow, lease, RunStatus.RUNNING, status, message, values)
    if ended is None:
        raise LeaseLostError
    if result is not None:
        run = RunRef(lease.run_id, ended.project_id, ended.flow_id)
        event_log.prepend(uow, _record(uow, [(run, result)]))
    if is_retry and status is RunStatus.SUCCEEDED:
        _recover(uow, lease.run_id)
    if ended.parent_run_id is not None:
        cancellation.notify_parents(uow, [lease.run_id])


def _recover(uow: UnitOfWork, run_id: UUID) -> None:
    """Marks the runs that `run_id` retries as recovered, and appends the events."""
    now = clock.now()
    recovered = run_reads.mark_recovered(uow, run_id, now)
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


def _parent(conn: Connection, lease: Lease) -> RunRow:
    return run_reads.complete(conn, lease.run_id)


def _write_output(uow: UnitOfWork, run_id: UUID, output: RunOutput) -> None:
    if output.log_lines:
        logs.append(uow, run_id, output.log_lines, output.max_lines)
    if output.files:
        files.create(uow, output.files)


def _start(
    uow: UnitOfWork, starts: Sequence[tuple[RunRef, AttemptStart]], status: StepStatus = StepStatus.RUNNING
) -> None:
    """Journals the start of attempts."""
    now = clock.now()
    again = [
        {
            "of_run": run.run_id,
            "at": attempt.position,
            "number_": attempt.number,
            "rendered": attempt.input,
            "became": status,
        }
        for run, attempt in starts
        if attempt.number > 1
    ]
    first = [
        _step_row(run, attempt, status, attempts_count=1, started_at=attempt.started_at or now)
        for run, attempt in starts
        if attempt.number == 1
    ]
    if first:
        _INSERT_STEPS.execute(uow.conn, first)
    if again:
        uow.conn.execute(_RESTART_STEP, again)
    rows = [
        {
            "run_id": run.run_id,
            "position": attempt.position,
            "number": attempt.number,
            "status": AttemptStatus.RUNNING,
            "started_at": attempt.started_at or now,
        }
        for run, attempt in starts
    ]
    _INSERT_ATTEMPTS.execute(uow.conn, rows)
    for run, attempt in starts:
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
    started = AttemptRef(attempt.position, attempt.name, number)  # number 0: the step is skipped
    event_log.append(uow, [event_log.step_row(run, started, StepStatus.PENDING, status, at)])


def _record(uow: UnitOfWork, results: Sequence[tuple[RunRef, AttemptResult]]) -> list[dict[str, Any]]:
    """Journals the results of attempts; returns their events."""
    now = clock.now()
    steps, attempts, rows = [], [], []
    for run, result in results:
        is_over = result.status is not StepStatus.PENDING
        succeeded = result.status is StepStatus.SUCCEEDED
        at = {"of_run": run.run_id, "at": result.position, "why": result.error}
        steps.append(
            {
                **at,
                "became": result.status,
                "gave": result.output,
                "kept_secret": result.sealed,
                "ended": now if is_over else None,
                "took": clock.milliseconds_since(result.started_at, now) if is_over else None,
            }
        )
        became = AttemptStatus.SUCCEEDED if succeeded else AttemptStatus.FAILED
        attempts.append({**at, "number_": result.number, "became": became, "ended": now})
        ended = AttemptRef(result.position, result.name, result.number)
        rows.append(event_log.step_row(run, ended, result.source, result.status, now))
    _END_STEPS.execute(uow.conn, steps)
    _END_ATTEMPTS.execute(uow.conn, attempts)
    return rows
