"""Reads and writes of alerts. Before a change, the caller calls `db.deliveries.relay.begin_change`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, true, update

from db.alerts import groups
from db.core.unit_of_work import UnitOfWork
from db.models import Alert, Notification
from db.models.types import table
from db.outbound_row_types import AlertRow
from db.sql.listing import Listing
from db.sql.rows import fetch_all, fetch_first, select_columns
from domain.outbound.alert import AlertCondition, Hit

_table = table(Alert)
_alert = _table.c
_notifications = table(Notification)


def _is_of_projects(project_ids: Sequence[UUID] | None, _: datetime) -> ColumnElement[bool]:
    return true() if project_ids is None else _alert.project_id.in_(project_ids)


LISTING = Listing(_table, _is_of_projects)
"""The alerts of projects; None: of all projects."""


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts an alert."""
    uow.conn.execute(insert(_table), dict(row))


def change(uow: UnitOfWork, alert_id: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of an alert."""
    uow.conn.execute(update(_table).where(_alert.id == alert_id).values(dict(values)))


def remove(uow: UnitOfWork, alert_id: UUID) -> bool:
    """Deletes an alert with its notifications. Returns False if there is no such alert."""
    groups.remove(uow, alert_id)
    uow.conn.execute(delete(_notifications).where(_notifications.c.alert_id == alert_id))
    return uow.conn.execute(delete(_table).where(_alert.id == alert_id)).rowcount == 1


def remove_of_project(uow: UnitOfWork, project_id: UUID) -> None:
    """Deletes the alerts of a project with their notifications."""
    for alert_id in uow.conn.execute(select(_alert.id).where(_alert.project_id == project_id)).scalars().all():
        remove(uow, alert_id)


def locked(uow: UnitOfWork, alert_id: UUID) -> AlertRow | None:
    """Returns the alert, locked against other changes; None if it is missing."""
    row: AlertRow | None = fetch_first(uow.conn, select(_table).where(_alert.id == alert_id).with_for_update())
    return row


def count(conn: Connection, project_id: UUID) -> int:
    """Returns the number of alerts of a project."""
    return conn.execute(select(func.count()).where(_alert.project_id == project_id)).scalar_one()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AlertRow]:
    """Returns the alerts `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_alert.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def count_disabled_endpoint(uow: UnitOfWork, project_id: UUID, endpoint_id: UUID, at: datetime) -> None:
    """Counts an endpoint that the service has disabled for the alerts that wait for that. The caller has locked the
    state of the relay."""
    is_waiting = (_alert.project_id == project_id, _alert.condition == AlertCondition.ENDPOINT_DISABLED, _alert.enabled)
    found = uow.conn.execute(select(_alert.id).where(*is_waiting).order_by(_alert.id)).scalars().all()
    condition, group = AlertCondition.ENDPOINT_DISABLED, str(endpoint_id)
    groups.add(uow, [Hit(alert_id, project_id, condition, None, group, None, None, at) for alert_id in found])
