"""Revoked access tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class RevokedToken(SQLModel, table=True):
    """An access token that was revoked before it expired. Other tokens are not stored."""

    __tablename__ = "revoked_token"

    id: UUID = Field(sa_column=key(primary_key=True))
    expires_at: datetime = Field(sa_column=Column(Timestamp, nullable=False, index=True))
    """The instant at which the token would have expired. The row can be deleted then."""
