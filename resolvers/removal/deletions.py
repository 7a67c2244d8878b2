"""Deletes flows and projects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events
from db import projects as db_projects
from db.core.unit_of_work import UnitOfWork
from db.removal import teardown
from db.row_types import FlowRow
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import ProjectNotFoundError, RunsNotFinalError
from domain.ids import IdKind
from domain.text import client_name
from resolvers import authorize, flows
from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that was begun, or would be."""

    key: UUID
    """The flow or project."""
    contents: Mapping[str, int]
    """The number of the objects that are deleted with it, by kind."""


async def delete_flow(context: Context, flow_id: str, *, dry_run: bool) -> Deletion:
    """Begins to delete a flow, unless it is a dry run. Changes nothing if that was begun before.

    Raises:
        InvalidIdError, FlowNotFoundError, RunsNotFinalError.
    """
    flow = await flows.get_existing(context, flow_id, frozenset({"name"}))
    contents = await context.database.read(teardown.contents_of_flow, flow.id)
    if not dry_run:
        await context.database.write(_delete_flow, context.origin, flow, contents)
    return Deletion(flow.id, contents)


async def delete_project(context: Context, project_id: str, *, dry_run: bool) -> Deletion:
    """Begins to delete a project, unless it is a dry run. Changes nothing if that was begun before.

    Raises:
        InvalidIdError, ProjectNotFoundError, RunsNotFinalError.
    """
    key = authorize.decode_target_project(context.viewer, project_id)
    row = await context.loaders.load(db_projects.by_ids, key, frozenset({"name"})) if key is not None else None
    if row is None:
        raise ProjectNotFoundError
    contents = await context.database.read(teardown.contents_of_project, row.id)
    if not dry_run:
        await context.database.write(_delete_project, context.origin, row.id, row.name, contents)
    return Deletion(row.id, contents)


def _delete_flow(uow: UnitOfWork, origin: Origin, flow: FlowRow, contents: Mapping[str, int]) -> None:
    # The deletion begins first: a run that starts after this look has read the flow before, and is stopped.
    if not teardown.begin_flow(uow, flow.id):
        return
    if teardown.live_runs(uow.conn, flow.project_id, flow.id, 1):
        raise RunsNotFinalError
    details = _details(flow.name, contents)
    audit_events.record(
        uow, origin, AuditAction.DELETE_FLOW, IdKind.FLOW, flow.id, flow.project_id, flow_id=flow.id, details=details
    )


def _delete_project(uow: UnitOfWork, origin: Origin, project_id: UUID, name: str, contents: Mapping[str, int]) -> None:
    if not teardown.begin_project(uow, project_id):
        return
    if teardown.live_runs(uow.conn, project_id, None, 1):
        raise RunsNotFinalError
    details = _details(name, contents)
    audit_events.record(
        uow, origin, AuditAction.DELETE_PROJECT, IdKind.PROJECT, project_id, project_id, details=details
    )


def _details(name: str, contents: Mapping[str, int]) -> dict[str, Any]:
    return {"name": name, "deleted": {client_name(kind): number for kind, number in contents.items()}}
