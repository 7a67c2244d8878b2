"""Workers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, Integer, Text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class Worker(SQLModel, table=True):
    """A worker process, as it last reported itself. It removes its row when it stops."""

    __tablename__ = "worker"

    id: UUID = Field(sa_column=key(primary_key=True))
    host: str = Field(sa_column=Column(Text, nullable=False))
    process_id: int = Field(sa_column=Column(Integer, nullable=False))
    version: str = Field(sa_column=Column(Text, nullable=False))
    concurrency: int = Field(sa_column=Column(Integer, nullable=False))
    """Runs that it executes at the same time, at most."""
    executing: int = Field(sa_column=Column(Integer, nullable=False))
    """Runs that it executed at its last heartbeat."""
    run_ids: str = Field(sa_column=Column(Text, nullable=False))
    """The IDs of these runs, a JSON list, those first that it has executed longest; at most
    `db.queue.workers.MAX_REPORTED`."""
    draining: bool = Field(sa_column=Column(Boolean, nullable=False))
    """True: it was asked to stop, and claims no more runs."""
    started_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    heartbeat_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
