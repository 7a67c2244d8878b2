"""Saved views of lists of runs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, ForeignKey, Index, Text, func
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class SavedView(SQLModel, table=True):
    """A name for a filter and an order of runs."""

    __tablename__ = "saved_view"

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    owner_id: UUID | None = Field(sa_column=key(nullable=True))
    """API key or user that alone sees the view; None: everybody in the project does."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    filter: str = Field(sa_column=Column(Text, nullable=False))
    """Filter as JSON text of the schema's `FlowRunFilter`."""
    order_field: str = Field(sa_column=Column(Text, nullable=False))
    descending: bool = Field(sa_column=Column(Boolean, nullable=False))
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    created_by: str = Field(sa_column=Column(Text, nullable=False))
    """Actor as JSON text."""
    updated_by: str = Field(sa_column=Column(Text, nullable=False))


_view = SavedView.__table__.c  # type: ignore[attr-defined]
# NULLs are distinct in an index: two shared views of one name would both be allowed.
Index("uq_saved_view_name", _view.project_id, _view.name, func.coalesce(_view.owner_id, _view.project_id), unique=True)
