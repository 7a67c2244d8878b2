"""Schedules, which start runs of a flow."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, ForeignKey, Index, Text
from sqlmodel import Field, SQLModel

from db.models.types import Metadata, Tags, Timestamp, key


class Schedule(SQLModel, table=True):
    """The fire times at which runs of a flow are started, and their input."""

    __tablename__ = "schedule"

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    flow_id: UUID = Field(sa_column=key(ForeignKey("flow.id")))
    name: str | None = Field(sa_column=Column(Text))
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    cron: str = Field(sa_column=Column(Text, nullable=False))
    time_zone: str = Field(sa_column=Column(Text, nullable=False))
    missed_fires: str = Field(sa_column=Column(Text, nullable=False))
    overlap: str = Field(sa_column=Column(Text, nullable=False, server_default="QUEUE"))
    """Policy for fire times at which an earlier run of the schedule is live."""
    environment: str = Field(sa_column=Column(Text, nullable=False))
    tags: list[str] = Field(sa_column=Column(Tags, nullable=False))
    meta: str = Field(sa_column=Column("metadata", Metadata, nullable=False))
    input: str = Field(sa_column=Column(Text, nullable=False))
    """Input of the runs as JSON text."""
    next_fire_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The next fire time; None: never. The transaction that starts the run updates it, so one process starts each
    run."""
    last_fired_at: datetime | None = Field(sa_column=Column(Timestamp))
    last_skipped_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The latest fire time at which no run was started."""
    last_skipped_reason: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    """The last change by a client; fires do not set it."""


_columns = Schedule.__table__.c  # type: ignore[attr-defined]
Index("ix_schedule_flow", _columns.flow_id, _columns.id)
# Serves the scheduler's polls: only schedules that will fire are in it.
_due = _columns.next_fire_at.is_not(None)
Index("ix_schedule_due", _columns.next_fire_at, sqlite_where=_due, postgresql_where=_due)
