"""Reads of the audit log."""

from dataclasses import replace

from db import audit_events
from domain.audit import AuditFilter
from domain.enums import Role
from resolvers import authorize
from resolvers.context import Context
from resolvers.lists import RowList

_ORDERING = 211
"""The number by which a cursor names the order of audit events."""


def list_of(context: Context, where: AuditFilter) -> RowList:
    """Returns the audit events that match a filter and that the viewer can see, newest first.

    Raises:
        ForbiddenError: the viewer is not an ADMIN.
    """
    authorize.require(context.viewer, Role.ADMIN)
    visible = authorize.visible_projects(context.viewer, where.project_ids)
    return RowList(context.database, audit_events.LISTING, replace(where, project_ids=visible), _ORDERING)
