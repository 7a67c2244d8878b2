"""The event log: a row for each change, written in the transaction of the change.

Its order is that of the rows' numbers. They are taken at the end of a transaction, when it holds the locks on all that
it changed: what happened to a run after something else, or because of it, has the higher number. On SQLite this is the
order of commits. On PostgreSQL a higher number may be committed first, so whoever follows the log stops at each number
that is missing until nobody has it any more: then it was committed, or never will be.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, takewhile
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Insert, Select, delete, func, insert, select, text, update

from db.core.unit_of_work import PendingEvent, UnitOfWork
from db.models import EventLowWatermark, RunEvent
from db.models.types import table
from db.row_types import EventRow
from db.runs import reads as run_reads
from db.sql.rows import AnyRow, fetch_all, group_by
from domain.errors import CursorExpiredError
from domain.runs.state_machine import FINAL

_table = table(RunEvent)
_event = _table.c

RUN_STATUS = "RUN_STATUS"
"""Kind of event: a run changed its status, or was created."""
RUN_ARCHIVED = "RUN_ARCHIVED"
"""Kind of event: a run was archived."""
RUN_UNARCHIVED = "RUN_UNARCHIVED"
"""Kind of event: a run is archived no more."""
RUN_RECOVERED = "RUN_RECOVERED"
"""Kind of event: a retry of the run, direct or later in the chain, succeeded."""
RUN_KINDS = frozenset({RUN_STATUS, RUN_ARCHIVED, RUN_UNARCHIVED, RUN_RECOVERED})
"""Kinds of events by which a run itself changes, and with it the filters that mean it."""
STEP_STATUS = "STEP_STATUS"
"""Kind of event: a step of a run changed its status. `data` is `{position, attempt}`, of the try that changed it."""
LOG_LINES = "LOG_LINES"
"""Kind of event: the log of a run grew. `data` is `{first, last}`, the numbers of the lines."""
BULK_PROGRESS = "BULK_PROGRESS"
"""Kind of event: a bulk operation began, went on or ended; `data` has its status and counts."""

_INSERT = insert(_table).inline()  # nobody asks for the numbers that the rows get
_NOTHING = dict.fromkeys(column.name for column in _event if column.name != "seq")


class RunRef(NamedTuple):
    """The run that an event is about."""

    run_id: UUID
    project_id: UUID
    flow_id: UUID


class AttemptRef(NamedTuple):
    """The try of a step that an event is about."""

    position: int
    name: str
    number: int


def append(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends `rows` to the log, when the transaction ends: all of it in one statement."""
    uow.events.extend(rows)


def insert_from_select(rows: Select[Any]) -> Insert:
    """What `append_from` takes: a statement that writes what a query gives, whose columns are called like the log's."""
    return insert(_table).from_select([column.name for column in rows.selected_columns], rows)


def append_from(uow: UnitOfWork, copy: Insert, values: Mapping[str, Any]) -> None:
    """Appends the rows that `copy` finds with these parameters when the transaction ends."""
    uow.events.append((copy, values))


def prepend(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts `rows` before the events of the unit so far: what led to the end of a run stands before that end."""
    uow.events[:0] = rows


def write(conn: Connection, events: Sequence[PendingEvent]) -> None:
    """Writes events at the end of the log, in this order."""
    for is_copied, pending in groupby(events, key=lambda event: isinstance(event, tuple)):
        if is_copied:
            for copy, values in cast("Iterator[tuple[Insert, Mapping[str, Any]]]", pending):
                conn.execute(copy, values)
        else:
            # Rows of one statement have the same columns.
            conn.execute(_INSERT, [_NOTHING | cast("dict[str, Any]", row) for row in pending])


def step_row(run: RunRef, step: AttemptRef, source: str, target: str, at: datetime) -> dict[str, Any]:
    """The event that a step changed its status."""
    data = f'{{"position":{step.position},"attempt":{step.number}}}'
    change = {"kind": STEP_STATUS, "step_name": step.name, "from_status": source, "to_status": target, "data": data}
    return run._asdict() | change | {"at": at}


def lines_row(run: RunRef, first: int, last: int, at: datetime) -> dict[str, Any]:
    """The event that lines were added to a run's log."""
    return run._asdict() | {"kind": LOG_LINES, "data": f'{{"first":{first},"last":{last}}}', "at": at}


LogPosition = int
"""A place in the log: behind the event of this number. 0 is its beginning."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Numbers that are missing in the log, and may yet come: PostgreSQL gives them out before the commit."""

    until: LogPosition
    """Up to here; when nobody has them any more, this is a place at which the log is complete."""
    writers: frozenset[str]
    """The transactions that may have them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the log that somebody reads; None says nothing."""

    project_ids: tuple[UUID, ...] | None = None
    run_id: UUID | None = None
    operation_id: UUID | None = None
    kinds: frozenset[str] | None = None


EVERYTHING = Scope()
"""The whole log."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the log."""

    rows: Sequence[AnyRow]
    """Its events in the scope asked for, in order."""
    end: LogPosition
    """How far it reaches: the next one begins behind."""
    is_last: bool
    """Whether it reached as far as was asked."""
    runs: Mapping[UUID, AnyRow]
    """The runs that its events of `RUN_KINDS` changed, as they stand now, when columns of them were asked for."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest stretch of the log, as far as it is complete."""

    rows: Sequence[AnyRow]
    """Its events, in order."""
    end: LogPosition
    """How far it reaches: the next one begins behind."""
    is_last: bool
    """Whether nothing more stood behind it."""
    gaps: Gaps | None
    """What it ends before, if more stands behind that. It goes on when nobody has these numbers any more."""
    runs: Mapping[UUID, AnyRow]
    """As those of a `Page`."""


# Whoever reads what was missed knows these, or asks the runs for them.
_OF_SCOPE = select(*(column for column in _event if column.name not in {"project_id", "flow_id"}))
_low_watermark = table(EventLowWatermark)
_KEPT_FROM = select(_low_watermark.c.seq)
_NEWEST = select(func.coalesce(func.max(_event.seq), 0))
# Who writes to the log has locked it so before he gets numbers, and until others see what he committed.
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'run_event'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def end(conn: Connection) -> Gaps:
    """The newest place, and what may be missing before it."""
    newest = conn.execute(_NEWEST).scalar_one()
    return Gaps(newest, _writers(conn))


def remaining(conn: Connection, gaps: Gaps) -> Gaps:
    """What of `gaps` is left: fewer writers, and in the end none."""
    return replace(gaps, writers=gaps.writers & _writers(conn)) if gaps.writers else gaps


def tail(conn: Connection, after: LogPosition, gaps: Gaps | None, limit: int, columns: Collection[str] = ()) -> Tail:
    """The next events behind `after`, a place up to which the log is complete; `gaps` are those of the last look."""
    complete = after
    if gaps is not None:
        gaps = remaining(conn, gaps)
        if not gaps.writers:
            complete, gaps = gaps.until, None
    found = conn.execute(select(_table).where(_event.seq > after).order_by(_event.seq).limit(limit)).all()
    rows = found if conn.dialect.name == "sqlite" else _unbroken(found, complete)
    if len(rows) < len(found) and gaps is None:
        # Asked afterwards: who had a number below these has ended, or is among them.
        gaps = Gaps(found[-1].seq, _writers(conn))
    reached = rows[-1].seq if rows else after
    return Tail(rows, reached, len(found) < limit, gaps, changed_runs(conn, rows, columns))


def _unbroken(rows: Sequence[AnyRow], complete: LogPosition) -> Sequence[AnyRow]:
    """Those before the first gap behind `complete`."""
    for index, row in enumerate(rows):
        if row.seq > complete + 1:
            return rows[:index]
        complete = max(complete, row.seq)
    return rows


def _writers(conn: Connection) -> frozenset[str]:
    """The transactions that may have numbers of events that nobody else sees; SQLite has one writer at a time."""
    return frozenset() if conn.dialect.name == "sqlite" else frozenset(conn.execute(_WRITERS).scalars())


def page(
    conn: Connection, after: LogPosition, until: LogPosition, scope: Scope, limit: int, columns: Collection[str] = ()
) -> Page:
    """The next events of `scope` after a place, up to one at which the log is complete; without projects and flows.

    Raises:
        CursorExpiredError: events behind `after` are kept no longer.
    """
    place = _event.seq
    query = _OF_SCOPE.where(place > after, place <= until, *_in_scope(scope)).order_by(place).limit(limit)
    rows = conn.execute(query).all() if after < until else ()
    # Asked afterwards: the horizon moves in the transaction that deletes, so what was missing above is known now.
    if after < conn.execute(_KEPT_FROM).scalar_one():
        raise CursorExpiredError
    is_last = len(rows) < limit
    return Page(rows, max(after, until) if is_last else rows[-1].seq, is_last, changed_runs(conn, rows, columns))


def purge(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Delete what is older than `before` among the next `limit` events; returns how many were looked at.

    Changes of status stay, for they are the history of their runs. The log is complete from then on behind the last
    one looked at. Whoever comes while another purges has nothing to do.
    """
    kept_from = uow.conn.execute(_KEPT_FROM.with_for_update(skip_locked=True)).scalar_one_or_none()
    if kept_from is None:
        return 0
    query = select(_event.seq, _event.at).where(_event.seq > kept_from).order_by(_event.seq).limit(limit)
    old = list(takewhile(lambda event: event.at < before, uow.conn.execute(query)))
    if old:
        last = old[-1].seq
        gone = (_event.seq > kept_from, _event.seq <= last, _event.kind != RUN_STATUS)
        uow.conn.execute(delete(_table).where(*gone))
        uow.conn.execute(update(_low_watermark).values(seq=last))
    return len(old)


def ended_before(conn: Connection, run_id: UUID, place: LogPosition) -> bool:
    """Whether a run has its final status since an event at or before `place`."""
    ended = (_event.run_id == run_id, _event.kind == RUN_STATUS, _event.to_status.in_(sorted(FINAL)))
    return conn.execute(select(_event.seq).where(*ended, _event.seq <= place).limit(1)).first() is not None


def _in_scope(scope: Scope) -> Iterator[ColumnElement[bool]]:
    if scope.project_ids is not None:
        yield _event.project_id.in_(scope.project_ids)
    if scope.run_id is not None:
        yield _event.run_id == scope.run_id
    if scope.operation_id is not None:
        yield _event.operation_id == scope.operation_id
    if scope.kinds is not None:
        yield _event.kind.in_(sorted(scope.kinds))


def changed_runs(conn: Connection, rows: Sequence[AnyRow], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The runs that events among `rows` changed, as they stand now."""
    changed = {row.run_id for row in rows if row.kind in RUN_KINDS} if columns else ()
    return cast("Mapping[UUID, AnyRow]", run_reads.by_ids(conn, sorted(changed), columns) if changed else {})


def last_progress(conn: Connection, operation_id: UUID) -> AnyRow | None:
    """The latest event of a bulk operation; None when it has not begun."""
    query = select(_table).where(_event.operation_id == operation_id, _event.kind == BULK_PROGRESS)
    return conn.execute(query.order_by(_event.seq.desc()).limit(1)).first()


def status_changes_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[EventRow]]:
    """The status changes of each run, oldest first."""
    query = (
        select(_event.run_id, _event.from_status, _event.to_status, _event.message, _event.at)
        .where(_event.run_id.in_(run_ids), _event.kind == RUN_STATUS)
        .order_by(_event.run_id, _event.seq)
    )
    return group_by(fetch_all(conn, query), "run_id")
