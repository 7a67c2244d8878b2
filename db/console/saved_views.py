"""Reads and writes of saved views."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import SavedView
from db.models.types import table
from db.row_types import SavedViewRow
from db.sql.rows import fetch_all, fetch_first, select_columns

_table = table(SavedView)
_view = _table.c


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts a view.

    Raises:
        ConflictError: its owner, or the project if it is shared, has a view of this name.
    """
    uow.conn.execute(insert(_table), row)


def change(uow: UnitOfWork, view_id: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a view.

    Raises:
        ConflictError: its owner, or the project if it is shared, has another view of this name.
    """
    uow.conn.execute(update(_table).where(_view.id == view_id).values(**values))


def remove(uow: UnitOfWork, view_id: UUID) -> bool:
    """Deletes a view. Returns False if it does not exist."""
    return uow.conn.execute(delete(_table).where(_view.id == view_id)).rowcount > 0


def hand_over(uow: UnitOfWork, old_key_id: UUID, new_key_id: UUID) -> None:
    """Gives the views of an API key to the key that replaces it."""
    uow.conn.execute(update(_table).where(_view.owner_id == old_key_id).values(owner_id=new_key_id))


def count(conn: Connection, project_id: UUID, owner_id: UUID | None) -> int:
    """Returns the number of views of a key or a person in a project, or without `owner_id` of the shared ones."""
    of_owner = _view.owner_id.is_(None) if owner_id is None else _view.owner_id == owner_id
    return conn.execute(select(func.count()).where(_view.project_id == project_id, of_owner)).scalar_one()


def locked(uow: UnitOfWork, view_id: UUID) -> SavedViewRow | None:
    """Returns a view and locks it against other changes; None if it does not exist."""
    row: SavedViewRow | None = fetch_first(uow.conn, select(_table).where(_view.id == view_id).with_for_update())
    return row


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, SavedViewRow]:
    """Returns the views `keys`, with `id`, `project_id` and `owner_id`."""
    query = select(*select_columns(_table, {*columns, "project_id", "owner_id"})).where(_view.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def of_project(conn: Connection, project_id: UUID, owner_id: UUID, columns: Collection[str]) -> Sequence[SavedViewRow]:
    """Returns the shared views of a project and those of a key or a person, in the order of their names."""
    visible = or_(_view.owner_id.is_(None), _view.owner_id == owner_id)
    query = select(*select_columns(_table, columns)).where(_view.project_id == project_id, visible)
    return fetch_all(conn, query.order_by(_view.name, _view.id))
