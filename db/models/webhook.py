"""Webhooks, which start runs of a flow."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Text, false
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Webhook(SQLModel, table=True):
    """A secret URL that starts a run at each call. Only a hash of its token is stored."""

    __tablename__ = "webhook"
    __table_args__ = (Index("ix_webhook_flow", "flow_id", "id"),)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key(ForeignKey("project.id")))
    flow_id: UUID = Field(sa_column=key(ForeignKey("flow.id")))
    name: str = Field(sa_column=Column(Text, nullable=False))
    environment: str = Field(sa_column=Column(Text, nullable=False))
    token_hash: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    """SHA-256 of the token, in hex."""
    hint: str = Field(sa_column=Column(Text, nullable=False))
    """The first characters of the token, by which people distinguish webhooks."""
    signature_header: str | None = Field(sa_column=Column(Text))
    """Header that must contain the signature of the body; None: calls are not signed."""
    signature_secret: str | None = Field(sa_column=Column(Text))
    """Signing secret in plain text, of a webhook from before they were encrypted, until a worker has encrypted it."""
    signature_key_id: str | None = Field(sa_column=Column(Text))
    """Identifies the key that encrypted the signing secret; None: calls are not signed."""
    signature_sealed: str | None = Field(sa_column=Column(Text))
    """The encrypted signing secret, as text: a hash cannot check signatures. It is never shown."""
    input_template: str | None = Field(sa_column=Column(Text))
    """JSON text: a template of the input of runs over `request`; None: the input is the request."""
    response_template: str | None = Field(sa_column=Column(Text))
    """JSON text: a template of the response over `request` and `run`; None: the response names the started run."""
    accepts_get: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    """True if GET requests also start runs."""
    exposed_headers: str = Field(sa_column=Column(Text, nullable=False, server_default="[]"))
    """JSON text: the names of headers that runs get although they may hold credentials."""
    calls_per_minute: int | None = Field(sa_column=Column(Integer))
    """Calls that are accepted in a minute; None: the default of the service."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    rotated_at: datetime | None = Field(sa_column=Column(Timestamp))
