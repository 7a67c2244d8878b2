"""Endpoints, to which events are sent, and the callbacks of runs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Endpoint(SQLModel, table=True):
    """A URL of another system to which the events of some runs are sent."""

    __tablename__ = "endpoint"
    __table_args__ = (
        Index("ix_endpoint_project", "project_id", "id"),
        Index(
            "uq_endpoint_callback",
            "project_id",
            unique=True,
            sqlite_where=text("url IS NULL"),
            postgresql_where=text("url IS NULL"),
        ),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    name: str = Field(sa_column=Column(Text, nullable=False))
    url: str | None = Field(sa_column=Column(Text))
    """None: the endpoint of callbacks, which sends the events of a run to its `callbackUrl`. Empty: the URL is in
    `url_sealed`. Any other text is a URL in clear of an earlier version, until a worker has encrypted it."""
    url_key_id: str | None = Field(sa_column=Column(Text))
    """Identifies the key that encrypted the URL."""
    url_sealed: str | None = Field(sa_column=Column(Text))
    """The encrypted URL: it may hold a token."""
    run_filter: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text of the `FlowRunFilter` that runs must match after the event."""
    kinds: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text: the kinds of events that are sent."""
    payloads: bool = Field(sa_column=Column(Boolean, nullable=False))
    """True: bodies have inputs, outputs and details of errors."""
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    disabled_reason: str | None = Field(sa_column=Column(Text))
    disabled_at: datetime | None = Field(sa_column=Column(Timestamp))
    failing_since: datetime | None = Field(sa_column=Column(Timestamp))
    """The first failed attempt since the last one that succeeded; None: the last one succeeded."""
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    """Identifies the key that encrypted the secret."""
    sealed: str = Field(sa_column=Column(Text, nullable=False))
    """The encrypted secret that signs deliveries."""
    old_key_id: str | None = Field(sa_column=Column(Text))
    old_sealed: str | None = Field(sa_column=Column(Text))
    """The secret before the last rotation, encrypted. It signs as well until `old_until`."""
    old_until: datetime | None = Field(sa_column=Column(Timestamp))
    after_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Log position after which events are sent."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_by: str = Field(sa_column=Column(Text, nullable=False))
    """Actor as JSON text."""


class RunCallback(SQLModel, table=True):
    """The `callbackUrl` of a run. Retries of the run have it too."""

    __tablename__ = "run_callback"

    run_id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key())
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    sealed: str = Field(sa_column=Column(Text, nullable=False))
    """The encrypted URL: it may hold a token."""
    lane: UUID = Field(sa_column=key())


class RelayState(SQLModel, table=True):
    """The position up to which the event log was turned into deliveries and alerts. The table has one row."""

    __tablename__ = "relay_state"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Grows when an endpoint or an alert changes."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Fencing token of the worker that reads the log for all."""
    leased_until: datetime | None = Field(sa_column=Column(Timestamp))
    late_until: datetime | None = Field(sa_column=Column(Timestamp))
    """The instant up to which late runs were counted for alerts; None: not yet."""
