"""Deliveries of events to endpoints, and their attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Delivery(SQLModel, table=True):
    """An event that is sent to an endpoint until that has taken it.

    The row has no values of the run: the body is rendered when it is sent. No foreign keys: rows outlive their endpoint
    until their retention ends.
    """

    __tablename__ = "delivery"

    id: UUID = Field(sa_column=key(primary_key=True))
    """The `webhook-id`, the same in every attempt."""
    project_id: UUID = Field(sa_column=key())
    endpoint_id: UUID = Field(sa_column=key())
    lane: UUID = Field(sa_column=key())
    """Deliveries of a lane share a bound of concurrency: those of an endpoint, or the callbacks to one server."""
    kind: str = Field(sa_column=Column(Text, nullable=False))
    event_seq: int | None = Field(sa_column=Column(BigInteger))
    """Log position of the event; None for a test."""
    run_id: UUID | None = Field(sa_column=key(nullable=True))
    callback_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the run whose `callbackUrl` is called; None: the URL is that of the endpoint."""
    request_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the input request that changed."""
    from_status: str | None = Field(sa_column=Column(Text))
    to_status: str | None = Field(sa_column=Column(Text))
    at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    """The instant of the event."""
    status: str = Field(sa_column=Column(Text, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    failures: int = Field(sa_column=Column(Integer, nullable=False))
    """Attempts that failed since the creation or the last redelivery."""
    try_until: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The next attempt; of a claimed delivery, the end of its lease. None: there is none."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Fencing token of the current claim."""
    response_status: int | None = Field(sa_column=Column(Integer))
    """HTTP status of the last response."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(Timestamp))


class DeliveryAttempt(SQLModel, table=True):
    """One attempt of a delivery."""

    __tablename__ = "delivery_attempt"

    delivery_id: UUID = Field(sa_column=key(primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    started_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    duration_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    response_status: int | None = Field(sa_column=Column(Integer))
    error: str | None = Field(sa_column=Column(Text))
    message: str | None = Field(sa_column=Column(Text))
    excerpt: str | None = Field(sa_column=Column(Text))
    """The beginning of the response, which may repeat values of the run."""


_delivery = Delivery.__table__.c  # type: ignore[attr-defined]
Index("ix_delivery_project", _delivery.project_id, _delivery.id)
Index("ix_delivery_endpoint", _delivery.endpoint_id, _delivery.id)
Index("ix_delivery_run", _delivery.run_id)
_due = _delivery.due_at.is_not(None)
Index("ix_delivery_due", _delivery.lane, _delivery.due_at, sqlite_where=_due, postgresql_where=_due)
_claimed = text("lease_token IS NOT NULL")
Index("ix_delivery_claimed", _delivery.lane, sqlite_where=_claimed, postgresql_where=_claimed)
