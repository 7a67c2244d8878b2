"""Holds of starts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class StartHold(SQLModel, table=True):
    """While a flow or a project names a hold, its runs do not start: those that are due wait in the hold's queue.

    The hold without a project is the drain: no worker takes a run. A hold that nothing names any more is deleted when
    its queue is empty.
    """

    __tablename__ = "start_hold"

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID | None = Field(sa_column=key(nullable=True))
    flow_id: UUID | None = Field(sa_column=key(nullable=True))
    """None: all flows of the project are held."""
    reason: str | None = Field(sa_column=Column(Text))
    held_by: str = Field(sa_column=Column(Text, nullable=False))
    """Actor as JSON text (domain/actor.py)."""
    held_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
