"""Flows and their versions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, true, update

from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowVersion
from db.models.types import table
from db.queue import slots
from db.sql.keyset import Edge, Keyset, Page
from db.sql.rows import AnyRow, select_columns
from domain import clock, ids

_flows = table(Flow)
_flow = _flows.c
_versions = table(FlowVersion)
_version = _versions.c

NEWEST_FIRST = Keyset(_flow.id, None, descending=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilter:
    """Which flows are meant; None says nothing, an empty list matches nothing."""

    project_ids: Sequence[UUID] | None = None
    ids: Sequence[UUID] | None = None
    name_contains: str | None = None
    enabled: bool | None = None
    published: bool | None = None


def create(uow: UnitOfWork, project_id: UUID, name: str) -> UUID:
    """Insert a flow without a version; returns its ID."""
    flow_id = ids.new_uuid()
    now = ids.created_at(flow_id)
    row = {"id": flow_id, "project_id": project_id, "name": name, "enabled": True, "created_at": now, "updated_at": now}
    uow.conn.execute(insert(_flows).values(row))
    return flow_id


def publish(uow: UnitOfWork, flow_id: UUID, project_id: UUID, definition: str, step_count: int) -> UUID:
    """Insert the next version of a flow and make it the published one; returns its ID."""
    version_id = ids.new_uuid()
    now = ids.created_at(version_id)
    # The flow's row first: it is the lock that keeps two publications from taking one number.
    uow.conn.execute(update(_flows).where(_flow.id == flow_id).values(published_version_id=version_id, updated_at=now))
    last = select(func.coalesce(func.max(_version.number), 0)).where(_version.flow_id == flow_id)
    row = {
        "id": version_id,
        "project_id": project_id,
        "flow_id": flow_id,
        "number": uow.conn.execute(last).scalar_one() + 1,
        "step_count": step_count,
        "definition": definition,
        "created_at": now,
    }
    uow.conn.execute(insert(_versions).values(row))
    return version_id


def change(uow: UnitOfWork, flow_id: UUID, values: Mapping[str, Any]) -> None:
    """Set `name` or `enabled` of a flow, or `max_concurrent_runs`."""
    if "max_concurrent_runs" in values:
        project_id = uow.conn.execute(select(_flow.project_id).where(_flow.id == flow_id)).scalar_one()
        slots.lock(uow.conn, [project_id])
        slots.limit_changed(uow, project_id, flow_id, values["max_concurrent_runs"])
    uow.conn.execute(update(_flows).where(_flow.id == flow_id).values(**values, updated_at=clock.now()))


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The flows `keys`."""
    query = select(*select_columns(_flows, {*columns, "project_id"})).where(_flow.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def by_name(conn: Connection, project_id: UUID, name: str) -> UUID | None:
    """The ID of the project's flow called `name`."""
    return conn.execute(select(_flow.id).where(_flow.project_id == project_id, _flow.name == name)).scalar()


def versions_by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The versions `keys`."""
    query = select(*select_columns(_versions, {*columns, "project_id"})).where(_version.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def find(conn: Connection, project_id: UUID, key: UUID | None, name: str) -> AnyRow | None:
    """The project's flow with the ID `key`, or without one that called `name`."""
    which = _flow.id == key if key is not None else _flow.name == name
    columns = (_flow.id, _flow.enabled, _flow.published_version_id)
    return conn.execute(select(*columns).where(_flow.project_id == project_id, which)).first()


def definition(conn: Connection, version_id: UUID) -> str:
    """The definition of a version, JSON text."""
    text: str = conn.execute(select(_version.definition).where(_version.id == version_id)).scalar_one()
    return text


def page(conn: Connection, columns: Collection[str], wanted: FlowFilter, page: Page) -> Sequence[AnyRow]:
    """The flows of one page, newest first; of a backward page too."""
    rows = conn.execute(
        NEWEST_FIRST.slice(select(*select_columns(_flows, columns)).where(_matches(wanted)), page)
    ).all()
    return rows[::-1] if page.backward else rows


def has_more(conn: Connection, wanted: FlowFilter, edge: Edge) -> bool:
    """Whether the filter means a flow beyond `edge`."""
    condition = NEWEST_FIRST.beyond(edge)
    return conn.execute(select(_flow.id).where(_matches(wanted), condition).limit(1)).first() is not None


def count(conn: Connection, wanted: FlowFilter, limit: int | None) -> int:
    """How many flows the filter means; stops counting at `limit`."""
    query = select(_flow.id).where(_matches(wanted)).limit(limit)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _matches(wanted: FlowFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.project_ids is not None:
        conditions.append(_flow.project_id.in_(wanted.project_ids))
    if wanted.ids is not None:
        conditions.append(_flow.id.in_(wanted.ids))
    if wanted.name_contains is not None:
        conditions.append(_flow.name.icontains(wanted.name_contains, autoescape=True))
    if wanted.enabled is not None:
        conditions.append(_flow.enabled.is_(wanted.enabled))
    if wanted.published is not None:
        version = _flow.published_version_id
        conditions.append(version.is_not(None) if wanted.published else version.is_(None))
    return and_(*conditions)
