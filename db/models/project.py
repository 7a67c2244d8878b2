"""Projects: the tenants."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_DELETED = text("deleting_since IS NOT NULL")


class Project(SQLModel, table=True):
    """A tenant: only its own keys and operator keys see its flows and runs."""

    __tablename__ = "project"
    __table_args__ = (Index("ix_project_deleting", "id", sqlite_where=_DELETED, postgresql_where=_DELETED),)

    id: UUID = Field(sa_column=key(primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    retry_limit: int = Field(sa_column=Column(Integer, nullable=False, server_default="10"))
    """Maximum number of retries in a chain, besides its first run."""
    max_concurrent_runs: int | None = Field(sa_column=Column(Integer))
    """Maximum number of RUNNING runs; None: no limit."""
    quota_runs: int | None = Field(sa_column=Column(Integer))
    """Maximum number of runs started in one `quota_period`; None: no quota, and no `quota_period`."""
    quota_period: str | None = Field(sa_column=Column(Text))
    retention_days: int | None = Field(sa_column=Column(Integer))
    """Days for which step data of final runs is kept; None: the default of the service."""
    hold_id: UUID | None = Field(sa_column=key(nullable=True))
    """The hold that keeps its runs from starting; None: they start."""
    run_retention: str | None = Field(sa_column=Column(Text))
    """JSON object: for statuses of final runs the days for which such runs are kept; None: every run is kept."""
    archive_after_days: int | None = Field(sa_column=Column(Integer))
    """Days after their end at which SUCCEEDED runs are archived; None: the service archives none."""
    archived_through: datetime | None = Field(sa_column=Column(Timestamp))
    """Runs that ended until then were archived by `archive_after_days`, and are not archived by it again. None: none
    were."""
    deleting_since: datetime | None = Field(sa_column=Column(Timestamp))
    """Since when the project is being deleted: it takes nothing new, and its rows are deleted in the background."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
