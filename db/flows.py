"""Flows and their versions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, literal, select, true, union_all, update

from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowVersion
from db.models.types import contains_folded, table
from db.queue import slots
from db.row_json.listing import TextListing
from db.row_types import FlowRow, FlowVersionRow
from db.sql.keyset import Edge, Keyset, Page
from db.sql.rows import fetch_all, group_by, select_columns
from domain import ids
from domain.errors import FlowNotFoundError
from domain.text import fold_column
from domain.time import clock

_flows = table(Flow)
_flow = _flows.c
_versions = table(FlowVersion)
_version = _versions.c

_NEWEST_VERSION_FIRST = Keyset(_version.id, None, descending=True)
_MAX_PROBES = 500
"""Largest number of SELECTs in one UNION: SQLite accepts no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilter:
    """A filter of flows. A field that is None restricts nothing; an empty list matches no flow."""

    project_ids: Sequence[UUID] | None = None
    ids: Sequence[UUID] | None = None
    name_contains: str | None = None
    enabled: bool | None = None
    published: bool | None = None
    held: bool | None = None
    """True for flows whose own starts are held, whether their project is or not."""


class FoundFlow(NamedTuple):
    """The columns of a flow for steps that start runs of it."""

    id: UUID
    enabled: bool
    published_version_id: UUID | None


def create(uow: UnitOfWork, project_id: UUID, name: str) -> UUID:
    """Inserts a flow without a version; returns its ID."""
    flow_id = ids.new_uuid()
    now = ids.created_at(flow_id)
    row = {
        "id": flow_id,
        "project_id": project_id,
        "name": name,
        "name_folded": fold_column(name),
        "enabled": True,
        "created_at": now,
        "updated_at": now,
    }
    uow.conn.execute(insert(_flows).values(row))
    return flow_id


def publish(uow: UnitOfWork, flow_id: UUID, project_id: UUID, definition: str, step_count: int) -> UUID:
    """Inserts the next version of a flow and publishes it; returns the version's ID.

    Raises:
        FlowNotFoundError: the deletion of the flow has begun.
    """
    version_id = ids.new_uuid()
    now = ids.created_at(version_id)
    # The UPDATE comes first: its lock keeps two publications from using the same number.
    is_kept = (_flow.id == flow_id, _flow.deleting_since.is_(None))
    published = update(_flows).where(*is_kept).values(published_version_id=version_id, updated_at=now)
    if uow.conn.execute(published).rowcount == 0:
        raise FlowNotFoundError
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


def keep(uow: UnitOfWork, flow_id: UUID) -> bool:
    """Keeps a flow from being deleted until the end of the transaction. Returns False if its deletion has begun."""
    is_kept = (_flow.id == flow_id, _flow.deleting_since.is_(None))
    return uow.conn.execute(select(_flow.id).where(*is_kept).with_for_update(read=True)).first() is not None


def change(uow: UnitOfWork, flow_id: UUID, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Sets columns of a flow: `name`, `enabled`, `max_concurrent_runs`. Returns the earlier values of all its columns;
    None if the deletion of the flow has begun."""
    if "max_concurrent_runs" in values:
        project_id = uow.conn.execute(select(_flow.project_id).where(_flow.id == flow_id)).scalar()
        if project_id is None:
            return None
        slots.lock(uow.conn, [project_id])
        slots.limit_changed(uow, project_id, flow_id, values["max_concurrent_runs"])
    if "name" in values:
        values = {**values, "name_folded": fold_column(values["name"])}
    locked = select(_flows).where(_flow.id == flow_id).with_for_update(key_share=True)
    before = uow.conn.execute(locked).mappings().first()
    if before is None or before["deleting_since"] is not None:
        return None
    uow.conn.execute(update(_flows).where(_flow.id == flow_id).values(**values, updated_at=clock.now()))
    return dict(before)


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, FlowRow]:
    """Returns the flows `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_flows, {*columns, "project_id"})).where(_flow.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def by_name(conn: Connection, project_id: UUID, name: str) -> UUID | None:
    """Returns the ID of the project's flow with this name, or None."""
    return conn.execute(select(_flow.id).where(_flow.project_id == project_id, _flow.name == name)).scalar()


def versions_by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, FlowVersionRow]:
    """Returns the versions `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_versions, {*columns, "project_id"})).where(_version.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def version_pages(
    conn: Connection, flow_ids: Sequence[UUID], columns: Collection[str], page: Page
) -> Mapping[UUID, list[FlowVersionRow]]:
    """Returns for each flow the page of its versions, newest first, in one statement."""
    order = _NEWEST_VERSION_FIRST.order(backward=page.backward)
    rank = func.row_number().over(partition_by=_version.flow_id, order_by=order)
    ranked = select(*select_columns(_versions, {*columns, "flow_id"}), rank.label("rank"))
    of_flows = ranked.where(_version.flow_id.in_(flow_ids), *_NEWEST_VERSION_FIRST.within(page)).subquery()
    direction = of_flows.c.rank.desc() if page.backward else of_flows.c.rank
    query = select(of_flows).where(of_flows.c.rank <= page.limit).order_by(direction)
    return group_by(fetch_all(conn, query), "flow_id")


def flows_with_more_versions(conn: Connection, edges: Sequence[tuple[UUID, Edge]]) -> Mapping[tuple[UUID, Edge], bool]:
    """Returns the flows and edges for which a version of the flow follows the edge."""
    probes = [
        select(literal(number)).where(exists().where(_version.flow_id == flow_id, _NEWEST_VERSION_FIRST.beyond(edge)))
        for number, (flow_id, edge) in enumerate(edges)
    ]
    numbers: list[int] = []
    for start in range(0, len(probes), _MAX_PROBES):
        numbers += conn.execute(union_all(*probes[start : start + _MAX_PROBES])).scalars()
    return dict.fromkeys((edges[number] for number in numbers), True)


def version_counts(conn: Connection, flow_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of versions of each flow; flows without versions are omitted."""
    query = select(_version.flow_id, func.count()).where(_version.flow_id.in_(flow_ids)).group_by(_version.flow_id)
    return dict(conn.execute(query).all())


def find(conn: Connection, project_id: UUID, key: UUID | None, name: str) -> FoundFlow | None:
    """Returns the project's flow with the ID `key`, or, if that is None, with the name `name`."""
    condition = _flow.id == key if key is not None else _flow.name == name
    columns = (_flow.id, _flow.enabled, _flow.published_version_id)
    row = conn.execute(select(*columns).where(_flow.project_id == project_id, condition)).first()
    return FoundFlow(*row) if row is not None else None


def definition(conn: Connection, version_id: UUID) -> str:
    """Returns the definition of a version, as JSON text."""
    text: str = conn.execute(select(_version.definition).where(_version.id == version_id)).scalar_one()
    return text


def _matches(where: FlowFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if where.project_ids is not None:
        conditions.append(_flow.project_id.in_(where.project_ids))
    if where.ids is not None:
        conditions.append(_flow.id.in_(where.ids))
    if where.name_contains is not None:
        conditions.append(contains_folded(_flow.name, _flow.name_folded, where.name_contains))
    if where.enabled is not None:
        conditions.append(_flow.enabled.is_(where.enabled))
    if where.published is not None:
        version = _flow.published_version_id
        conditions.append(version.is_not(None) if where.published else version.is_(None))
    if where.held is not None:
        conditions.append(_flow.hold_id.is_not(None) if where.held else _flow.hold_id.is_(None))
    return and_(*conditions)


LISTING = TextListing(_flows, _matches)
"""The flows of all projects."""
