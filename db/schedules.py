"""Schedules: when each fires next, and who of many workers sees to it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, Schedule
from db.models.types import table
from db.sql.rows import AnyRow, group_by, select_columns

_table = table(Schedule)
_schedule = _table.c
_flows = table(Flow)
_flow = _flows.c


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Insert a schedule."""
    uow.conn.execute(insert(_table), dict(values))
    uow.publish_after_commit(pubsub.SCHEDULES_CHANGED)


def locked(uow: UnitOfWork, schedule_id: UUID) -> AnyRow | None:
    """The schedule, locked against its next fire and other changes."""
    return uow.conn.execute(select(_table).where(_schedule.id == schedule_id).with_for_update()).first()


def change(uow: UnitOfWork, schedule_id: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of a schedule."""
    uow.conn.execute(
        update(_table).where(_schedule.id == schedule_id).values({_schedule[k]: v for k, v in values.items()})
    )
    uow.publish_after_commit(pubsub.SCHEDULES_CHANGED)


def remove(uow: UnitOfWork, schedule_id: UUID) -> bool:
    """Delete a schedule, of which the runs stay; False when there is no such schedule."""
    return uow.conn.execute(delete(_table).where(_schedule.id == schedule_id)).rowcount == 1


def count(conn: Connection, flow_id: UUID) -> int:
    """How many schedules a flow has."""
    return conn.execute(select(func.count()).where(_schedule.flow_id == flow_id)).scalar_one()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The schedules `keys`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_schedule.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def by_flows(conn: Connection, flow_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[AnyRow]]:
    """The schedules of each flow, oldest first."""
    query = (
        select(*select_columns(_table, {*columns, "flow_id"}))
        .where(_schedule.flow_id.in_(flow_ids))
        .order_by(_schedule.id)
    )
    return group_by(conn.execute(query), "flow_id")


def due(conn: Connection, now: datetime, limit: int) -> Sequence[AnyRow]:
    """The schedules that are to fire by `now`, the longest due first, each with its flow's `flow_enabled` and
    `published_version_id`."""
    columns = (*_table.c, _flow.enabled.label("flow_enabled"), _flow.published_version_id)
    query = select(*columns).join_from(_table, _flows, _schedule.flow_id == _flow.id)
    return conn.execute(
        query.where(_schedule.next_fire_at <= now).order_by(_schedule.next_fire_at, _schedule.id).limit(limit)
    ).all()


def next_fire(conn: Connection) -> datetime | None:
    """When the next schedule fires."""
    query = select(_schedule.next_fire_at).where(_schedule.next_fire_at.is_not(None))
    return conn.execute(query.order_by(_schedule.next_fire_at).limit(1)).scalar()


def advance(uow: UnitOfWork, seen: AnyRow, values: Mapping[str, Any]) -> bool:
    """Move a schedule past the fire time that `seen`, a row of `due`, has; False when somebody else did, or changed it.

    Whoever moves it starts the runs, in the same transaction: one fire is never started twice, nor lost.
    """
    unchanged = (
        _schedule.id == seen.id,
        _schedule.next_fire_at == seen.next_fire_at,
        _schedule.updated_at == seen.updated_at,
    )
    return uow.conn.execute(update(_table).where(*unchanged).values(**values)).rowcount == 1
