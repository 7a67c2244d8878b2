"""Reads and writes of projects."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, insert, select, true, update

from db.core.unit_of_work import UnitOfWork
from db.models import Project
from db.models.types import table
from db.queue import slots
from db.row_types import ProjectRow
from db.sql.listing import Listing
from db.sql.rows import fetch_all, select_columns
from domain import ids

_table = table(Project)
_project = _table.c


def _is_one_of(keys: Sequence[UUID] | None, _: datetime) -> ColumnElement[bool]:
    return true() if keys is None else _project.id.in_(keys)


LISTING = Listing(_table, _is_one_of)
"""The projects with some IDs, or all of them."""

FEW = 20
"""Number of projects up to which each is searched by a part of its own."""
DEFAULT_NAME = "default"
"""The name of the project that the first start of the service creates."""


def create(uow: UnitOfWork, name: str) -> UUID:
    """Inserts a project; returns its ID."""
    project_id = ids.new_uuid()
    uow.conn.execute(insert(_table).values(id=project_id, name=name, created_at=ids.created_at(project_id)))
    return project_id


def few(conn: Connection, keys: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Returns `keys`, by default the projects there are; None if they are more than `FEW`."""
    if keys is None:
        keys = conn.execute(select(_project.id).limit(FEW + 1)).scalars().all()
    return keys if len(keys) <= FEW else None


def keep(uow: UnitOfWork, project_id: UUID) -> bool:
    """Keeps a project from being deleted until the end of the transaction.

    Returns False if its deletion has begun, or if there is no such project.
    """
    is_kept = (_project.id == project_id, _project.deleting_since.is_(None))
    return uow.conn.execute(select(_project.id).where(*is_kept).with_for_update(read=True)).first() is not None


def settings(uow: UnitOfWork, project_id: UUID) -> dict[str, Any] | None:
    """Returns all columns of a project and locks it against other changes; None if it is not kept, see `keep`."""
    # In every transaction the lock on slots comes before the row: a claim that holds it waits for no other lock.
    slots.lock(uow.conn, [project_id])
    query = select(_table).where(_project.id == project_id).with_for_update(key_share=True)
    row = uow.conn.execute(query).mappings().first()
    return dict(row) if row is not None and row["deleting_since"] is None else None


def change(uow: UnitOfWork, project_id: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a project that `settings` has locked."""
    uow.conn.execute(update(_table).where(_project.id == project_id).values(**values))
    if "max_concurrent_runs" in values:
        slots.limit_changed(uow, project_id, None, values["max_concurrent_runs"])


def by_name(conn: Connection, name: str) -> UUID | None:
    """Returns the ID of the project with this name, or None."""
    return conn.execute(select(_project.id).where(_project.name == name)).scalar()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, ProjectRow]:
    """Returns the projects `keys`, with `id`."""
    query = select(*select_columns(_table, columns)).where(_project.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def names(conn: Connection) -> Sequence[str]:
    """Returns the names of all projects, oldest first."""
    return conn.execute(select(_project.name).order_by(_project.id)).scalars().all()
