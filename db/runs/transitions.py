"""The only writer of a run's status.

A transition is a guarded UPDATE (`… WHERE id = ? AND status IN (…)`) and an event, in one transaction. Of two
concurrent transitions, the second matches no row, which its caller can see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Insert,
    Select,
    Update,
    bindparam,
    case,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, Project
from db.models.types import Latest, MillisecondsUntil, table
from db.queue import due, quota, slots
from db.row_types import RunRow
from db.sql.any_of import any_of
from db.sql.array_rows import ArrayUpdate
from db.sql.row_writes import KEEPING_NO_UNDO, RowWrite
from db.sql.rows import fetch_all, fetch_first, group_by
from domain.actor import Actor
from domain.enums import RunStatus, WaitKind
from domain.observation import spans
from domain.runs.fingerprint import fingerprint
from domain.runs.state_machine import FINAL, LIVE, TRANSITIONS
from domain.text import fold_column
from domain.time import clock

_table = table(FlowRun)
_run = _table.c


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to write to a run, until another worker claims it."""

    run_id: UUID
    token: UUID


class RunOfFlow(Protocol):
    """The columns of a run that its transitions need."""

    project_id: UUID
    flow_id: UUID
    limited: bool
    """True if a concurrency limit applies to the run."""


class EndedRun(RunOfFlow, Protocol):
    """A run that is about to end, or has just ended: `COLUMNS_FOR_END`."""

    id: UUID
    status: str
    parent_run_id: UUID | None


class FinishedRun(RunOfFlow, Protocol):
    """A run that its worker has ended."""

    parent_run_id: UUID | None


_SUCCESS = ("output", "duration_ms")
_RESULT = (*_SUCCESS, "failed_step_name", "error_code", "error_message", "error_fingerprint")
"""Columns that are set when a run ends."""

_project = table(Project).c
# In RETURNING the name of the table stands for the new row.
_of_new_run = _project.id == literal_column("flow_run.project_id", _project.id.type)
_INSERT = insert(_table).prefix_with(KEEPING_NO_UNDO, dialect="sqlite")
_CREATE = RowWrite(_INSERT)
_CREATE_RETURNING_QUOTA = _INSERT.returning(
    select(_project.quota_runs).where(_of_new_run).scalar_subquery().label("quota"),
    select(_project.quota_period).where(_of_new_run).scalar_subquery().label("period"),
)
_limited = slots.LIMITED.label("limited")
_NOW = bindparam("now", type_=_run.started_at.type)
# A clock that was set back must not let a run start or change before its creation, or end before its start: filters of
# time read no run whose creation is beyond their bound.
_START_OR_CREATION: ColumnElement[Any] = func.coalesce(_run.started_at, _run.created_at)
_CHANGED_AT = Latest(_NOW, _run.updated_at)
_RAN = _run.ran_ms + func.coalesce(MillisecondsUntil(_run.running_since, _NOW), 0)

_START_MESSAGES: dict[str, str] = {RunStatus.QUEUED: "Run started", RunStatus.PAUSED: "Run resumed"}
_waits = _run.status.in_([RunStatus.QUEUED, RunStatus.PAUSED])
_CLAIM = (
    update(_table)
    .prefix_with(KEEPING_NO_UNDO, dialect="sqlite")
    .where(any_of(_run.id, "run_ids"), _run.status.in_(sorted(LIVE)))
    .values(
        lease_token=bindparam("token"),
        due_at=bindparam("until"),
        priority=due.STARTED,
        blocked_since=None,
        blocked_by=None,
        # A token that was not released belongs to a worker that was lost.
        interruptions=_run.interruptions + case((_run.lease_token.is_(None), 0), else_=1),
        status=RunStatus.RUNNING,
        started_at=func.coalesce(_run.started_at, Latest(_NOW, _run.created_at)),
        running_since=case((_waits, _NOW), else_=_run.running_since),
        updated_at=case((_waits, _CHANGED_AT), else_=_run.updated_at),
    )
    .returning(*_run)
)
_PAUSE = (
    update(_table)
    .prefix_with(KEEPING_NO_UNDO, dialect="sqlite")
    .where(
        _run.id == bindparam("of_run"),
        _run.lease_token == bindparam("token"),
        _run.status == RunStatus.RUNNING,
    )
    .values(
        status=RunStatus.PAUSED,
        due_at=bindparam("due"),
        waits_for=func.coalesce(bindparam("kind", type_=_run.waits_for.type), _run.waits_for),
        updated_at=_CHANGED_AT,
        ran_ms=_RAN,
        running_since=None,
        lease_token=None,
        interruptions=0,
    )
    .returning(_run.project_id, _run.flow_id, _limited)
)
_LOCK_PAUSED = (
    select(_run.project_id, _run.flow_id, _limited)
    .where(_run.id == bindparam("of_run"), _run.status == RunStatus.PAUSED)
    .with_for_update()
)
_RESUME = (
    update(_table)
    .prefix_with(KEEPING_NO_UNDO, dialect="sqlite")
    .where(_run.id == bindparam("of_run"), _run.status == RunStatus.PAUSED)
    .values(
        status=RunStatus.RUNNING,
        due_at=_NOW,
        blocked_since=None,
        blocked_by=None,
        running_since=_NOW,
        updated_at=_CHANGED_AT,
    )
    .returning(_run.project_id, _run.flow_id)
)
COLUMNS_FOR_END = (_run.id, _run.project_id, _run.flow_id, _run.status, _run.parent_run_id, _limited)
"""The columns of an `EndedRun`."""
_LOCK_LIVE = (
    select(*COLUMNS_FOR_END)
    .where(any_of(_run.id, "run_ids"), _run.status.in_(sorted(LIVE)))
    .order_by(_run.depth, _run.id)  # see `db.runs.families`
    .with_for_update(key_share=True)
)
_END = (
    update(_table)
    .prefix_with(KEEPING_NO_UNDO, dialect="sqlite")
    .where(any_of(_run.id, "run_ids"), _run.status.in_(sorted(LIVE)))
    .values(
        status=bindparam("target"),
        finished_at=Latest(_NOW, _START_OR_CREATION),
        updated_at=_CHANGED_AT,
        duration_ms=MillisecondsUntil(_run.started_at, _NOW),
        due_at=None,
        blocked_since=None,
        blocked_by=None,
        lease_token=None,
        cancelled_by=bindparam("by"),
        error_code=bindparam("code"),
        error_message=bindparam("why"),
        error_folded=bindparam("folded"),
        error_fingerprint=bindparam("print"),
    )
)
_APPEND_ENDS = event_log.insert_from_select(
    select(
        *(_run.id.label("run_id"), _run.project_id, _run.flow_id),
        literal(event_log.RUN_STATUS).label("kind"),
        bindparam("source", type_=_run.status.type).label("from_status"),
        bindparam("target", type_=_run.status.type).label("to_status"),
        bindparam("why", type_=_run.status.type).label("message"),
        bindparam("now", type_=_run.updated_at.type).label("at"),
    )
    .where(any_of(_run.id, "run_ids"))
    .order_by(_run.id)
)


def _finish(columns: Sequence[str]) -> ArrayUpdate:
    """Returns the statement that ends runs, and sets these columns."""
    held = {"of_run": _run.id, "token": _run.lease_token, "was": _run.status}
    # SQLAlchemy reserves the plain names of the columns.
    values = {"target": _run.status, "now": _run.updated_at, **{f"new_{name}": _run[name] for name in columns}}

    def finish(statement: Update, given: Mapping[str, ColumnElement[Any]]) -> Update:
        ended_at = Latest(given["now"], _START_OR_CREATION)
        changed_at = Latest(given["now"], _run.updated_at)
        statement = statement.values({_run.updated_at: changed_at})  # a name would not replace the value that it has
        ended = statement.values(finished_at=ended_at, due_at=None, lease_token=None)
        return ended.prefix_with(KEEPING_NO_UNDO, dialect="sqlite")

    return ArrayUpdate(_table, held, values, finish)


_SUCCEED = _finish(_SUCCESS)
"""Leaves the columns of errors alone: they are null until a run ends, and setting them would fire triggers."""
_FINISH = _finish((*_RESULT, "error_folded"))
_FINISH_RETURNING = _FINISH.one.returning(_run.project_id, _run.flow_id, _run.parent_run_id, _limited)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run by its worker."""

    status: RunStatus
    message: str
    values: Mapping[str, Any]
    """Columns of `_RESULT`: output or error, and duration."""


@dataclass(frozen=True, slots=True)
class ExternalFailure:
    """The error of a run that another transaction than its worker's ends."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Creation:
    """The statements that create many runs: the rows, and the first event of each."""

    runs: Insert
    events: Insert


def create(uow: UnitOfWork, values: Mapping[str, Any], message: str) -> None:
    """Inserts a QUEUED run, due at once, with its first event. The end of the unit of work charges it (`quota`)."""
    now = values["created_at"]
    row = {**values, "status": RunStatus.QUEUED, "updated_at": now, "due_at": now}
    in_bulk = values.get("retry_operation_id") is not None
    row["priority"] = due.initial_priority(values["trigger_method"], in_bulk=in_bulk)
    if (traceparent := spans.current().traceparent) is not None:
        row["trace_parent"] = traceparent
    project_id, quotas = values["project_id"], uow.quotas
    if project_id in quotas:
        _CREATE.execute(uow.conn, [row])
    else:
        # The quota is read once in each unit of work, by a statement that is executed anyway.
        limit = uow.conn.execute(_CREATE_RETURNING_QUOTA, row).one()
        quotas[project_id] = quota.quota_of(project_id, limit.quota, limit.period)
    if (own := quotas[project_id]) is not None:
        uow.charge(own, values["id"])
    event_log.append(uow, [_event(values["id"], values["project_id"], values["flow_id"], None, "QUEUED", message, now)])
    uow.publish_after_commit(pubsub.RUNS_DUE)


def forget_idempotency_key(uow: UnitOfWork, run_id: UUID) -> None:
    """Removes the idempotency key of a run, so that another run can have it."""
    forgotten = update(_table).where(_run.id == run_id).values(idempotency_key=None, request_hash=None)
    uow.conn.execute(forgotten)


def creation(rows: Select[Any], message: ColumnElement[str]) -> Creation:
    """Returns statements that create a run for each row of `rows`.

    The names of its columns are those of `flow_run`. `message` is the first status message, as an expression over them.
    """
    given = rows.subquery().c
    constants = {_run.status: literal(RunStatus.QUEUED.value), _run.updated_at: given.created_at}
    values = {**{_run[column.name]: column for column in given}, **constants}
    event_columns = {
        "kind": literal(event_log.RUN_STATUS),
        "to_status": literal(RunStatus.QUEUED.value),
        "message": message,
    }
    columns = [column.label(name) for name, column in {**event_columns, "at": _run.created_at}.items()]
    created = select(_run.id.label("run_id"), _run.project_id, _run.flow_id, *columns)
    return Creation(
        _INSERT.from_select(list(values), select(*values.values())),
        event_log.insert_from_select(created.where(any_of(_run.id, "run_ids")).order_by(_run.id)),
    )


def create_from(uow: UnitOfWork, made: Creation, values: Mapping[str, Any], run_ids: Sequence[UUID]) -> None:
    """Inserts the QUEUED runs that `made` selects with these parameters, each with its first event.

    Their IDs must be `run_ids`, and they must have been charged before (`quota.take`).
    """
    uow.conn.execute(made.runs, values)
    event_log.append_from(uow, made.events, {"run_ids": run_ids})
    uow.publish_after_commit(pubsub.RUNS_DUE)


def claim(uow: UnitOfWork, sources: Mapping[UUID, str], token: UUID, until: datetime) -> Sequence[RunRow]:
    """Leases live runs, which this transaction has locked, and changes the status from QUEUED or PAUSED to RUNNING.

    Returns the runs. `sources` are their statuses before.
    """
    now = clock.now()
    parameters = {"run_ids": list(sources), "token": token, "until": until, "now": now}
    runs: Sequence[RunRow] = fetch_all(uow.conn, _CLAIM, parameters)
    started = [
        _event(run.id, run.project_id, run.flow_id, source, RunStatus.RUNNING, _START_MESSAGES[source], now)
        for run in runs
        if (source := sources[run.id]) in _START_MESSAGES
    ]
    if started:
        event_log.append(uow, started)
    return runs


def pause(
    uow: UnitOfWork, lease: Lease, message: str, due_at: datetime | None, waits_for: WaitKind | None = None
) -> bool:
    """Changes the status from RUNNING to PAUSED, for the worker with `lease`. Returns False if the lease is no longer
    valid.

    The run is due again at `due_at`, or when it is resumed. `waits_for` is by default the same as at its last pause.
    """
    now = clock.now()
    given = {"of_run": lease.run_id, "token": lease.token, "due": due_at, "kind": waits_for, "now": now}
    row = uow.conn.execute(_PAUSE, given).first()
    if row is None:
        return False
    _release_slots(uow, row)
    _append_event(uow, lease.run_id, row, RunStatus.PAUSED, message, now, source=RunStatus.RUNNING)
    if due_at is not None:
        uow.publish_after_commit(pubsub.RUNS_DUE)
    return True


def resume(uow: UnitOfWork, run_id: UUID, message: str) -> bool:
    """Changes the status from PAUSED to RUNNING, due at once. Returns False if the run is not paused.

    If a concurrency limit leaves no slot for it, the run stays PAUSED and waits in the queue for slots.
    """
    paused = uow.conn.execute(_LOCK_PAUSED, {"of_run": run_id}).first()
    if paused is None:
        return False
    if paused.limited and not slots.try_resume(uow, run_id, paused.project_id, paused.flow_id):
        return True
    now = clock.now()
    row = uow.conn.execute(_RESUME, {"of_run": run_id, "now": now}).one()
    _append_event(uow, run_id, row, RunStatus.RUNNING, message, now, source=RunStatus.PAUSED)
    uow.publish_after_commit(pubsub.RUNS_DUE)
    return True


def end(
    uow: UnitOfWork, run_ids: Sequence[UUID], target: RunStatus, message: str, error: ExternalFailure | None = None
) -> Sequence[EndedRun]:
    """Ends live runs with the status `target`, if it may follow theirs; returns the ended runs, as they were before.

    Their workers lose the leases.
    """
    return end_locked(uow, lock_live(uow, run_ids), target, message, error)


def lock_live(uow: UnitOfWork, run_ids: Sequence[UUID]) -> Sequence[EndedRun]:
    """Returns the live ones of these runs, locked, ancestors before their descendants."""
    rows: Sequence[EndedRun] = fetch_all(uow.conn, _LOCK_LIVE, {"run_ids": run_ids})
    return rows


def note(uow: UnitOfWork, run: RunRow, message: str) -> None:
    """Adds a message to the status history of a live run, whose status does not change."""
    rows = [_event(run.id, run.project_id, run.flow_id, run.status, run.status, message, clock.now())]
    event_log.append(uow, rows)
    uow.publish_after_commit(pubsub.run_changed(run.id))


def end_locked(
    uow: UnitOfWork,
    locked: Sequence[EndedRun],
    target: RunStatus,
    message: str,
    error: ExternalFailure | None = None,
    cancelled_by: Actor | None = None,
) -> Sequence[EndedRun]:
    """Ends live runs like `end`, for runs that this transaction has locked."""
    live = [row for row in locked if target in TRANSITIONS[RunStatus(row.status)]]
    if not live:
        return []
    now = clock.now()
    for row in live:
        _release_slots(uow, row)
    error_columns = {
        "code": error.code if error else None,
        "why": error.message if error else None,
        "folded": fold_column(error.message) if error else None,
        "by": cancelled_by.text if cancelled_by else None,
        "print": fingerprint(None, error.code, error.message) if error else None,
    }
    uow.conn.execute(_END, {"run_ids": [row.id for row in live], "target": target, "now": now, **error_columns})
    for source, rows in group_by(live, "status").items():
        ended = {"run_ids": [row.id for row in rows], "source": source, "target": target}
        event_log.append_from(uow, _APPEND_ENDS, {**ended, "why": message, "now": now})
    uow.publish_after_commit(pubsub.RUNS_STOPPED)
    for row in live:
        uow.publish_after_commit(pubsub.run_changed(row.id))
    return live


def finish(
    uow: UnitOfWork, lease: Lease, source: RunStatus, target: RunStatus, message: str, values: Mapping[str, Any]
) -> FinishedRun | None:
    """Changes the status from `source` to the final status `target`, for the worker with `lease`.

    Returns None if the lease is no longer valid.
    """
    now = clock.now()
    row: FinishedRun | None = fetch_first(uow.conn, _FINISH_RETURNING, _final(lease, source, target, values, now))
    if row is None:
        return None
    _release_slots(uow, row)
    _append_event(uow, lease.run_id, row, target, message, now, source=source)
    return row


def finish_many(uow: UnitOfWork, ends: Sequence[tuple[RunOfFlow, Lease, Ending]]) -> None:
    """Changes the status from RUNNING to final statuses, for runs that this transaction has locked, with valid
    leases."""
    now = clock.now()
    source = RunStatus.RUNNING
    for statement, has_succeeded in ((_SUCCEED, True), (_FINISH, False)):
        finals = [
            _final(lease, source, end.status, end.values, now)
            for _, lease, end in ends
            if (end.status is RunStatus.SUCCEEDED) is has_succeeded
        ]
        statement.execute(uow.conn, finals)
    for row, lease, end in ends:
        _release_slots(uow, row)
        _append_event(uow, lease.run_id, row, end.status, end.message, now, source=source)


def _final(
    lease: Lease, source: RunStatus, target: RunStatus, values: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    if target not in TRANSITIONS[source] or target not in FINAL:
        raise ValueError(f"A run cannot end by {source} → {target}")
    if unknown := values.keys() - set(_RESULT):
        raise ValueError(f"A run's end sets no {unknown}")
    held = {"of_run": lease.run_id, "token": lease.token, "was": source}
    result = {f"new_{name}": values.get(name) for name in _RESULT}
    result["new_error_folded"] = fold_column(values.get("error_message"))
    return {**held, "target": target, "now": now, **result}


def _release_slots(uow: UnitOfWork, row: RunOfFlow) -> None:
    # Also for a run that had no slot yet: another run may have been refused in its favour.
    if row.limited:
        uow.release_slots(row.project_id, row.flow_id)


def _append_event(
    uow: UnitOfWork, run_id: UUID, row: RunOfFlow, target: RunStatus, message: str, at: datetime, *, source: RunStatus
) -> None:
    event_log.append(uow, [_event(run_id, row.project_id, row.flow_id, source, target, message, at)])
    uow.publish_after_commit(pubsub.run_changed(run_id))


def _event(
    run_id: UUID, project_id: UUID, flow_id: UUID, source: str | None, target: str, message: str, at: datetime
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "project_id": project_id,
        "flow_id": flow_id,
        "kind": event_log.RUN_STATUS,
        "from_status": source,
        "to_status": target,
        "message": message,
        "at": at,
    }
