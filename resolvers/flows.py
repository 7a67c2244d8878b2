"""Reads and writes of flows."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from db import flows, projects
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.flows import FlowFilter
from db.sql.keyset import Position
from db.sql.rows import AnyRow
from domain import ids
from domain.errors import (
    FlowNameTakenError,
    FlowNotFoundError,
    InvalidArgumentError,
    ProjectNotFoundError,
)
from domain.ids import IdKind
from engine.compiled_flow import check
from resolvers import authorize, limits
from resolvers.context import Context
from resolvers.pagination import ConnectionPage, PageArguments

MAX_NAME_LENGTH = 200
_ORDERING = 64
"""The number by which a cursor names the order of flows."""


async def get(context: Context, flow_id: str, columns: frozenset[str]) -> AnyRow | None:
    """The flow `flow_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `flow_id` is not the ID of a flow.
    """
    row = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def get_version(context: Context, version_id: str, columns: frozenset[str]) -> AnyRow | None:
    """The flow version `version_id`; None when there is none that the viewer sees."""
    row = await context.loaders.load(flows.versions_by_ids, ids.decode(IdKind.FLOW_VERSION, version_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


def scoped(context: Context, wanted: FlowFilter) -> FlowFilter:
    """`wanted`, among the projects that the viewer sees."""
    return replace(wanted, project_ids=authorize.visible_projects(context.viewer, wanted.project_ids))


async def page(
    context: Context, wanted: FlowFilter, arguments: PageArguments, columns: Collection[str]
) -> ConnectionPage:
    """A page of the flows meant by `wanted`, a scoped filter, newest first."""
    asked = arguments.page(_ORDERING)
    rows = await context.database.read(flows.page, columns, wanted, asked)
    return ConnectionPage(
        asked,
        rows,
        position=lambda row: Position(0, row.id),
        ordering=_ORDERING,
        any_beyond=lambda edge: context.database.read(flows.has_more, wanted, edge),
    )


async def count(context: Context, wanted: FlowFilter, limit: int | None) -> int:
    """How many flows are meant by `wanted`, a scoped filter; counted up to `limit`."""
    return await context.database.read(flows.count, wanted, limit)


async def create(context: Context, name: str, definition: Any | None, project_id: str | None) -> UUID:
    """Create a flow, with its first version when a definition is given; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, FlowNameTakenError,
        DefinitionInvalidError, InputTooLargeError.
    """
    wanted = ids.decode(IdKind.PROJECT, project_id) if project_id is not None else None
    owner = authorize.target_project(context.viewer, wanted)
    checked_name = _checked_name(name)
    compiled = await asyncio.to_thread(check, definition) if definition is not None else None

    def work(uow: UnitOfWork) -> UUID:
        if owner is None or not projects.by_ids(uow.conn, [owner], ()):
            raise ProjectNotFoundError
        flow_id = flows.create(uow, owner, checked_name)
        if compiled is not None:
            flows.publish(uow, flow_id, owner, compiled.text, compiled.step_count)
        return flow_id

    try:
        return await context.database.write(work)
    except ConflictError:
        raise FlowNameTakenError from None


async def publish(context: Context, flow_id: str, definition: Any) -> UUID:
    """Publish a new version of a flow; returns the version's key.

    Raises:
        InvalidIdError, FlowNotFoundError, DefinitionInvalidError, InputTooLargeError.
    """
    flow = await _existing(context, flow_id)
    compiled = await asyncio.to_thread(check, definition)
    return await context.database.write(flows.publish, flow.id, flow.project_id, compiled.text, compiled.step_count)


async def update(context: Context, flow_id: str, wanted: Mapping[str, Any]) -> UUID:
    """Set `name`, `enabled` and `max_concurrent_runs` of a flow, those that are given; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, FlowNameTakenError, SettingsInvalidError.
    """
    flow = await _existing(context, flow_id)
    values = dict(wanted)
    if "name" in values:
        values["name"] = _checked_name(values["name"])
    limits.check_flow(values)
    try:
        await context.database.write(flows.change, flow.id, values)
    except ConflictError:
        raise FlowNameTakenError from None
    key: UUID = flow.id
    return key


async def _existing(context: Context, flow_id: str) -> AnyRow:
    flow = await get(context, flow_id, frozenset())
    if flow is None:
        raise FlowNotFoundError
    return flow


def _checked_name(name: str) -> str:
    stripped = name.strip()
    if not 1 <= len(stripped) <= MAX_NAME_LENGTH or "\0" in stripped:
        raise InvalidArgumentError(f"`name` must have 1 to {MAX_NAME_LENGTH} characters, and no U+0000.")
    return stripped
