"""The event log: a row for each change, written in the transaction of the change."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
)

from db import runs, signals
from db.models import RunEvent
from db.models.types import table
from db.rows import AnyRow, grouped

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
BULK_PROGRESS = "BULK_PROGRESS"
"""Kind of event: a bulk operation began, went on or ended; `data` has its status and counts."""


def append(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` at the end of the log."""
    conn.execute(insert(_table), rows)
    signals.after_commit(conn, signals.EVENTS)


def append_from(conn: Connection, rows: Select[Any], parameters: Mapping[str, Any] | None = None) -> None:
    """Write the rows that a query gives, whose columns are called like those of the log."""
    conn.execute(insert(_table).from_select([column.name for column in rows.selected_columns], rows), parameters)
    signals.after_commit(conn, signals.EVENTS)


@dataclass(frozen=True, slots=True, order=True)
class Place:
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


_LAST = 2**63 - 1
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
    # First the end, then what stands before it: what is committed in between belongs to the next page.
    last = end(conn) if until is None else until
    if last <= after:
        return Page((), after, is_last=True, runs={})
    place = tuple_(_event.xid, _event.seq)
    query = select(_table).where(place > _tuple(after), place <= _tuple(last), *_in_scope(scope))
    rows = conn.execute(query.order_by(_event.xid, _event.seq).limit(limit)).all()
    is_last = len(rows) < limit
    found = _changed_runs(conn, rows, columns) if columns else {}
    return Page(rows, last if is_last else place_of(rows[-1]), is_last, found)


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
