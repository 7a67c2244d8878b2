"""Events of the audit log: who changed what."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db import projects
from db.row_types import AuditEventRow
from domain import ids
from domain.ids import IdKind
from schema.enums import AuditAction
from schema.fields import column, field, id_column, json_column, link
from schema.types.actor import Actor, actor_column
from schema.types.project import Project


@strawberry.type(
    description="A change, recorded in the transaction that made it. Events are never changed; retention deletes them."
)
class AuditEvent:
    """A change, and the actor who made it."""

    row: strawberry.Private[AuditEventRow]

    id: strawberry.ID = id_column(IdKind.AUDIT_EVENT, "The event's ID.")
    action: AuditAction = column("action", "The action: the mutation of the same name.", convert=AuditAction)
    actor: Actor = actor_column("actor", "The actor who made the change.")
    request_id: str | None = column(
        "request_id",
        "The `X-Request-ID` of the request, which is also on its log lines. Null for changes from the command line.",
    )
    details: JSON | None = json_column(
        "details", "The new values, an object that depends on the action. It contains no secrets and no inputs of runs."
    )
    created_at: datetime = column("created_at", "The instant of the change.")

    project: Project | None = link(
        "The project of the change; null for changes without a single project, which only operator keys can see.",
        "project_id",
        projects.by_ids,
        "project",
    )

    @field("The ID of the changed object. The object may no longer exist.", "object_id", "object_kind")
    def object_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind(self.row.object_kind), self.row.object_id))

    @field(
        "The ID of the flow that was changed, or to which the changed version, schedule or webhook belongs; null "
        "for other objects.",
        "flow_id",
    )
    def flow_id(self) -> strawberry.ID | None:
        key = self.row.flow_id
        return strawberry.ID(ids.encode(IdKind.FLOW, key)) if key is not None else None
