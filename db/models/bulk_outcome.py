"""What becomes of runs in bulk operations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class BulkOutcome(SQLModel, table=True):
    """One run of a bulk operation: pinned when it begins, settled when its turn comes.

    There may be millions, so nothing is checked at their insertion: both IDs are those of rows that were just read.
    """

    __tablename__ = "bulk_outcome"
    # Each row is written once more, when it is settled: in its page, and the index stays as it is.
    __table_args__ = ({"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 35}},)

    operation_id: UUID = Field(sa_column=key(primary_key=True))
    run_id: UUID = Field(sa_column=key(primary_key=True))
    result: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    planned_reason: str | None = Field(sa_column=Column(Text))
    """By a dry run: ELIGIBLE, or the reason why not."""
    new_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """The retry."""
    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When the retry is to begin."""
    at: datetime | None = Field(sa_column=Column(Timestamp))
    """When it was settled; of a retry the millisecond in the new run's ID."""
