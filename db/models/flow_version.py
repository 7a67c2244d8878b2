"""Flow versions."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Integer, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class FlowVersion(SQLModel, table=True):
    """What a flow does, from one publication to the next. Never changed."""

    __tablename__ = "flow_version"
    __table_args__ = (UniqueConstraint("flow_id", "number", name="uq_flow_version_number"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    flow_id: UUID = Field(sa_column=key(ForeignKey("flow.id")))
    number: int = Field(sa_column=Column(Integer, nullable=False))
    """Counts from 1 in each flow."""
    step_count: int = Field(sa_column=Column(Integer, nullable=False))
    """Steps in the definition, so that lists need not read it."""
    definition: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text, see domain/definition.py."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
