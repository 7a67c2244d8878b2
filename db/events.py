"""The event log: a row for each change, written in the transaction of the change."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, takewhile
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    Select,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)

from db import runs, signals
from db.models import EventHorizon, RunEvent
from db.models.types import table
from db.rows import AnyRow, grouped
from domain.errors import CursorExpiredError
from domain.states import FINAL

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

TOLD = "events_told"
"""Where a connection keeps what the unit of work under way tells."""
_GATHERED = "events_gathered"
_INSERT = insert(_table).inline()  # nobody asks for the numbers that the rows get
_NOTHING = dict.fromkeys(column.name for column in _event if column.name not in {"seq", "xid"})


class Subject(NamedTuple):
    """The run that an event is about."""

    run_id: UUID
    project_id: UUID
    flow_id: UUID


class StepTry(NamedTuple):
    """The try of a step that an event is about."""

    position: int
    name: str
    number: int


def append(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have `rows` written at the end of the log, when the transaction under way ends: all of it in one statement."""
    conn.info.setdefault(TOLD, []).extend(rows)


def copying(rows: Select[Any]) -> Insert:
    """What `append_from` takes: a statement that writes what a query gives, whose columns are called like the log's."""
    return insert(_table).from_select([column.name for column in rows.selected_columns], rows)


def append_from(conn: Connection, copy: Insert, values: Mapping[str, Any]) -> None:
    """`append`, of the rows that `copy` finds with these parameters when the transaction ends."""
    conn.info.setdefault(TOLD, []).append((copy, values))


def prepend(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """`append`, before what the unit of work told so far: what led to the end of a run stands before that end."""
    conn.info.setdefault(TOLD, [])[:0] = rows


def gather(conn: Connection) -> None:
    """Keep what the unit of work under way told for the end of its transaction, which may be that of others too."""
    if told := conn.info.pop(TOLD, None):
        conn.info.setdefault(_GATHERED, []).extend(told)
        signals.after_commit(conn, signals.EVENTS)


def write(conn: Connection) -> None:
    """Write what the units of work of this transaction told, in its order."""
    for is_copied, told in groupby(conn.info.pop(_GATHERED, ()), key=lambda each: isinstance(each, tuple)):
        if is_copied:
            for copy, values in told:
                conn.execute(copy, values)
        else:
            # Rows of one statement have the same columns.
            conn.execute(_INSERT, [_NOTHING | row for row in told])


def drop(conn: Connection) -> None:
    """Void what an earlier transaction that was rolled back would have written."""
    conn.info.pop(_GATHERED, None)


def step_row(run: Subject, step: StepTry, source: str, target: str, at: datetime) -> dict[str, Any]:
    """The event that a step changed its status."""
    data = f'{{"position":{step.position},"attempt":{step.number}}}'
    change = {"kind": STEP_STATUS, "step_name": step.name, "from_status": source, "to_status": target, "data": data}
    return run._asdict() | change | {"at": at}


def lines_row(run: Subject, first: int, last: int, at: datetime) -> dict[str, Any]:
    """The event that lines were added to a run's log."""
    return run._asdict() | {"kind": LOG_LINES, "data": f'{{"first":{first},"last":{last}}}', "at": at}


class Place(NamedTuple):
    """A place in the log: a transaction, and a row's number in it."""

    xid: int
    seq: int


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
    end: Place
    """How far it reaches: the next one begins behind."""
    is_last: bool
    """Whether it reached the end of the log, as that was when it was read."""
    runs: Mapping[UUID, AnyRow]
    """The runs that its events of `RUN_KINDS` changed, as they stand now, when columns of them were asked for."""


# On SQLite, IDs are most of what it costs to read an event.
_OF_SCOPE = select(*(column for column in _event if column.name not in {"project_id", "flow_id"}))
_LAST = 2**63 - 1
_horizon = table(EventHorizon)
_KEPT_FROM = select(_horizon.c.xid, _horizon.c.seq)
# The oldest transaction under way: every row of an older one is visible, or never will be.
_HORIZON = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)


def place_of(row: AnyRow) -> Place:
    """The place of `row`."""
    return Place(row.xid, row.seq)


def end(conn: Connection) -> Place:
    """The place behind which the events stand that are not complete yet."""
    if conn.dialect.name == "sqlite":
        return Place(0, conn.execute(select(func.coalesce(func.max(_event.seq), 0))).scalar_one())
    return Place(conn.execute(select(_HORIZON)).scalar_one() - 1, _LAST)


def page(
    conn: Connection, after: Place, scope: Scope, limit: int, columns: Collection[str] = (), until: Place | None = None
) -> Page:
    """The next events of `scope` after a place, up to `until`; only complete ones. `columns` are of their runs."""
    return _page(conn, select(_table), after, scope, limit, columns, until)


def _page(
    conn: Connection,
    log: Select[Any],
    after: Place,
    scope: Scope,
    limit: int,
    columns: Collection[str],
    until: Place | None,
) -> Page:
    # First the end, then what stands before it: what is committed in between belongs to the next page.
    last = end(conn) if until is None else until
    if last <= after:
        return Page((), after, is_last=True, runs={})
    # What is of one run or operation is found by that, and sorted: not picked out of the log of everybody.
    is_narrow = scope.run_id is not None or scope.operation_id is not None
    xid = _event.xid + 0 if is_narrow else _event.xid
    place = tuple_(xid, _event.seq)
    query = log.where(place > _tuple(after), place <= _tuple(last), *_in_scope(scope))
    rows = conn.execute(query.order_by(xid, _event.seq).limit(limit)).all()
    is_last = len(rows) < limit
    found = _changed_runs(conn, rows, columns) if columns else {}
    return Page(rows, last if is_last else place_of(rows[-1]), is_last, found)


def kept_page(
    conn: Connection, after: Place, scope: Scope, limit: int, columns: Collection[str] = (), until: Place | None = None
) -> Page:
    """`page`, for somebody who may come from long ago; its rows lack the IDs of projects and flows.

    Raises:
        CursorExpiredError: events behind `after` are kept no longer.
    """
    found = _page(conn, _OF_SCOPE, after, scope, limit, columns, until)
    # Asked afterwards: the horizon moves in the transaction that deletes, so what was missing above is known now.
    if after < Place(*conn.execute(_KEPT_FROM).one()):
        raise CursorExpiredError
    return found


def purge(conn: Connection, before: datetime, limit: int) -> int:
    """Delete what is older than `before` among the next `limit` events; returns how many were looked at.

    Changes of status stay, for they are the history of their runs. The log is complete from then on behind the last
    one looked at. Whoever comes while another purges has nothing to do.
    """
    row = conn.execute(_KEPT_FROM.with_for_update(skip_locked=True)).first()
    if row is None:
        return 0
    kept_from = Place(*row)
    place = tuple_(_event.xid, _event.seq)
    query = select(_event.xid, _event.seq, _event.at).where(place > _tuple(kept_from), place <= _tuple(end(conn)))
    read = conn.execute(query.order_by(_event.xid, _event.seq).limit(limit)).all()
    old = list(takewhile(lambda event: event.at < before, read))
    if old:
        last = place_of(old[-1])
        gone = (place > _tuple(kept_from), place <= _tuple(last), _event.kind != RUN_STATUS)
        conn.execute(delete(_table).where(*gone))
        conn.execute(update(_horizon).values(xid=last.xid, seq=last.seq))
    return len(old)


def ended_before(conn: Connection, run_id: UUID, place: Place) -> bool:
    """Whether a run has its final status since an event at or before `place`."""
    ended = (_event.run_id == run_id, _event.kind == RUN_STATUS, _event.to_status.in_(sorted(FINAL)))
    before = tuple_(_event.xid, _event.seq) <= _tuple(place)
    return conn.execute(select(_event.seq).where(*ended, before).limit(1)).first() is not None


def _in_scope(scope: Scope) -> Iterator[ColumnElement[bool]]:
    if scope.project_ids is not None:
        yield _event.project_id.in_(scope.project_ids)
    if scope.run_id is not None:
        yield _event.run_id == scope.run_id
    if scope.operation_id is not None:
        yield _event.operation_id == scope.operation_id
    if scope.kinds is not None:
        yield _event.kind.in_(sorted(scope.kinds))


def _changed_runs(conn: Connection, rows: Sequence[AnyRow], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    changed = {row.run_id for row in rows if row.kind in RUN_KINDS}
    return runs.by_ids(conn, sorted(changed), columns) if changed else {}


def last_progress(conn: Connection, operation_id: UUID) -> AnyRow | None:
    """The latest event of a bulk operation; None when it has not begun."""
    query = select(_table).where(_event.operation_id == operation_id, _event.kind == BULK_PROGRESS)
    # One transaction after the other works on an operation, so their numbers are in its order.
    return conn.execute(query.order_by(_event.seq.desc()).limit(1)).first()


def _tuple(place: Place) -> Any:
    return tuple_(literal(place.xid, BigInteger), literal(place.seq, BigInteger))


def status_changes_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[AnyRow]]:
    """The status changes of each run, oldest first."""
    query = (
        select(_event.run_id, _event.from_status, _event.to_status, _event.message, _event.at)
        .where(_event.run_id.in_(run_ids), _event.kind == RUN_STATUS)
        .order_by(_event.run_id, _event.seq)
    )
    return grouped(conn.execute(query), "run_id")
