"""Revoked access tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class RevokedToken(SQLModel, table=True):
    """An access token that was revoked before it expired. Of other tokens nothing is stored."""

    __tablename__ = "revoked_token"

    id: UUID = Field(sa_column=key(primary_key=True))
    expires_at: datetime = Field(sa_column=Column(Timestamp, nullable=False, index=True))
    """When the row can go: the token would have expired then."""
