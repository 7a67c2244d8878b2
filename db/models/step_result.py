"""Step results and the attempts at steps."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class StepResult(SQLModel, table=True):
    """What happened to one step in one run: the journal from which an interrupted run goes on.

    No foreign key, here as at its attempts: whoever writes one holds the run's row.
    """

    __tablename__ = "step_result"

    run_id: UUID = Field(sa_column=key(primary_key=True))
    position: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """The step's place in the definition, from 0."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    display_name: str | None = Field(sa_column=Column(Text))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    attempts_count: int = Field(sa_column=Column(Integer, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    duration_ms: int | None = Field(sa_column=Column(BigInteger))
    reused_from_id: UUID | None = Field(sa_column=key(nullable=True))
    """The run in which the step was really executed, when its output was kept by a retry."""
    completed_by: str | None = Field(sa_column=Column(Text))
    """The name of the API key that completed the step by hand; none: it was executed, or kept from a run."""
    completion_note: str | None = Field(sa_column=Column(Text))
    """Why it was completed by hand, in the words of the person."""
    error: str | None = Field(sa_column=Column(Text))
    """JSON text `{code, message, details}`."""
    input: str | None = Field(sa_column=Column(Text))
    output: str | None = Field(sa_column=Column(Text))
    sealed: str | None = Field(sa_column=Column(Text))
    """What `redact` keeps out of the output, encrypted, for later steps of the run: the ID of the key, a colon, and the
    text."""


_result = StepResult.__table__.c  # type: ignore[attr-defined]
_is_sealed = _result.sealed.is_not(None)
# Few steps redact something: a change of keys finds them here.
Index("ix_step_sealed", _result.run_id, _result.position, sqlite_where=_is_sealed, postgresql_where=_is_sealed)


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
