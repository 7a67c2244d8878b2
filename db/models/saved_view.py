"""Saved views: filters of runs that somebody gave a name."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, Index, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_SHARED = text("shared")


class SavedView(SQLModel, table=True):
    """A named filter of runs with an order, for the lists of clients."""

    __tablename__ = "saved_view"
    __table_args__ = (
        Index("ix_saved_view_key", "key_id", "id"),
        Index("ix_saved_view_shared", "project_id", "id", sqlite_where=_SHARED, postgresql_where=_SHARED),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID | None = Field(sa_column=key(nullable=True))
    """None: of an operator key, about all projects."""
    key_id: UUID = Field(sa_column=key())
    """The API key that saved it."""
    key_name: str = Field(sa_column=Column(Text, nullable=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
    shared: bool = Field(sa_column=Column(Boolean, nullable=False))
    """True if all keys of the project see it, false if only the own key does."""
    filter: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text: a `FlowRunFilter`, as the client sent it."""
    settings: str = Field(sa_column=Column(Text, nullable=False))
    """JSON text of the client: what else belongs to the view, such as its order and columns."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
