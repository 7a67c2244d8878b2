"""Projects."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, insert, select

from db.models import Project
from db.models.types import table
from db.rows import AnyRow, pick
from domain import ids

_table = table(Project)
_project = _table.c

DEFAULT_NAME = "default"


def create(conn: Connection, name: str) -> UUID:
    """Insert a project; returns its ID."""
    project_id = ids.new_uuid()
    conn.execute(insert(_table).values(id=project_id, name=name, created_at=ids.created_at(project_id)))
    return project_id


def by_name(conn: Connection, name: str) -> UUID | None:
    """The ID of the project called `name`."""
    return conn.execute(select(_project.id).where(_project.name == name)).scalar()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The projects `keys`."""
    return {row.id: row for row in conn.execute(select(*pick(_table, columns)).where(_project.id.in_(keys)))}


def names(conn: Connection) -> Sequence[str]:
    """The names of all projects."""
    return conn.execute(select(_project.name).order_by(_project.id)).scalars().all()
