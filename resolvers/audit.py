"""Reads of the audit log."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from db import audit_events
from db.row_types import AuditEventRow
from db.sql.keyset import Edge, Page, Position
from domain.audit import AuditFilter
from domain.enums import Role
from resolvers import authorize
from resolvers.context import Context

_ORDERING = 211
"""The number by which a cursor names the order of audit events."""


class AuditLog:
    """The audit events that match a filter and that the viewer sees, newest first.

    Raises:
        ForbiddenError: the viewer is no ADMIN.
    """

    ordering = _ORDERING

    def __init__(self, context: Context, where: AuditFilter) -> None:
        authorize.require(context.viewer, Role.ADMIN)
        self._database = context.database
        self._where = replace(where, project_ids=authorize.visible_projects(context.viewer, where.project_ids))

    async def page(self, columns: Collection[str], page: Page) -> Sequence[AuditEventRow]:
        """Returns the events of a page."""
        return await self._database.read(audit_events.page, columns, self._where, page)

    async def has_more(self, edge: Edge) -> bool:
        """True if an event stands beyond `edge`."""
        return await self._database.read(audit_events.has_more, self._where, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of events, at most `limit`."""
        return await self._database.read(audit_events.count, self._where, limit)

    def position(self, row: AuditEventRow) -> Position:
        """Returns the position of an event."""
        return Position(0, row.id)
