"""Secrets of projects, and their earlier values."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, Text, func
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Secret(SQLModel, table=True):
    """A value that flows use and no client can read. It is encrypted with a key that is not in the database."""

    __tablename__ = "secret"

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    environment: str | None = Field(sa_column=Column(Text))
    """Environment of the runs that use the secret; None: all environments."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    """Identifies the key that encrypted the value."""
    sealed: str = Field(sa_column=Column(Text, nullable=False))
    """The encrypted value, as text."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    """The time at which the value was set."""
    changed_by: str = Field(sa_column=Column(Text, nullable=False))
    """Name of the API key that set the value."""


class RetiredSecret(SQLModel, table=True):
    """An earlier value of a secret. It is masked where it appears, until it is pruned."""

    __tablename__ = "retired_secret"
    __table_args__ = (Index("ix_retired_secret_project", "project_id", "id"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    """ID of the row; its creation time is the end of the value."""
    secret_id: UUID = Field(sa_column=key())
    """ID of the secret, which may have been deleted."""
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    environment: str | None = Field(sa_column=Column(Text))
    name: str = Field(sa_column=Column(Text, nullable=False))
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    sealed: str = Field(sa_column=Column(Text, nullable=False))


_secret = Secret.__table__.c  # type: ignore[attr-defined]
# NULLs are distinct in an index: two secrets of one name for all environments would both be allowed.
Index("uq_secret_name", _secret.project_id, _secret.name, func.coalesce(_secret.environment, ""), unique=True)
