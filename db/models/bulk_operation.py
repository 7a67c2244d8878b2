"""Bulk operations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_KEYED = text("idempotency_key IS NOT NULL AND project_id IS NOT NULL")
# Where no project is named, keys are those of the operator; a null is like no other.
_KEYED_BY_OPERATOR = text("idempotency_key IS NOT NULL AND project_id IS NULL")


def _count() -> Column[int]:
    return Column(Integer, nullable=False, server_default="0")


class BulkOperation(SQLModel, table=True):
    """Something that is done to many runs, in the order of their IDs."""

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
    """None: of the operator's key, over all projects."""
    kind: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    strategy: str | None = Field(sa_column=Column(Text))
    """Of retries."""
    source_id: UUID | None = Field(sa_column=key(nullable=True))
    """The operation whose outcomes are the runs meant, where no filter is."""
    filter: str | None = Field(sa_column=Column(Text))
    """JSON text, as it was given."""
    excluded_ids: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text: a list of run IDs, as it was given."""
    key_id: UUID = Field(sa_column=key())
    key_name: str = Field(sa_column=Column(Text, nullable=False))
    """Who asked."""
    idempotency_key: str | None = Field(sa_column=Column(Text))
    request_hash: str | None = Field(sa_column=Column(Text))
    """Of the arguments that came with the idempotency key."""

    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    expires_at: datetime | None = Field(sa_column=Column(Timestamp))
    """Until when a plan can be carried out; None for what did not begin as a dry run."""

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
    """Where the places in time end that retries have been given."""

    done_through: UUID | None = Field(sa_column=key(nullable=True))
    """The last run that has been dealt with."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Of the process that works on it; one that cannot show it changes nothing."""
    lease_until: datetime | None = Field(sa_column=Column(Timestamp))
