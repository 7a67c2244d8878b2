"""Bulk operations and the outcomes of their runs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_KEYED = text("idempotency_key IS NOT NULL AND project_id IS NOT NULL")
# Operations over several projects have idempotency keys of their own: a unique index treats nulls as distinct.
_KEYED_BY_OPERATOR = text("idempotency_key IS NOT NULL AND project_id IS NULL")


def _count() -> Column[int]:
    return Column(Integer, nullable=False, server_default="0")


class BulkOperation(SQLModel, table=True):
    """One change of many runs, which are processed in the order of their IDs."""

    __tablename__ = "bulk_operation"
    __table_args__ = (
        Index("ix_bulk_operation_project", "project_id", "id"),
        Index("ix_bulk_operation_status", "status", "id"),
        Index(
            "uq_bulk_operation_idempotency",
            "project_id",
            "idempotency_key",
            unique=True,
            sqlite_where=_KEYED,
            postgresql_where=_KEYED,
        ),
        Index(
            "uq_bulk_operation_operator",
            "idempotency_key",
            unique=True,
            sqlite_where=_KEYED_BY_OPERATOR,
            postgresql_where=_KEYED_BY_OPERATOR,
        ),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID | None = Field(sa_column=key(ForeignKey("project.id"), nullable=True))
    """The project of the runs; None: several projects, and only operator keys see the operation."""
    kind: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    strategy: str | None = Field(sa_column=Column(Text))
    """Retry strategy; None: the operation is not a retry."""
    step_name: str | None = Field(sa_column=Column(Text))
    """Step that the client chose for retries FROM_STEP."""
    source_id: UUID | None = Field(sa_column=key(nullable=True))
    """The earlier operation whose runs are selected; None: a filter selects the runs."""
    filter: str | None = Field(sa_column=Column(Text))
    """Filter as the client sent it, as JSON text."""
    excluded_ids: str = Field(sa_column=Column(Text, nullable=False))
    """Run IDs as the client sent them, as a JSON array."""
    user_id: UUID | None = Field(sa_column=key(nullable=True))
    """The person who requested the operation; None: a key did."""
    key_id: UUID = Field(sa_column=key())
    """The key, or the session of the person; `key_name` is its name."""
    key_name: str = Field(sa_column=Column(Text, nullable=False))
    """Name of the API key that requested the operation."""
    idempotency_key: str | None = Field(sa_column=Column(Text))
    request_hash: str | None = Field(sa_column=Column(Text))
    """Hash of the arguments that came with the idempotency key."""

    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    expires_at: datetime | None = Field(sa_column=Column(Timestamp))
    """End of the time in which a plan can be executed; None: the operation did not begin as a dry run."""

    matched: int = Field(sa_column=_count())
    processed: int = Field(sa_column=_count())
    succeeded: int = Field(sa_column=_count())
    skipped: int = Field(sa_column=_count())
    failed: int = Field(sa_column=_count())
    became_eligible: int = Field(sa_column=_count())
    became_ineligible: int = Field(sa_column=_count())

    max_per_second: float | None = Field(sa_column=Column(Float))
    spread_over_ms: int | None = Field(sa_column=Column(BigInteger))
    paced_through: datetime | None = Field(sa_column=Column(Timestamp))
    """End of the last interval of the pace that was assigned to a retry."""

    done_through: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the last run that was processed, which is the position of the operation."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Fencing token: writes of a process with another token change nothing."""
    lease_until: datetime | None = Field(sa_column=Column(Timestamp))


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
    """The finding of the dry run: ELIGIBLE, or the reason for skipping the run; None: there was no dry run."""
    new_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the retry."""
    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which the retry is due."""
    at: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which the run was processed; for retries, the millisecond in the ID of the new run."""
