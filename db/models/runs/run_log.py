"""The logs of runs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class RunLog(SQLModel, table=True):
    """A log line of a run."""

    __tablename__ = "run_log"

    run_id: UUID = Field(sa_column=key(ForeignKey("flow_run.id"), primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """Number of the line, from 1 in each run, without gaps: only the holder of the run's lease writes lines."""
    at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    level: str = Field(sa_column=Column(Text, nullable=False))
    step_name: str | None = Field(sa_column=Column(Text))
    attempt: int | None = Field(sa_column=Column(Integer))
    """Attempt of the step, from 1."""
    message: str = Field(sa_column=Column(Text, nullable=False))
    message_folded: str | None = Field(sa_column=Column(Text))
    """Folded message: see `domain.text.fold_column`."""
