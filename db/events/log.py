"""The event log: a row for each change, written in the transaction of the change.

Events are ordered by their numbers. A transaction takes them at its end, when it has locked everything that it changed.
So an event that follows another event of the same run, or is caused by it, has the higher number. On SQLite this is the
order of commits. On PostgreSQL a higher number may be committed first, so a reader that follows the log stops at each
missing number until no transaction can have it any more: then it was committed, or never will be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, takewhile
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Insert, Select, delete, func, insert, select, text, update

from db.core.unit_of_work import PendingEvent, UnitOfWork
from db.models import EventLowWatermark, RunEvent
from db.models.types import table
from db.row_types import EventRow, RunRow
from db.runs import reads as run_reads
from db.sql.array_rows import ArrayInsert
from db.sql.rows import fetch_all, fetch_first, group_by
from domain.errors import CursorExpiredError
from domain.runs.state_machine import FINAL

_table = table(RunEvent)
_event = _table.c

RUN_STATUS = "RUN_STATUS"
"""Kind of event: a run changed its status, or was created."""
RUN_ARCHIVED = "RUN_ARCHIVED"
"""Kind of event: a run was archived."""
RUN_UNARCHIVED = "RUN_UNARCHIVED"
"""Kind of event: a run was unarchived."""
RUN_RECOVERED = "RUN_RECOVERED"
"""Kind of event: a retry of the run, direct or later in the chain, succeeded."""
RUN_ERASED = "RUN_ERASED"
"""Kind of event: the payloads of the run were erased."""
RUN_DELETED = "RUN_DELETED"
"""Kind of event: the run was deleted. Its earlier events are deleted, too."""
RUN_CHANGED = "RUN_CHANGED"
"""Kind of event: tags, metadata or the note of a run were changed. `data` has, for `tags` and `metadata` (JSON text) if
they were changed, the values before and after. Both statuses are the status of the run."""
RUN_KINDS = frozenset({RUN_STATUS, RUN_ARCHIVED, RUN_UNARCHIVED, RUN_RECOVERED, RUN_CHANGED, RUN_ERASED, RUN_DELETED})
"""Kinds of events that change the run itself, and so the filters that it matches."""
INPUT_REQUEST = "INPUT_REQUEST"
"""Kind of event: an input request was created, answered, cancelled, or has expired. `data` is `{id, flowId, projectId,
assignee, expiresAt}`; `expiresAt` is in microseconds since 1970."""
STEP_STATUS = "STEP_STATUS"
"""Kind of event: a step of a run changed its status. `data` is `{position, attempt}`."""
LOG_LINES = "LOG_LINES"
"""Kind of event: the log of a run grew. `data` is `{first, last}`, the numbers of the lines."""
BULK_PROGRESS = "BULK_PROGRESS"
"""Kind of event: a bulk operation started, made progress or ended; `data` has its status and counts."""

_FIRST_WIDTH = 4
"""Numbers in the first range of the log that is read for a page, for each event on the page."""
_GROWTH = 8
"""The factor by which each further range is wider."""
_NO_VALUES = dict.fromkeys(column.name for column in _event if column.name != "seq")
_INSERT = ArrayInsert(_table, list(_NO_VALUES))


class RunRef(NamedTuple):
    """The run that an event is about."""

    run_id: UUID
    project_id: UUID
    flow_id: UUID


class AttemptRef(NamedTuple):
    """The attempt at a step that an event is about."""

    position: int
    name: str
    number: int


def append(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends `rows` to the log at the end of the transaction, in one statement with the other events."""
    uow.events.extend(rows)


def insert_from_select(rows: Select[Any]) -> Insert:
    """Returns an INSERT … SELECT for `append_from`. The column names of `rows` must be those of the log."""
    return insert(_table).from_select([column.name for column in rows.selected_columns], rows)


def append_from(uow: UnitOfWork, copy: Insert, values: Mapping[str, Any]) -> None:
    """Appends the rows that `copy` selects with these parameters, at the end of the transaction."""
    uow.events.append((copy, values))


def prepend(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts `rows` before the events of the unit so far: events that led to the end of a run precede that end."""
    uow.events[:0] = rows


def write(conn: Connection, events: Sequence[PendingEvent]) -> None:
    """Appends events to the log, in this order."""
    for is_copied, pending in groupby(events, key=lambda event: isinstance(event, tuple)):
        if is_copied:
            for copy, values in cast("Iterator[tuple[Insert, Mapping[str, Any]]]", pending):
                conn.execute(copy, values)
        else:
            # Rows of one statement must have the same columns.
            _INSERT.execute(conn, [_NO_VALUES | cast("dict[str, Any]", row) for row in pending])


def step_row(run: RunRef, step: AttemptRef, source: str, target: str, at: datetime) -> dict[str, Any]:
    """Returns the event of a step whose status changed."""
    data = f'{{"position":{step.position},"attempt":{step.number}}}'
    change = {"kind": STEP_STATUS, "step_name": step.name, "from_status": source, "to_status": target, "data": data}
    return run._asdict() | change | {"at": at}


def lines_row(run: RunRef, first: int, last: int, at: datetime) -> dict[str, Any]:
    """Returns the event of lines that were added to a run's log."""
    return run._asdict() | {"kind": LOG_LINES, "data": f'{{"first":{first},"last":{last}}}', "at": at}


LogPosition = int
"""A position in the log: after the event with this number. 0 is the beginning."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Missing numbers of the log that may still be committed: PostgreSQL assigns them before the commit."""

    until: LogPosition
    """The numbers are below this position. When no transaction can have them any more, the log is complete up to
    here."""
    writers: frozenset[str]
    """The transactions that may have these numbers."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the log for a reader. A field that is None restricts nothing."""

    project_ids: tuple[UUID, ...] | None = None
    run_id: UUID | None = None
    operation_id: UUID | None = None
    kinds: frozenset[str] | None = None


EVERYTHING = Scope()
"""The whole log."""


@dataclass(frozen=True, slots=True)
class NeededOfRuns:
    """What a reader needs to know of the runs that events changed."""

    columns: frozenset[str] = frozenset()
    """Columns of `flow_run`; without any, no run is read."""
    texts: frozenset[str] = frozenset()
    """Folded texts, of which it needs those that the texts of the run contain."""

    def __or__(self, other: "NeededOfRuns") -> "NeededOfRuns":
        return NeededOfRuns(self.columns | other.columns, self.texts | other.texts)

    def covers(self, other: "NeededOfRuns") -> bool:
        """True if `other` needs nothing else."""
        return other.columns <= self.columns and other.texts <= self.texts


NOTHING = NeededOfRuns()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the log."""

    rows: Sequence[EventRow]
    """The events in the scope, in order."""
    end: LogPosition
    """The position at its end, where the next page begins."""
    is_last: bool
    """True if no further page follows."""
    runs: Mapping[UUID, RunRow]
    """The runs that events of `RUN_KINDS` changed, as they are now. Empty if no columns of them were requested."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest part of the log, as far as it is complete."""

    rows: Sequence[EventRow]
    """The events, in order."""
    end: LogPosition
    """The position at its end, where the next page begins."""
    is_last: bool
    """True if no further event follows."""
    gaps: Gaps | None
    """The gaps before which the tail ends, if further events follow. It continues when no transaction can have these
    numbers."""
    runs: Mapping[UUID, RunRow]
    """Like `Page.runs`."""


# Readers of the past know project and flow, or read them from the run.
_OF_SCOPE = select(*(column for column in _event if column.name not in {"project_id", "flow_id"}))
_low_watermark = table(EventLowWatermark)
_KEPT_FROM = select(_low_watermark.c.seq)
_NEWEST = select(func.coalesce(func.max(_event.seq), 0))
# A transaction that writes to the log takes this lock before it takes numbers, and releases it after its commit is
# visible.
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'run_event'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def end(conn: Connection) -> Gaps:
    """Returns the newest position, and the gaps before it."""
    return Gaps(newest(conn), _writers(conn))


def newest(conn: Connection) -> LogPosition:
    """Returns the newest position that is committed."""
    position: LogPosition = conn.execute(_NEWEST).scalar_one()
    return position


def remaining(conn: Connection, gaps: Gaps) -> Gaps:
    """Returns `gaps` with the writers that are still active."""
    return replace(gaps, writers=gaps.writers & _writers(conn)) if gaps.writers else gaps


def tail(
    conn: Connection,
    after: LogPosition,
    gaps: Gaps | None,
    limit: int,
    needed: NeededOfRuns = NOTHING,
) -> Tail:
    """Returns the next events after `after`, up to which the log is complete. `gaps` are those that the last call
    returned."""
    complete = after
    if gaps is not None:
        gaps = remaining(conn, gaps)
        if not gaps.writers:
            complete, gaps = gaps.until, None
    found: Sequence[EventRow] = fetch_all(
        conn, select(_table).where(_event.seq > after).order_by(_event.seq).limit(limit)
    )
    rows = found if conn.dialect.name == "sqlite" else _unbroken(found, complete)
    if len(rows) < len(found) and gaps is None:
        # The writers are read afterwards: a transaction with a lower number has ended, or is among them.
        gaps = Gaps(found[-1].seq, _writers(conn))
    reached = rows[-1].seq if rows else after
    return Tail(rows, reached, len(found) < limit, gaps, changed_runs(conn, rows, needed))


def _unbroken(rows: Sequence[EventRow], complete: LogPosition) -> Sequence[EventRow]:
    """Returns the rows before the first gap after `complete`."""
    for index, row in enumerate(rows):
        if row.seq > complete + 1:
            return rows[:index]
        complete = max(complete, row.seq)
    return rows


def _writers(conn: Connection) -> frozenset[str]:
    """Returns the transactions that may have numbers of events that are not visible yet. SQLite has one writer."""
    return frozenset() if conn.dialect.name == "sqlite" else frozenset(conn.execute(_WRITERS).scalars())


def page(
    conn: Connection,
    after: LogPosition,
    until: LogPosition,
    scope: Scope,
    limit: int,
    needed: NeededOfRuns = NOTHING,
) -> Page:
    """Returns the next events of `scope` after `after`, up to `until`, without their projects and flows.

    Raises:
        CursorExpiredError: events after `after` have been pruned, or the log has never reached `after`, because it
            belongs to a restored backup or to another database.
    """
    rows = _next_rows(conn, after, until, scope, limit)
    # The low watermark is read afterwards: the transaction that deletes moves it, so missing events are noticed.
    kept_from = conn.execute(_KEPT_FROM).scalar_one()
    if after < kept_from or (after > max(until, kept_from) and after > conn.execute(_NEWEST).scalar_one()):
        raise CursorExpiredError
    is_last = len(rows) < limit
    return Page(rows, max(after, until) if is_last else rows[-1].seq, is_last, changed_runs(conn, rows, needed))


def _next_rows(
    conn: Connection, after: LogPosition, until: LogPosition, scope: Scope, limit: int
) -> Sequence[EventRow]:
    # Until a table is analysed for the first time, PostgreSQL takes the events up to `until` for a few, and would read
    # and sort all of them for each page. So it gets ranges that hold about a page, which grow if few events match. The
    # events of a run or an operation are found by indexes of their own.
    has_index = scope.run_id is not None or scope.operation_id is not None
    width = until - after if has_index else limit * _FIRST_WIDTH
    seq, rows = _event.seq, list[EventRow]()
    while after < until and len(rows) < limit:
        through = min(after + width, until)
        query = _OF_SCOPE.where(seq > after, seq <= through, *_in_scope(scope))
        rows += fetch_all(conn, query.order_by(seq).limit(limit - len(rows)))
        after, width = through, width * _GROWTH
    return rows


def purge(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Deletes the events older than `before` among the next `limit` events; returns how many were examined.

    Status changes are kept, because they are the history of their runs. The low watermark moves to the last examined
    event. Returns 0 while another transaction purges.
    """
    kept_from = uow.conn.execute(_KEPT_FROM.with_for_update(skip_locked=True)).scalar_one_or_none()
    if kept_from is None:
        return 0
    query = select(_event.seq, _event.at).where(_event.seq > kept_from).order_by(_event.seq).limit(limit)
    old = list(takewhile(lambda event: event.at < before, uow.conn.execute(query)))
    if old:
        last = old[-1].seq
        is_deleted = (_event.seq > kept_from, _event.seq <= last, _event.kind != RUN_STATUS)
        uow.conn.execute(delete(_table).where(*is_deleted))
        uow.conn.execute(update(_low_watermark).values(seq=last))
    return len(old)


def ended_before(conn: Connection, run_id: UUID, position: LogPosition) -> bool:
    """Returns True if a run reached its final status by an event at or before `position`."""
    ended = (_event.run_id == run_id, _event.kind == RUN_STATUS, _event.to_status.in_(sorted(FINAL)))
    return conn.execute(select(_event.seq).where(*ended, _event.seq <= position).limit(1)).first() is not None


def _in_scope(scope: Scope) -> Iterator[ColumnElement[bool]]:
    if scope.project_ids is not None:
        yield _event.project_id.in_(scope.project_ids)
    if scope.run_id is not None:
        yield _event.run_id == scope.run_id
    if scope.operation_id is not None:
        yield _event.operation_id == scope.operation_id
    if scope.kinds is not None:
        yield _event.kind.in_(sorted(scope.kinds))


def changed_runs(conn: Connection, rows: Sequence[EventRow], needed: NeededOfRuns) -> Mapping[UUID, RunRow]:
    """Returns the runs that the events `rows` changed, as they are now."""
    if not needed.columns:
        return {}
    changed = {row.run_id for row in rows if row.run_id and row.kind in RUN_KINDS}
    return run_reads.by_ids(conn, sorted(changed), needed.columns, needed.texts) if changed else {}


def last_progress(conn: Connection, operation_id: UUID) -> EventRow | None:
    """Returns the latest event of a bulk operation; None if it has not started."""
    query = select(_table).where(_event.operation_id == operation_id, _event.kind == BULK_PROGRESS)
    row: EventRow | None = fetch_first(conn, query.order_by(_event.seq.desc()).limit(1))
    return row


def status_changes_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[EventRow]]:
    """Returns the status changes of each run, oldest first."""
    query = (
        select(_event.run_id, _event.from_status, _event.to_status, _event.message, _event.at)
        .where(_event.run_id.in_(run_ids), _event.kind == RUN_STATUS)
        .order_by(_event.run_id, _event.seq)
    )
    return group_by(fetch_all(conn, query), "run_id")
