"""Projects: the tenants."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Project(SQLModel, table=True):
    """A tenant: only its own keys and operator keys see its flows and runs."""

    __tablename__ = "project"

    id: UUID = Field(sa_column=key(primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    retry_limit: int = Field(sa_column=Column(Integer, nullable=False, server_default="10"))
    """Maximum number of retries in a chain, besides its first run."""
    max_concurrent_runs: int | None = Field(sa_column=Column(Integer))
    """Maximum number of RUNNING runs; None: no limit."""
    quota_runs: int | None = Field(sa_column=Column(Integer))
    """Maximum number of runs started in one `quota_period`; None, as is `quota_period`: no quota."""
    quota_period: str | None = Field(sa_column=Column(Text))
    retention_days: int | None = Field(sa_column=Column(Integer))
    """Days for which step data of final runs is kept; None: the default of the service."""
    hold_id: UUID | None = Field(sa_column=key(nullable=True))
    """The hold that keeps its runs from starting; None: they start."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
