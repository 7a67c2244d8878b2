"""Saved views: names for filters and orders of runs, shared in a project, or of one API key or person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events, projects
from db.console import saved_views
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.row_types import SavedViewRow
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import (
    InvalidArgumentError,
    ProjectNotFoundError,
    SavedViewNameTakenError,
    SavedViewNotFoundError,
)
from domain.ids import IdKind
from domain.runs.run_filter import RunOrder
from domain.time import clock
from resolvers import authorize, values
from resolvers.context import Context, Viewer

MAX_VIEWS = 100
"""Shared views of a project, and views of one key or person in it: more cannot be chosen from in a menu."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewChange:
    """New values of a view. What is None stays."""

    name: str | None
    filter_text: str | None
    """The filter, as JSON text of the schema's `FlowRunFilter`."""
    order: RunOrder | None
    shared: bool | None


async def get(context: Context, view_id: str, columns: frozenset[str]) -> SavedViewRow | None:
    """Returns the view `view_id`; None if the viewer sees no such view.

    Raises:
        InvalidIdError: `view_id` is not the ID of a view.
    """
    row = await context.loaders.load(saved_views.by_ids, ids.decode(IdKind.SAVED_VIEW, view_id), columns)
    return row if _can_see(context.viewer, row) else None


async def of_project(context: Context, project_id: str | None, columns: frozenset[str]) -> Sequence[SavedViewRow]:
    """Returns the views of a project, by default the viewer's, that the viewer sees, in the order of their names.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
        InvalidArgumentError: an operator key names no project.
    """
    viewer = context.viewer
    key = ids.decode(IdKind.PROJECT, project_id) if project_id is not None else viewer.project_id
    if key is None:
        raise InvalidArgumentError("An operator key sees every project. Name one with `projectId`.")
    if viewer.project_id not in (None, key):
        return []
    return await context.database.read(saved_views.of_project, key, viewer.owner, columns)


async def create(
    context: Context, project_id: str | None, name: str, filter_text: str, order: RunOrder, *, shared: bool
) -> UUID:
    """Creates a view; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, SavedViewNameTakenError.
    """
    owner = authorize.decode_target_project(context.viewer, project_id)
    if owner is None:
        raise ProjectNotFoundError
    view_id = ids.new_uuid()
    now, actor = ids.created_at(view_id), context.viewer.actor.text
    row = {
        "id": view_id,
        "project_id": owner,
        "owner_id": None if shared else context.viewer.owner,
        "name": values.check_text("name", name),
        "filter": filter_text,
        **_order(order),
        "created_at": now,
        "updated_at": now,
        "created_by": actor,
        "updated_by": actor,
    }
    try:
        await context.database.write(_create, context.origin, row)
    except ConflictError:
        raise SavedViewNameTakenError from None
    return view_id


def _create(uow: UnitOfWork, origin: Origin, row: Mapping[str, Any]) -> None:
    if not projects.keep(uow, row["project_id"]):
        raise ProjectNotFoundError
    _check_number(uow, row["project_id"], row["owner_id"])
    saved_views.create(uow, row)
    details = {"name": row["name"], "shared": row["owner_id"] is None}
    _record(uow, origin, AuditAction.CREATE_SAVED_VIEW, row["id"], row["project_id"], details)


async def change(context: Context, view_id: str, requested: ViewChange) -> UUID:
    """Changes a view; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, SavedViewNotFoundError, SavedViewNameTakenError.
    """
    key = ids.decode(IdKind.SAVED_VIEW, view_id)
    after: dict[str, Any] = {"updated_at": clock.now(), "updated_by": context.viewer.actor.text}
    if requested.name is not None:
        after["name"] = values.check_text("name", requested.name)
    if requested.filter_text is not None:
        after["filter"] = requested.filter_text
    if requested.order is not None:
        after |= _order(requested.order)
    if requested.shared is not None:
        after["owner_id"] = None if requested.shared else context.viewer.owner
    try:
        await context.database.write(_change, context.origin, context.viewer, key, after)
    except ConflictError:
        raise SavedViewNameTakenError from None
    return key


def _change(uow: UnitOfWork, origin: Origin, viewer: Viewer, key: UUID, after: Mapping[str, Any]) -> None:
    before = _locked(uow, viewer, key)
    if "owner_id" in after and after["owner_id"] != before.owner_id:
        _check_number(uow, before.project_id, after["owner_id"])
    saved_views.change(uow, key, after)
    # A filter can name customers, and the audit log outlives it.
    details = audit_events.changes(
        {"name": before.name, "filter": before.filter, "shared": before.owner_id is None, **_order_of(before)},
        _audited(after),
        withheld=("filter",),
    )
    _record(uow, origin, AuditAction.UPDATE_SAVED_VIEW, key, before.project_id, {"name": before.name, **details})


async def remove(context: Context, view_id: str) -> None:
    """Deletes a view.

    Raises:
        InvalidIdError, SavedViewNotFoundError.
    """
    key = ids.decode(IdKind.SAVED_VIEW, view_id)
    await context.database.write(_remove, context.origin, context.viewer, key)


def _remove(uow: UnitOfWork, origin: Origin, viewer: Viewer, key: UUID) -> None:
    view = _locked(uow, viewer, key)
    saved_views.remove(uow, key)
    details = {"name": view.name, "shared": view.owner_id is None}
    _record(uow, origin, AuditAction.DELETE_SAVED_VIEW, key, view.project_id, details)


def _can_see(viewer: Viewer, row: SavedViewRow | None) -> bool:
    return row is not None and authorize.can_see(viewer, row) and row.owner_id in (None, viewer.owner)


def _locked(uow: UnitOfWork, viewer: Viewer, key: UUID) -> SavedViewRow:
    row = saved_views.locked(uow, key)
    if row is None or not _can_see(viewer, row):
        raise SavedViewNotFoundError
    return row


def _check_number(uow: UnitOfWork, project_id: UUID, owner_id: UUID | None) -> None:
    if saved_views.count(uow.conn, project_id, owner_id) >= MAX_VIEWS:
        of_whom = "The project" if owner_id is None else "The owner"
        raise InvalidArgumentError(f"{of_whom} already has {MAX_VIEWS} views, the maximum. Delete one first.")


def _order(order: RunOrder) -> dict[str, Any]:
    return {"order_field": order.field, "descending": order.descending}


def _order_of(row: SavedViewRow) -> dict[str, Any]:
    return {"order_field": row.order_field, "descending": row.descending}


def _audited(after: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the new values without the times and actors, which the event has itself."""
    shown = {name: value for name, value in after.items() if name in ("name", "filter", "order_field", "descending")}
    return {**shown, "shared": after["owner_id"] is None} if "owner_id" in after else shown


def _record(
    uow: UnitOfWork, origin: Origin, action: AuditAction, view_id: UUID, project_id: UUID, details: Mapping[str, Any]
) -> None:
    audit_events.record(uow, origin, action, IdKind.SAVED_VIEW, view_id, project_id, details=details)
