"""Alerts, the groups of equal events that they count, and the notifications that result."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Alert(SQLModel, table=True):
    """A rule that sends messages to people."""

    __tablename__ = "alert"
    __table_args__ = (Index("ix_alert_project", "project_id", "id"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    name: str = Field(sa_column=Column(Text, nullable=False))
    run_filter: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text of the `FlowRunFilter` that runs must match."""
    condition: str = Field(sa_column=Column(Text, nullable=False))
    threshold: int | None = Field(sa_column=Column(BigInteger))
    """A number of runs, milliseconds or percent, depending on the condition."""
    quiet_seconds: int = Field(sa_column=Column(Integer, nullable=False))
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    hint: str = Field(sa_column=Column(Text, nullable=False))
    """The scheme of the target, such as `mailto` or `slack`."""
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    """Identifies the key that encrypted the target."""
    sealed: str = Field(sa_column=Column(Text, nullable=False))
    """The encrypted target: it may contain passwords and tokens."""
    after_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Log position after which events count."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_by: str = Field(sa_column=Column(Text, nullable=False))
    """Actor as JSON text."""


class AlertGroup(SQLModel, table=True):
    """The equal events that an alert has counted since its last message. The row refers to runs and has no values of
    them."""

    __tablename__ = "alert_group"
    __table_args__ = (
        Index(
            "ix_alert_group_due",
            "notify_at",
            sqlite_where=text("notify_at IS NOT NULL"),
            postgresql_where=text("notify_at IS NOT NULL"),
        ),
    )

    alert_id: UUID = Field(sa_column=key(primary_key=True))
    group_key: str = Field(sa_column=Column(Text, primary_key=True))
    project_id: UUID = Field(sa_column=key())
    flow_id: UUID | None = Field(sa_column=key(nullable=True))
    run_id: UUID | None = Field(sa_column=key(nullable=True))
    """The last run."""
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Events since the last message."""
    streak: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Failures since the last run that succeeded."""
    first_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    """The first event since the last message."""
    last_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    quiet_until: datetime | None = Field(sa_column=Column(Timestamp))
    """No message is sent before; None: none has been sent yet."""
    notify_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When the next message is sent; None: there is nothing to send."""


class Notification(SQLModel, table=True):
    """A message of an alert. Its text is rendered when it is sent: the row has no values of runs."""

    __tablename__ = "notification"
    __table_args__ = (
        Index("ix_notification_alert", "alert_id", "id"),
        Index(
            "ix_notification_due",
            "due_at",
            sqlite_where=text("due_at IS NOT NULL"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key())
    alert_id: UUID = Field(sa_column=key())
    is_test: bool = Field(sa_column=Column(Boolean, nullable=False))
    flow_id: UUID | None = Field(sa_column=key(nullable=True))
    run_id: UUID | None = Field(sa_column=key(nullable=True))
    """The last run of the events."""
    endpoint_id: UUID | None = Field(sa_column=key(nullable=True))
    """The endpoint that the service has disabled."""
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Number of equal events; 0 for a test."""
    first_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    last_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    message: str | None = Field(sa_column=Column(Text))
    """Why the last attempt failed."""
    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The next attempt; of a claimed notification, the end of its lease. None: there is none."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Fencing token of the current claim."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(Timestamp))
