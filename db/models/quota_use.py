"""Use of the projects' quotas."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class QuotaUse(SQLModel, table=True):
    """Number of runs that a project started in one period. It is kept as a counter, because counting the runs at each
    start would read up to millions of rows."""

    __tablename__ = "quota_use"

    project_id: UUID = Field(sa_column=key(ForeignKey("project.id"), primary_key=True))
    period: str = Field(sa_column=Column(Text, primary_key=True))
    began_at: datetime = Field(sa_column=Column(Timestamp, primary_key=True))
    used: int = Field(sa_column=Column(Integer, nullable=False))
