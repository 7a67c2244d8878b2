"""Reads and writes of projects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from db import projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import ProjectRow
from domain import clock, ids
from domain.errors import ProjectNotFoundError
from domain.ids import IdKind
from domain.quota import QuotaPeriod
from resolvers import authorize, limits
from resolvers.context import Context


async def get(context: Context, project_id: str, columns: frozenset[str]) -> ProjectRow | None:
    """The project `project_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
    """
    key = ids.decode(IdKind.PROJECT, project_id)
    if context.viewer.project_id not in (None, key):
        return None
    return await context.loaders.load(projects.by_ids, key, columns)


async def quota_resets_at(database: Database, key: UUID) -> datetime | None:
    """When the next period of the project's quota begins; None when it has no quota."""
    row = (await database.read(projects.by_ids, [key], frozenset({"quota_period"})))[key]
    return QuotaPeriod(row.quota_period).ends_at(clock.now()) if row.quota_period is not None else None


async def update(context: Context, project_id: str | None, values: Mapping[str, Any]) -> UUID:
    """Set columns of a project, by default of the viewer's own; returns its key.

    Raises:
        InvalidIdError, ProjectRequiredError, ProjectNotFoundError, SettingsInvalidError.
    """
    requested_id = ids.decode(IdKind.PROJECT, project_id) if project_id is not None else None
    key = authorize.target_project(context.viewer, requested_id)

    def work(uow: UnitOfWork) -> UUID:
        before = projects.settings(uow, key) if key is not None else None
        if key is None or before is None:
            raise ProjectNotFoundError
        limits.check_project({**before, **values})
        if values:
            projects.change(uow, key, values)
        return key

    return await context.database.write(work)
