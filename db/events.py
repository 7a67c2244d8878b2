"""The event log: a row for each change, written in the transaction of the change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Select, func, insert, literal, literal_column, select, tuple_

from db import signals
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
"""Kind of event: a run is not archived any more."""
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


def page_after(conn: Connection, place: Place, project_ids: Sequence[UUID] | None, limit: int) -> Sequence[AnyRow]:
    """The next status changes after `place`, of these projects (None: of all), in order; only complete ones."""
    query = select(_table).where(tuple_(_event.xid, _event.seq) > _tuple(place), _event.kind == RUN_STATUS)
    if conn.dialect.name != "sqlite":
        query = query.where(_event.xid < _HORIZON)
    if project_ids is not None:
        query = query.where(_event.project_id.in_(project_ids))
    return conn.execute(query.order_by(_event.xid, _event.seq).limit(limit)).all()


def progress_after(conn: Connection, operation_id: UUID, place: Place | None, limit: int) -> Sequence[AnyRow]:
    """The next events of a bulk operation after `place`, in order; only complete ones. None: the latest one alone."""
    query = select(_table).where(_event.operation_id == operation_id, _event.kind == BULK_PROGRESS)
    if conn.dialect.name != "sqlite":
        query = query.where(_event.xid < _HORIZON)
    # One operation is worked on by one transaction after the other, so their numbers are in its order.
    if place is None:
        return conn.execute(query.order_by(_event.seq.desc()).limit(1)).all()
    return conn.execute(query.where(_event.seq > place.seq).order_by(_event.seq).limit(limit)).all()


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
