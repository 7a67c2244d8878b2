"""Input requests: questions to people for which runs wait."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class InputRequest(SQLModel, table=True):
    """A question that a `humanInput` step asks, and its answer."""

    __tablename__ = "input_request"
    __table_args__ = (
        Index("ix_input_request_run", "run_id", "position"),
        # Indexes of the inbox: by project, status, person or group, flow, and expiry.
        Index("ix_input_request_project", "project_id", "id"),
        Index("ix_input_request_status", "project_id", "status", "id"),
        Index(
            "ix_input_request_assignee",
            *("project_id", "assignee", "id"),
            sqlite_where=text("assignee IS NOT NULL"),
            postgresql_where=text("assignee IS NOT NULL"),
        ),
        Index("ix_input_request_flow", "flow_id", "id"),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    run_id: UUID = Field(sa_column=key(ForeignKey("flow_run.id")))
    project_id: UUID = Field(sa_column=key())
    flow_id: UUID = Field(sa_column=key())
    """Flow of the run. Project and flow are copied, so that the inbox need not read runs."""
    position: int = Field(sa_column=Column(Integer, nullable=False))
    """Position of the step in the definition, from 0."""
    status: str = Field(sa_column=Column(Text, nullable=False))
    step_name: str = Field(sa_column=Column(Text, nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    assignee: str | None = Field(sa_column=Column(Text))
    answer_schema: str = Field(sa_column=Column(Text, nullable=False))
    """JSON schema of the answer, as JSON text."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    expires_at: datetime | None = Field(sa_column=Column(Timestamp))
    answered_at: datetime | None = Field(sa_column=Column(Timestamp))
    answer: str | None = Field(sa_column=Column(Text))
    """The answer as JSON text."""
    answered_by_key_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the API key that answered."""
    answered_by: str | None = Field(sa_column=Column(Text))
    """Actor that answered, as JSON text (domain/actor.py); None: unknown, or not answered."""
    idempotency_key: str | None = Field(sa_column=Column(Text))
    """Idempotency key of the request that answered."""
