"""API keys, and what they may still spend."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text, true
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class ApiKey(SQLModel, table=True):
    """The credential of a client. Only a hash of the secret is stored."""

    __tablename__ = "api_key"
    __table_args__ = (Index("ix_api_key_project", "project_id", "id"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID | None = Field(sa_column=key(ForeignKey("project.id"), nullable=True))
    """The project that the key sees; None: an operator key, which sees all projects."""
    role: str = Field(sa_column=Column(Text, nullable=False))
    payloads: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=true()))
    """False: the key cannot read inputs, outputs, details of errors, logs and files."""
    cost_per_minute: int | None = Field(sa_column=Column(Integer))
    """The highest cost of its operations in a minute; None: the default of the service."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    secret_hash: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    """SHA-256 of the secret, in hex. The secret is random, so a fast hash is enough."""
    hint: str = Field(sa_column=Column(Text, nullable=False))
    """The first characters of the secret, by which people distinguish keys."""
    created_by: str | None = Field(sa_column=Column(Text))
    """Actor that created the key, as JSON text (domain/actor.py); None: unknown."""
    user_id: UUID | None = Field(sa_column=key(nullable=True))
    """The person whose session this is, who signed in through the identity provider; None: a key for machines."""
    granted_project_ids: str | None = Field(sa_column=Column(Text))
    """JSON text, a list: the projects for which the person may have a session; None for a key."""
    replaces_id: UUID | None = Field(sa_column=key(nullable=True))
    """The key that this key replaced by rotation."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    last_used_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The time of the last request, accurate to `db.api_keys.USE_PRECISION`."""
    expires_at: datetime | None = Field(sa_column=Column(Timestamp))
    revoked_at: datetime | None = Field(sa_column=Column(Timestamp))


class CostBudget(SQLModel, table=True):
    """What a rate limit still allows: operations of an API key, calls of a webhook, requests with an answer link. What
    has no row has all that its limit allows."""

    __tablename__ = "cost_budget"

    key_id: UUID = Field(sa_column=key(primary_key=True))
    """The API key, webhook or link."""
    remaining: int = Field(sa_column=Column(BigInteger, nullable=False))
    """What was left at `refilled_at`, without what processes hold. It grows since then, see `db.queue.budgets`."""
    refilled_at: datetime = Field(sa_column=Column(Timestamp, nullable=False, index=True))
