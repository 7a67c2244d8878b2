"""Reads and changes projects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from db import audit_events, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.removal import expiry
from db.row_types import ProjectRow
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import ProjectNotFoundError
from domain.ids import IdKind
from domain.quota import QuotaPeriod
from domain.time import clock
from resolvers import authorize, limits
from resolvers.context import Context
from resolvers.lists import RowList

_ORDERING = 67
"""The number by which a cursor names the order of projects."""


async def get(context: Context, project_id: str, columns: frozenset[str]) -> ProjectRow | None:
    """Returns the project `project_id`; None if the viewer can see no such project.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
    """
    key = ids.decode(IdKind.PROJECT, project_id)
    if context.viewer.project_id not in (None, key):
        return None
    return await context.loaders.load(projects.by_ids, key, columns)


def list_of(context: Context) -> RowList:
    """Returns the projects that the viewer can see, newest first."""
    visible = authorize.visible_projects(context.viewer, None)
    return RowList(context.database, projects.LISTING, visible, _ORDERING)


async def quota_resets_at(database: Database, key: UUID) -> datetime | None:
    """Returns the start of the next period of the project's quota; None if the project has no quota."""
    row = (await database.read(projects.by_ids, [key], frozenset({"quota_period"})))[key]
    return QuotaPeriod(row.quota_period).ends_at(clock.now()) if row.quota_period is not None else None


async def update(context: Context, project_id: str | None, columns: Mapping[str, Any]) -> UUID:
    """Sets columns of a project, by default the viewer's own; returns its ID.

    Raises:
        InvalidIdError, ProjectRequiredError, ProjectNotFoundError, SettingsInvalidError.
    """
    target = authorize.decode_target_project(context.viewer, project_id)
    return await context.database.write(_update, context.origin, target, columns)


def _update(uow: UnitOfWork, origin: Origin, project_id: UUID | None, columns: Mapping[str, Any]) -> UUID:
    settings = projects.settings(uow, project_id) if project_id is not None else None
    if project_id is None or settings is None:
        raise ProjectNotFoundError
    limits.check_project({**settings, **columns})
    if columns:
        projects.change(uow, project_id, columns)
    details = audit_events.changes(_shown(settings), _shown(columns))
    audit_events.record(
        uow, origin, AuditAction.UPDATE_PROJECT, IdKind.PROJECT, project_id, project_id, details=details
    )
    return project_id


def _shown(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns columns as the audit log shows them: without that of the service, and with JSON text as an object."""
    shown = {name: value for name, value in columns.items() if name != "archived_through"}
    if "run_retention" in shown:
        retention = expiry.parse(shown["run_retention"])
        shown["run_retention"] = {status.value: days for status, days in retention.items()}
    return shown
