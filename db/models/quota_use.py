"""How much of their quotas projects have used."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class QuotaUse(SQLModel, table=True):
    """The runs that a project started in one period: a counter, for nobody can count a million rows at each start."""

    __tablename__ = "quota_use"

    project_id: UUID = Field(sa_column=key(ForeignKey("project.id"), primary_key=True))
    period: str = Field(sa_column=Column(Text, primary_key=True))
    began_at: datetime = Field(sa_column=Column(Timestamp, primary_key=True))
    used: int = Field(sa_column=Column(Integer, nullable=False))
