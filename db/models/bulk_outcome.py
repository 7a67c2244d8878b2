"""Outcomes of runs in bulk operations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class BulkOutcome(SQLModel, table=True):
    """One run of a bulk operation: pinned when the operation begins, updated when its chunk is processed.

    An operation can have millions, so they have no foreign keys: both IDs come from rows that were just read.
    """

    __tablename__ = "bulk_outcome"
    # Each row is updated once. The free space keeps the new version in its page, so the index need not change.
    __table_args__ = ({"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 35}},)

    operation_id: UUID = Field(sa_column=key(primary_key=True))
    run_id: UUID = Field(sa_column=key(primary_key=True))
    result: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    planned_reason: str | None = Field(sa_column=Column(Text))
    """What the dry run found: ELIGIBLE, or the reason why not; None: there was no dry run."""
    new_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """The retry."""
    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When the retry is due."""
    at: datetime | None = Field(sa_column=Column(Timestamp))
    """When the run was processed; for retries, the millisecond in the ID of the new run."""
