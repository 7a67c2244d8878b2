"""Flows and their versions."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_LIMITED = text("max_concurrent_runs IS NOT NULL OR hold_id IS NOT NULL")
_DELETED = text("deleting_since IS NOT NULL")


class Flow(SQLModel, table=True):
    """A named automation, which its versions define."""

    __tablename__ = "flow"
    __table_args__ = (
        UniqueConstraint("project_id", "name", name="uq_flow_project_name"),
        Index("ix_flow_project", "project_id", "id"),
        Index("ix_flow_limited", "project_id", sqlite_where=_LIMITED, postgresql_where=_LIMITED),
        Index("ix_flow_deleting", "id", sqlite_where=_DELETED, postgresql_where=_DELETED),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    name: str = Field(sa_column=Column(Text, nullable=False))
    name_folded: str | None = Field(sa_column=Column(Text))
    """Folded name: see `domain.text.fold_column`."""
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    published_version_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the published version. No foreign key: the version's row references the flow's."""
    max_concurrent_runs: int | None = Field(sa_column=Column(Integer))
    """Limit of RUNNING runs; None: only the limit of the project applies."""
    hold_id: UUID | None = Field(sa_column=key(nullable=True))
    """The hold that keeps its runs from starting; None: they start."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    deleting_since: datetime | None = Field(sa_column=Column(Timestamp))
    """Since when the flow is being deleted: nothing starts its runs, and its rows are deleted in the background."""


class FlowVersion(SQLModel, table=True):
    """One published definition of a flow. A version never changes."""

    __tablename__ = "flow_version"
    __table_args__ = (UniqueConstraint("flow_id", "number", name="uq_flow_version_number"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    flow_id: UUID = Field(sa_column=key(ForeignKey("flow.id")))
    number: int = Field(sa_column=Column(Integer, nullable=False))
    """Number of the version, from 1 in each flow."""
    step_count: int = Field(sa_column=Column(Integer, nullable=False))
    """Number of steps in the definition, stored so that lists need not read the definition."""
    definition: str = Field(sa_column=Column(Text, nullable=False))
    """Definition as JSON text, see domain/flows/definition.py."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
