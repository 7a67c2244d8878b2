"""Projects."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import Project
from db.models.types import table
from db.queue import slots
from db.sql.rows import AnyRow, select_columns
from domain import ids

_table = table(Project)
_project = _table.c

DEFAULT_NAME = "default"


def create(uow: UnitOfWork, name: str) -> UUID:
    """Insert a project; returns its ID."""
    project_id = ids.new_uuid()
    uow.conn.execute(insert(_table).values(id=project_id, name=name, created_at=ids.created_at(project_id)))
    return project_id


def settings(uow: UnitOfWork, project_id: UUID) -> dict[str, Any] | None:
    """The project, all columns; nobody else changes it until the transaction ends."""
    # Before the row, as everywhere: who claims runs may have this lock and wait for nothing more.
    slots.lock(uow.conn, [project_id])
    query = select(_table).where(_project.id == project_id).with_for_update(key_share=True)
    row = uow.conn.execute(query).mappings().first()
    return dict(row) if row is not None else None


def change(uow: UnitOfWork, project_id: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of a project that `settings` has locked."""
    uow.conn.execute(update(_table).where(_project.id == project_id).values(**values))
    if "max_concurrent_runs" in values:
        slots.limit_changed(uow, project_id, None, values["max_concurrent_runs"])


def by_name(conn: Connection, name: str) -> UUID | None:
    """The ID of the project called `name`."""
    return conn.execute(select(_project.id).where(_project.name == name)).scalar()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The projects `keys`."""
    return {row.id: row for row in conn.execute(select(*select_columns(_table, columns)).where(_project.id.in_(keys)))}


def names(conn: Connection) -> Sequence[str]:
    """The names of all projects."""
    return conn.execute(select(_project.name).order_by(_project.id)).scalars().all()
