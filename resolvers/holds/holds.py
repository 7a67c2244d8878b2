"""Holds of starts: who may make and end which."""

from uuid import UUID

from db import audit_events, projects
from db.core.unit_of_work import UnitOfWork
from db.queue import holds
from db.row_types import StartHoldRow
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import ProjectNotFoundError
from domain.ids import IdKind
from resolvers import authorize, flows, values
from resolvers.context import Context


async def hold_flow(context: Context, flow_id: str, reason: str | None) -> UUID:
    """Keeps the runs of a flow from starting; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError.
    """
    checked = _checked(reason)
    flow = await flows.get_existing(context, flow_id, frozenset())
    await context.database.write(_hold, context.origin, AuditAction.HOLD_FLOW, flow.project_id, flow.id, checked)
    return flow.id


async def release_flow(context: Context, flow_id: str) -> UUID:
    """Lets the runs of a flow start again; returns its ID.

    Raises:
        InvalidIdError, FlowNotFoundError.
    """
    flow = await flows.get_existing(context, flow_id, frozenset())
    await _release(context, AuditAction.RELEASE_FLOW, flow.project_id, flow.id)
    return flow.id


async def hold_project(context: Context, project_id: str | None, reason: str | None) -> UUID:
    """Keeps the runs of a project, by default the viewer's own, from starting; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError.
    """
    checked, target = _checked(reason), _project(context, project_id)
    await context.database.write(_hold, context.origin, AuditAction.HOLD_PROJECT, target, None, checked)
    return target


async def release_project(context: Context, project_id: str | None) -> UUID:
    """Lets the runs of a project start again; returns its ID.

    Raises:
        InvalidIdError, ProjectRequiredError, ProjectNotFoundError.
    """
    target = _project(context, project_id)
    await _release(context, AuditAction.RELEASE_PROJECT, target, None)
    return target


async def drain(context: Context, columns: frozenset[str]) -> StartHoldRow | None:
    """Returns the drain; None if workers take runs."""
    return await context.loaders.load(holds.by_ids, holds.DRAIN, columns)


def _checked(reason: str | None) -> str | None:
    return None if reason is None else values.check_text("reason", reason)


def _project(context: Context, project_id: str | None) -> UUID:
    target = authorize.decode_target_project(context.viewer, project_id)
    if target is None:
        raise ProjectNotFoundError
    return target


def _hold(
    uow: UnitOfWork, origin: Origin, action: AuditAction, project_id: UUID, flow_id: UUID | None, reason: str | None
) -> None:
    if not projects.by_ids(uow.conn, [project_id], ()):
        raise ProjectNotFoundError
    before = holds.hold(uow, project_id, flow_id, reason, origin.actor)
    if before is None or before.reason != reason:
        _record(uow, origin, action, project_id, flow_id, {"reason": reason})


async def _release(context: Context, action: AuditAction, project_id: UUID, flow_id: UUID | None) -> None:
    hold_id = await context.database.write(_end, context.origin, action, project_id, flow_id)
    if hold_id is not None:
        # In transactions of their own: there may be very many. Those that are left if this process ends are rescued.
        while await context.database.write(holds.release_queue, hold_id):
            pass


def _end(uow: UnitOfWork, origin: Origin, action: AuditAction, project_id: UUID, flow_id: UUID | None) -> UUID | None:
    if not projects.by_ids(uow.conn, [project_id], ()):
        raise ProjectNotFoundError
    before = holds.release(uow, project_id, flow_id)
    if before is None:
        return None
    _record(uow, origin, action, project_id, flow_id, {"heldAt": before.held_at, "reason": before.reason})
    return before.id


def _record(
    uow: UnitOfWork,
    origin: Origin,
    action: AuditAction,
    project_id: UUID,
    flow_id: UUID | None,
    details: dict[str, object],
) -> None:
    kind, object_id = (IdKind.PROJECT, project_id) if flow_id is None else (IdKind.FLOW, flow_id)
    audit_events.record(uow, origin, action, kind, object_id, project_id, flow_id=flow_id, details=details)
