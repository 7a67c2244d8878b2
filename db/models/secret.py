"""Secrets of projects, and the values that they had before."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, Text, func
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Secret(SQLModel, table=True):
    """A value that flows use and nobody reads. It is encrypted; the key is not in the database."""

    __tablename__ = "secret"

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    environment: str | None = Field(sa_column=Column(Text))
    """The environment of the runs that it serves; None: all."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    """Identifies the key that encrypted the value."""
    sealed: str = Field(sa_column=Column(Text, nullable=False))
    """The encrypted value."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    """When the value was set."""
    changed_by: str = Field(sa_column=Column(Text, nullable=False))
    """Name of the API key that set the value."""


class RetiredSecret(SQLModel, table=True):
    """A value that a secret had before. It is still masked where it appears, until it is pruned."""

    __tablename__ = "retired_secret"
    __table_args__ = (Index("ix_retired_secret_project", "project_id", "id"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    """Its creation time is the end of the value."""
    secret_id: UUID = Field(sa_column=key())
    """The secret, which may have been deleted."""
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    environment: str | None = Field(sa_column=Column(Text))
    name: str = Field(sa_column=Column(Text, nullable=False))
    key_id: str = Field(sa_column=Column(Text, nullable=False))
    sealed: str = Field(sa_column=Column(Text, nullable=False))


_secret = Secret.__table__.c  # type: ignore[attr-defined]
# NULLs are distinct in an index: two secrets of one name for all environments would both be allowed.
Index("uq_secret_name", _secret.project_id, _secret.name, func.coalesce(_secret.environment, ""), unique=True)
