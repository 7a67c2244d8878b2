"""Flows."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_LIMITED = text("max_concurrent_runs IS NOT NULL")


class Flow(SQLModel, table=True):
    """A named automation. What it does stands in its versions."""

    __tablename__ = "flow"
    __table_args__ = (
        UniqueConstraint("project_id", "name", name="uq_flow_project_name"),
        Index("ix_flow_project", "project_id", "id"),
        Index("ix_flow_limited", "project_id", sqlite_where=_LIMITED, postgresql_where=_LIMITED),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    name: str = Field(sa_column=Column(Text, nullable=False))
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    published_version_id: UUID | None = Field(sa_column=key(nullable=True))
    """No foreign key: the version's row points at the flow's."""
    max_concurrent_runs: int | None = Field(sa_column=Column(Integer))
    """Runs that may be RUNNING at once; None: as many as the project allows."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
