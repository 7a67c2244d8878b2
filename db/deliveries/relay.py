"""The position up to which the event log was turned into deliveries: read once, by one worker for all.

The position moves in the transaction that inserts the deliveries, so each event is turned into them exactly once. A
change of endpoints locks the row first, so that it is certain which events precede the change.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection, func, insert, or_, select, update

from db.alerts import groups
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import Gaps, LogPosition, NeededOfRuns, Tail
from db.models import Alert, Delivery, Endpoint, RelayState, RunEvent
from db.models.types import table
from db.outbound_row_types import AlertRow, EndpointRow
from db.sql.rows import fetch_all
from domain.outbound.alert import Hit

_table = table(RelayState)
_state = _table.c
_endpoints = table(Endpoint)
_endpoint = _endpoints.c
_alerts = table(Alert)
_alert = _alerts.c
_NEWEST = select(func.coalesce(func.max(table(RunEvent).c.seq), 0))
_INSERT = insert(table(Delivery))


class State(Protocol):
    """A row of `relay_state`."""

    seq: LogPosition
    version: int
    lease_token: UUID | None
    leased_until: datetime | None
    late_until: datetime | None


class LogPage(NamedTuple):
    """The next events for the relay."""

    tail: Tail
    version: int
    """The version of endpoints and alerts, read after the events."""


class LeaseLostError(Exception):
    """Another worker reads the log now: nothing was written."""


def state(conn: Connection) -> State:
    """Returns the state of the relay."""
    row: State = conn.execute(select(_table)).one()
    return row


def begin_change(uow: UnitOfWork) -> LogPosition:
    """Locks the state before an endpoint or an alert is changed; returns the newest log position.

    Without endpoints no worker reads the log. In this case the position moves to its end.
    """
    uow.conn.execute(select(_state.id).with_for_update())
    newest: LogPosition = uow.conn.execute(_NEWEST).scalar_one()
    values: dict[Any, Any] = {_state.version: _state.version + 1}
    if not has_consumers(uow.conn):
        values[_state.seq] = newest
    uow.conn.execute(update(_table).values(values))
    uow.publish_after_commit(pubsub.ENDPOINTS_CHANGED)
    return newest


def has_consumers(conn: Connection) -> bool:
    """True if there is an endpoint or an alert that gets events."""
    return any(
        conn.execute(select(column).where(enabled).limit(1)).first() is not None
        for column, enabled in ((_endpoint.id, _endpoint.enabled), (_alert.id, _alert.enabled))
    )


class Consumers(NamedTuple):
    """What gets events."""

    state: State
    endpoints: Sequence[EndpointRow]
    alerts: Sequence[AlertRow]


def consumers(conn: Connection) -> Consumers:
    """Returns the state, and the endpoints and alerts that get events."""
    found = state(conn)  # first: if endpoints or alerts change in between, the version will not match
    return Consumers(
        found,
        fetch_all(conn, select(_endpoints).where(_endpoint.enabled).order_by(_endpoint.id)),
        fetch_all(conn, select(_alerts).where(_alert.enabled).order_by(_alert.id)),
    )


def acquire(uow: UnitOfWork, token: UUID, now: datetime, until: datetime) -> bool:
    """Takes or renews the lease of the relay until `until`. Returns False while another worker has it."""
    is_free = or_(_state.lease_token.is_(None), _state.lease_token == token, _state.leased_until < now)
    taken = update(_table).where(is_free).values(lease_token=token, leased_until=until)
    return uow.conn.execute(taken).rowcount == 1


def release(uow: UnitOfWork, token: UUID | None) -> None:
    """Ends the lease with this token; with None, the lease of any worker."""
    held = update(_table).values(lease_token=None, leased_until=None)
    uow.conn.execute(held if token is None else held.where(_state.lease_token == token))


def page(conn: Connection, after: LogPosition, gaps: Gaps | None, limit: int, needed: NeededOfRuns) -> LogPage:
    """Returns the next events after `after`, with the runs that they changed."""
    tail = event_log.tail(conn, after, gaps, limit, needed)
    return LogPage(tail, conn.execute(select(_state.version)).scalar_one())


def advance(
    uow: UnitOfWork,
    token: UUID,
    position: LogPosition,
    until: datetime,
    deliveries: Iterable[Mapping[str, Any]],
    hits: Sequence[Hit] = (),
) -> None:
    """Inserts deliveries, counts events for alerts, and moves the position behind the events; renews the lease until
    `until`.

    Raises:
        LeaseLostError: another worker has taken the lease.
    """
    _write_state(uow, token, {"seq": position, "leased_until": until})
    groups.add(uow, hits)
    rows = [dict(row) for row in deliveries]
    if rows:
        uow.conn.execute(_INSERT, rows)
        uow.publish_after_commit(pubsub.DELIVERIES_DUE)


def count_late(uow: UnitOfWork, token: UUID, late_until: datetime, hits: Sequence[Hit]) -> None:
    """Counts late runs for alerts, and notes the instant up to which that was done.

    Raises:
        LeaseLostError: another worker has taken the lease.
    """
    _write_state(uow, token, {"late_until": late_until})
    groups.add(uow, hits)


def _write_state(uow: UnitOfWork, token: UUID, values: Mapping[str, Any]) -> None:
    if uow.conn.execute(update(_table).where(_state.lease_token == token).values(dict(values))).rowcount != 1:
        raise LeaseLostError
