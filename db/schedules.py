"""Reads and writes of schedules, including the guarded change that lets one of many workers start each run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, true, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Schedule
from db.models.types import table
from db.row_types import ScheduleRow
from db.sql.listing import Listing
from db.sql.rows import fetch_all, fetch_first, group_by, select_columns
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import LIVE

_table = table(Schedule)
_schedule = _table.c
_flows = table(Flow)
_flow = _flows.c
_run = table(FlowRun).c


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """A filter of schedules. A field that is None restricts nothing; an empty list matches no schedule."""

    project_ids: Sequence[UUID] | None = None
    flow_ids: Sequence[UUID] | None = None
    enabled: bool | None = None


def _matches(where: ScheduleFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if where.project_ids is not None:
        conditions.append(_schedule.project_id.in_(where.project_ids))
    if where.flow_ids is not None:
        conditions.append(_schedule.flow_id.in_(where.flow_ids))
    if where.enabled is not None:
        conditions.append(_schedule.enabled.is_(where.enabled))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The schedules of all flows."""


class DueSchedule(ScheduleRow, Protocol):
    """A schedule that is due, with the state of its flow."""

    flow_enabled: bool
    published_version_id: UUID | None


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Inserts a schedule."""
    uow.conn.execute(insert(_table), dict(values))
    uow.publish_after_commit(pubsub.SCHEDULES_CHANGED)


def locked(uow: UnitOfWork, schedule_id: UUID) -> ScheduleRow | None:
    """Returns the schedule, locked against its next fire and other changes; None if it does not exist."""
    row: ScheduleRow | None = fetch_first(uow.conn, select(_table).where(_schedule.id == schedule_id).with_for_update())
    return row


def change(uow: UnitOfWork, schedule_id: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a schedule."""
    uow.conn.execute(
        update(_table).where(_schedule.id == schedule_id).values({_schedule[k]: v for k, v in values.items()})
    )
    uow.publish_after_commit(pubsub.SCHEDULES_CHANGED)


def remove(uow: UnitOfWork, schedule_id: UUID) -> bool:
    """Deletes a schedule. Its runs remain. Returns False if the schedule does not exist."""
    return uow.conn.execute(delete(_table).where(_schedule.id == schedule_id)).rowcount == 1


def count(conn: Connection, flow_id: UUID) -> int:
    """Returns the number of schedules of a flow."""
    return conn.execute(select(func.count()).where(_schedule.flow_id == flow_id)).scalar_one()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, ScheduleRow]:
    """Returns the schedules `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_schedule.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def by_flows(conn: Connection, flow_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[ScheduleRow]]:
    """Returns the schedules of each flow, oldest first, with `id` and `flow_id`."""
    query = (
        select(*select_columns(_table, {*columns, "flow_id"}))
        .where(_schedule.flow_id.in_(flow_ids))
        .order_by(_schedule.id)
    )
    return group_by(fetch_all(conn, query), "flow_id")


def live_runs(conn: Connection, schedule: ScheduleRow, statuses: Collection[RunStatus] = LIVE) -> Sequence[UUID]:
    """Returns the live runs of a schedule, including retries, that have one of these statuses, oldest first."""
    source = ids.encode(IdKind.SCHEDULE, schedule.id)
    # With `finished_at` the index of live runs is used: a schedule may have started millions of runs that have ended.
    found = (_run.source == source, _run.finished_at.is_(None), _run.status.in_(sorted(statuses)))
    return conn.execute(select(_run.id).where(*found).order_by(_run.id)).scalars().all()


def due(conn: Connection, now: datetime, limit: int) -> Sequence[DueSchedule]:
    """Returns the schedules that are due at `now`, the longest due first."""
    columns = (*_table.c, _flow.enabled.label("flow_enabled"), _flow.published_version_id)
    query = select(*columns).join_from(_table, _flows, _schedule.flow_id == _flow.id)
    query = query.where(_schedule.next_fire_at <= now).order_by(_schedule.next_fire_at, _schedule.id).limit(limit)
    return fetch_all(conn, query)


def next_fire(conn: Connection) -> datetime | None:
    """Returns the next fire time of all schedules; None if none fires."""
    query = select(_schedule.next_fire_at).where(_schedule.next_fire_at.is_not(None))
    return conn.execute(query.order_by(_schedule.next_fire_at).limit(1)).scalar()


def advance(uow: UnitOfWork, seen: DueSchedule, values: Mapping[str, Any]) -> bool:
    """Moves a schedule past the fire time of `seen`, a row of `due`.

    Returns False if another worker moved or changed the schedule since. The worker that moves it starts the runs in the
    same transaction, so that no fire is started twice and none is lost.
    """
    unchanged = (
        _schedule.id == seen.id,
        _schedule.next_fire_at == seen.next_fire_at,
        _schedule.updated_at == seen.updated_at,
    )
    return uow.conn.execute(update(_table).where(*unchanged).values(**values)).rowcount == 1
