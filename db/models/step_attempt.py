"""Attempts of steps."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class StepAttempt(SQLModel, table=True):
    """One try of a step."""

    __tablename__ = "step_attempt"

    run_id: UUID = Field(sa_column=key(primary_key=True))
    position: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """Counts from 1 in each step."""
    status: str = Field(sa_column=Column(Text, nullable=False))
    started_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    error: str | None = Field(sa_column=Column(Text))
    """JSON text `{code, message, details}`."""
