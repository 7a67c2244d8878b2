"""The files that runs produce."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

_PURGED = text("purged_at IS NOT NULL")


class RunFile(SQLModel, table=True):
    """A file that a step produced. Its bytes are in the file store."""

    __tablename__ = "run_file"
    __table_args__ = (
        Index("ix_run_file_run", "run_id", "id"),
        Index("ix_run_file_purged", "id", sqlite_where=_PURGED, postgresql_where=_PURGED),
    )

    id: UUID = Field(sa_column=key(primary_key=True))
    run_id: UUID = Field(sa_column=key(ForeignKey("flow_run.id")))
    step_name: str = Field(sa_column=Column(Text, nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    """Attempt of the step that stored the file, from 1."""
    name: str = Field(sa_column=Column(Text, nullable=False))
    """Name of the file. Not unique: each attempt of a step stores its files again."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Size in bytes."""
    media_type: str = Field(sa_column=Column(Text, nullable=False))
    key: str = Field(sa_column=Column(Text, nullable=False))
    """Key of the file in the file store, made of IDs only."""
    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    purged_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which the file was purged. It is hidden from then on; its bytes are deleted before its row."""


class DeletedFile(SQLModel, table=True):
    """A file of a deleted run. Its bytes are deleted before the row is.

    No foreign key: the run is gone.
    """

    __tablename__ = "deleted_file"

    id: UUID = Field(sa_column=key(primary_key=True))
    key: str = Field(sa_column=Column(Text, nullable=False))
    """Under which the file store has it; made of IDs alone."""


class RunFileReference(SQLModel, table=True):
    """A file of one run that another run lists as well, because it reuses the result of the step that stored the
    file."""

    __tablename__ = "run_file_reference"
    __table_args__ = (Index("ix_run_file_reference_file", "file_id"),)

    run_id: UUID = Field(sa_column=key(primary_key=True))
    file_id: UUID = Field(sa_column=key(primary_key=True))
