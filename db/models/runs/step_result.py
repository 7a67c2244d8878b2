"""Step results and the attempts at steps."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class StepResult(SQLModel, table=True):
    """The state of one step in one run. These rows are the journal from which an interrupted run is resumed.

    No foreign key, neither here nor for attempts: every writer has locked the run's row.
    """

    __tablename__ = "step_result"

    run_id: UUID = Field(sa_column=key(primary_key=True))
    position: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """Position of the step in the definition, from 0."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    display_name: str | None = Field(sa_column=Column(Text))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    attempts_count: int = Field(sa_column=Column(Integer, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    duration_ms: int | None = Field(sa_column=Column(BigInteger))
    reused_from_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the run that executed the step, if a retry reuses its result."""
    completed_by: str | None = Field(sa_column=Column(Text))
    """Name of the API key that completed the step by hand; None: the step was executed or reused."""
    completion_note: str | None = Field(sa_column=Column(Text))
    """Reason for completing the step by hand, as text of the person."""
    error: str | None = Field(sa_column=Column(Text))
    """Error as JSON text `{code, message, details}`."""
    input: str | None = Field(sa_column=Column(Text))
    output: str | None = Field(sa_column=Column(Text))
    sealed: str | None = Field(sa_column=Column(Text))
    """Values that `redact` keeps out of the output, encrypted for later steps of the run, as `<key ID>:<text>`."""


_result = StepResult.__table__.c  # type: ignore[attr-defined]
_is_sealed = _result.sealed.is_not(None)
# Few steps have redacted values: a change of encryption keys finds them by this index.
Index("ix_step_sealed", _result.run_id, _result.position, sqlite_where=_is_sealed, postgresql_where=_is_sealed)


class StepAttempt(SQLModel, table=True):
    """One attempt of a step."""

    __tablename__ = "step_attempt"

    run_id: UUID = Field(sa_column=key(primary_key=True))
    position: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """Number of the attempt, from 1 in each step."""
    status: str = Field(sa_column=Column(Text, nullable=False))
    started_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    error: str | None = Field(sa_column=Column(Text))
    """Error as JSON text `{code, message, details}`."""
