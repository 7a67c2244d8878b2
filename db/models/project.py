"""Projects: the tenants."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Project(SQLModel, table=True):
    """A tenant: its keys, flows and runs are seen by nobody else."""

    __tablename__ = "project"

    id: UUID = Field(sa_column=key(primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    retry_limit: int = Field(sa_column=Column(Integer, nullable=False, server_default="10"))
    """Retries that a chain may have, beyond its first run."""
    max_concurrent_runs: int | None = Field(sa_column=Column(Integer))
    """Runs that may be RUNNING at once; None: as many as the workers take."""
    quota_runs: int | None = Field(sa_column=Column(Integer))
    """Runs that may be started in one `quota_period`; both are None or neither."""
    quota_period: str | None = Field(sa_column=Column(Text))
    retention_days: int | None = Field(sa_column=Column(Integer))
    """Days for which step data of final runs are kept; None: as the service is set."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
