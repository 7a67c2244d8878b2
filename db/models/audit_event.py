"""The audit log."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Index, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

# Most events are starts of runs. With this index the other events are found without reading those.
_RARE = text("action <> 'START_RUN'")
_OF_FLOW = text("flow_id IS NOT NULL")


class AuditEvent(SQLModel, table=True):
    """One change, and the actor that made it. Rows are never updated; they are deleted when their retention ends.

    No foreign keys: an event outlives the rows that it names.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_project", "project_id", "id"),
        Index("ix_audit_event_actor", "actor_id", "id"),
        Index("ix_audit_event_object", "object_id", "id"),
        Index("ix_audit_event_flow", "flow_id", "id", sqlite_where=_OF_FLOW, postgresql_where=_OF_FLOW),
        Index("ix_audit_event_action", "action", "id", sqlite_where=_RARE, postgresql_where=_RARE),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID | None = Field(sa_column=key(nullable=True))
    """The project of the change; None: the change concerns several projects, and only operator keys see it."""
    action: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    """The actor as JSON text (domain/actor.py)."""
    actor_id: UUID | None = Field(sa_column=key(nullable=True))
    object_id: UUID = Field(sa_column=key())
    """ID of the changed object."""
    object_kind: str = Field(sa_column=Column(Text, nullable=False))
    """Prefix of the object's encoded ID, which names its kind."""
    flow_id: UUID | None = Field(sa_column=key(nullable=True))
    """The flow that was changed, or whose version, schedule or webhook was changed."""
    request_id: str | None = Field(sa_column=Column(Text))
    details: str | None = Field(sa_column=Column(Text))
    """JSON text that describes the change, without secrets."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
