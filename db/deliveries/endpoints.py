"""Reads and writes of endpoints. Before a change, the caller calls `relay.begin_change`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, true, update

from db import audit_events
from db.alerts import alerts
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.deliveries import relay
from db.models import Delivery, Endpoint
from db.models.types import table
from db.outbound_row_types import EndpointRow
from db.sql.listing import Listing
from db.sql.rows import fetch_all, fetch_first, select_columns
from domain.actor import BY_SYSTEM, SYSTEM
from domain.audit import AuditAction
from domain.ids import IdKind
from domain.outbound.delivery import MAX_AGE, DeliveryStatus, DisabledReason

_table = table(Endpoint)
_endpoint = _table.c
_deliveries = table(Delivery)
_delivery = _deliveries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFilter:
    """A filter of endpoints. A field that is None restricts nothing; an empty list matches no endpoint."""

    project_ids: Sequence[UUID] | None = None
    enabled: bool | None = None


def _matches(where: EndpointFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if where.project_ids is not None:
        conditions.append(_endpoint.project_id.in_(where.project_ids))
    if where.enabled is not None:
        conditions.append(_endpoint.enabled.is_(where.enabled))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The endpoints of all projects."""


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts an endpoint."""
    uow.conn.execute(insert(_table), dict(row))


def change(uow: UnitOfWork, endpoint_id: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of an endpoint."""
    uow.conn.execute(update(_table).where(_endpoint.id == endpoint_id).values(dict(values)))
    uow.publish_after_commit(pubsub.DELIVERIES_DUE)


def remove(uow: UnitOfWork, endpoint_id: UUID, now: datetime) -> bool:
    """Deletes an endpoint; what was not delivered is cancelled. Returns False if there is no such endpoint."""
    pending = (_delivery.endpoint_id == endpoint_id, _delivery.status == DeliveryStatus.PENDING)
    ended = {"status": DeliveryStatus.CANCELLED, "due_at": None, "lease_token": None, "ended_at": now}
    uow.conn.execute(update(_deliveries).where(*pending).values(ended))
    return uow.conn.execute(delete(_table).where(_endpoint.id == endpoint_id)).rowcount == 1


def locked(uow: UnitOfWork, endpoint_id: UUID) -> EndpointRow | None:
    """Returns the endpoint, locked against other changes; None if it is missing."""
    row: EndpointRow | None = fetch_first(uow.conn, select(_table).where(_endpoint.id == endpoint_id).with_for_update())
    return row


def count(conn: Connection, project_id: UUID) -> int:
    """Returns the number of endpoints of a project."""
    return conn.execute(select(func.count()).where(_endpoint.project_id == project_id)).scalar_one()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, EndpointRow]:
    """Returns the endpoints `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_endpoint.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def of_callbacks(conn: Connection, project_id: UUID) -> UUID | None:
    """Returns the project's endpoint of callbacks; None if there is none."""
    query = select(_endpoint.id).where(_endpoint.project_id == project_id, _endpoint.url.is_(None))
    return conn.execute(query).scalar()


def note_success(uow: UnitOfWork, endpoint_ids: Collection[UUID]) -> None:
    """Notes that endpoints have taken a delivery."""
    failing = (_endpoint.id.in_(sorted(endpoint_ids)), _endpoint.failing_since.is_not(None))
    uow.conn.execute(update(_table).where(*failing).values(failing_since=None))


def note_failure(uow: UnitOfWork, endpoint_ids: Collection[UUID], at: datetime) -> None:
    """Notes that an attempt at endpoints has failed."""
    is_first = (_endpoint.id.in_(sorted(endpoint_ids)), _endpoint.failing_since.is_(None))
    uow.conn.execute(update(_table).where(*is_first).values(failing_since=at))


def switch_off(uow: UnitOfWork, endpoint_id: UUID, reason: DisabledReason, now: datetime) -> bool:
    """Disables an endpoint on behalf of the service; returns False if it was disabled before.

    One that fails is left alone if it has taken a delivery since. Deliveries that are pending wait until a client
    enables it.
    """
    relay.begin_change(uow)
    is_due = [_endpoint.failing_since <= now - MAX_AGE] if reason is DisabledReason.FAILING else []
    off = {
        "enabled": False,
        "disabled_reason": reason,
        "disabled_at": now,
        "changed_at": now,
        "changed_by": SYSTEM.text,
    }
    changed = uow.conn.execute(
        update(_table)
        .where(_endpoint.id == endpoint_id, _endpoint.enabled, *is_due)
        .values(off)
        .returning(_endpoint.project_id, _endpoint.name)
    ).first()
    if changed is None:
        return False
    alerts.count_disabled_endpoint(uow, changed.project_id, endpoint_id, now)
    details = {"name": changed.name, "changes": {"enabled": {"from": True, "to": False}}, "disabledReason": reason}
    audit_events.record(
        uow, BY_SYSTEM, AuditAction.UPDATE_ENDPOINT, IdKind.ENDPOINT, endpoint_id, changed.project_id, details=details
    )
    return True
