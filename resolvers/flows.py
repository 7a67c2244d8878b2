"""Reads and writes of flows."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from db import audit_events, flows, projects
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.flows import FlowFilter
from db.row_types import FlowRow, FlowVersionRow
from db.sql.keyset import Edge, Page, Position
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import (
    FlowNameTakenError,
    FlowNotFoundError,
    ProjectNotFoundError,
)
from domain.flows import names as flow_names
from domain.ids import IdKind
from domain.problem import Problem
from engine.compiled_flow import CheckedDefinition, check
from resolvers import authorize, limits
from resolvers.context import Context
from resolvers.lists import TextRowList

_ORDERING = 64
"""The number by which a cursor names the order of flows."""
_VERSION_ORDERING = 65
"""The number by which a cursor names the order of the versions of a flow."""
BEING_DELETED = "The flow is being deleted."
"""Message of a FlowNotFoundError while the rows of the flow are still there."""


async def get(context: Context, flow_id: str, columns: frozenset[str]) -> FlowRow | None:
    """Returns the flow `flow_id`; None if the viewer can see no such flow.

    Raises:
        InvalidIdError: `flow_id` is not the ID of a flow.
    """
    row = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def get_existing(context: Context, flow_id: str, columns: frozenset[str]) -> FlowRow:
    """Returns the flow `flow_id`.

    Raises:
        InvalidIdError: `flow_id` is not the ID of a flow.
        FlowNotFoundError: the viewer can see no such flow.
    """
    flow = await get(context, flow_id, columns)
    if flow is None:
        raise FlowNotFoundError
    return flow


async def get_kept(context: Context, flow_id: str, columns: frozenset[str]) -> FlowRow:
    """Returns the flow `flow_id`, which is about to be changed.

    Raises:
        InvalidIdError: `flow_id` is not the ID of a flow.
        FlowNotFoundError: the viewer sees no such flow, or it is being deleted.
    """
    flow = await get_existing(context, flow_id, columns | {"deleting_since"})
    if flow.deleting_since is not None:
        raise FlowNotFoundError(BEING_DELETED)
    return flow


async def get_version(context: Context, version_id: str, columns: frozenset[str]) -> FlowVersionRow | None:
    """Returns the flow version `version_id`; None if the viewer can see no such version.

    Raises:
        InvalidIdError: `version_id` is not the ID of a flow version.
    """
    row = await context.loaders.load(flows.versions_by_ids, ids.decode(IdKind.FLOW_VERSION, version_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


def list_of(context: Context, where: FlowFilter) -> TextRowList:
    """Returns the flows that match a filter and that the viewer can see, newest first."""
    visible = authorize.visible_projects(context.viewer, where.project_ids)
    return TextRowList(context.database, flows.LISTING, replace(where, project_ids=visible), _ORDERING)


@dataclass(frozen=True, slots=True)
class VersionList:
    """The versions of a flow, newest first. Reads are batched over flows."""

    context: Context
    flow_id: UUID
    ordering: int = _VERSION_ORDERING

    async def page(self, columns: Collection[str], page: Page) -> Sequence[FlowVersionRow]:
        """Returns the versions of a page."""
        return await self.context.loaders.load(flows.version_pages, self.flow_id, columns, page) or []

    async def has_more(self, edge: Edge) -> bool:
        """True if a version follows `edge`."""
        return bool(await self.context.loaders.load(flows.flows_with_more_versions, (self.flow_id, edge)))

    async def count(self, limit: int | None) -> int:
        """Returns the number of versions, at most `limit`."""
        number = await self.context.loaders.load(flows.version_counts, self.flow_id) or 0
        return number if limit is None else min(number, limit)

    def position(self, row: FlowVersionRow) -> Position:
        """Returns the position of a version."""
        return Position(0, row.id)


@dataclass(frozen=True, slots=True)
class Published:
    """The written flow or version, with warnings about the definition."""

    key: UUID
    """The new flow, or the new version."""
    warnings: Sequence[Problem]


async def create(context: Context, name: str, definition: Any | None, project_id: str | None) -> Published:
    """Creates a flow, with its first version if a definition is given; returns the flow.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, FlowNameTakenError,
        DefinitionInvalidError, InputTooLargeError.
    """
    owner = authorize.decode_target_project(context.viewer, project_id)
    checked_name = flow_names.check(name)
    checked = await asyncio.to_thread(check, definition) if definition is not None else None
    try:
        flow_id = await context.database.write(create_checked, context.origin, owner, checked_name, checked)
    except ConflictError:
        raise FlowNameTakenError from None
    return Published(flow_id, checked.warnings if checked is not None else ())


def create_checked(
    uow: UnitOfWork, origin: Origin, project_id: UUID | None, name: str, definition: CheckedDefinition | None
) -> UUID:
    """Creates a flow, with its first version if a definition is given; returns its key.

    Raises:
        ProjectNotFoundError: `project_id` is None, or no project has it.
    """
    if project_id is None or not projects.keep(uow, project_id):
        raise ProjectNotFoundError
    flow_id = flows.create(uow, project_id, name)
    details = {"name": name}
    if definition is not None:
        version_id = flows.publish(uow, flow_id, project_id, definition.text, definition.step_count)
        details["versionId"] = ids.encode(IdKind.FLOW_VERSION, version_id)
    audit_events.record(
        uow, origin, AuditAction.CREATE_FLOW, IdKind.FLOW, flow_id, project_id, flow_id=flow_id, details=details
    )
    return flow_id


async def publish(context: Context, flow_id: str, definition: Any) -> Published:
    """Publishes a new version of a flow; returns the version.

    Raises:
        InvalidIdError, FlowNotFoundError, DefinitionInvalidError, InputTooLargeError.
    """
    flow = await get_kept(context, flow_id, frozenset())
    checked = await asyncio.to_thread(check, definition)
    version_id = await context.database.write(publish_checked, context.origin, flow.id, flow.project_id, checked)
    return Published(version_id, checked.warnings)


def publish_checked(
    uow: UnitOfWork, origin: Origin, flow_id: UUID, project_id: UUID, definition: CheckedDefinition
) -> UUID:
    """Publishes the next version of a flow; returns the version's key.

    Raises:
        FlowNotFoundError: the flow is being deleted.
    """
    version_id = flows.publish(uow, flow_id, project_id, definition.text, definition.step_count)
    audit_events.record(
        uow,
        origin,
        AuditAction.PUBLISH_FLOW_VERSION,
        IdKind.FLOW_VERSION,
        version_id,
        project_id,
        flow_id=flow_id,
        details={"stepCount": definition.step_count},
    )
    return version_id


async def update(context: Context, flow_id: str, changes: Mapping[str, Any]) -> UUID:
    """Sets the columns `name`, `enabled` and `max_concurrent_runs` of a flow that are in `changes`; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, FlowNameTakenError, SettingsInvalidError.
    """
    flow = await get_kept(context, flow_id, frozenset())
    values = dict(changes)
    if "name" in values:
        values["name"] = flow_names.check(values["name"])
    limits.check_flow(values)
    try:
        await context.database.write(_change, context.origin, flow, values)
    except ConflictError:
        raise FlowNameTakenError from None
    return flow.id


def _change(uow: UnitOfWork, origin: Origin, flow: FlowRow, values: Mapping[str, Any]) -> None:
    before = flows.change(uow, flow.id, values)
    if before is None:
        raise FlowNotFoundError(BEING_DELETED)
    details = audit_events.changes(before, values)
    audit_events.record(
        uow,
        origin,
        AuditAction.UPDATE_FLOW,
        IdKind.FLOW,
        flow.id,
        flow.project_id,
        flow_id=flow.id,
        details=details,
    )
