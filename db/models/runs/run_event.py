"""The event log and its low watermark."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class RunEvent(SQLModel, table=True):
    """A change, written in the transaction of the change itself. `statusHistory` reads these rows.

    The changed object is a run (`run_id`, `flow_id`), a step of it (`step_name`), or a bulk operation (`operation_id`).

    No foreign key: the transaction itself has read the run, and checking it would take as long as writing the event.
    """

    __tablename__ = "run_event"
    __table_args__ = (
        Index("ix_run_event_run", "run_id", "seq"),
        Index(
            "ix_run_event_operation",
            "operation_id",
            "seq",
            sqlite_where=text("operation_id IS NOT NULL"),
            postgresql_where=text("operation_id IS NOT NULL"),
        ),
        # A cursor names a `seq` permanently, so none may be used again after a purge.
        {"sqlite_autoincrement": True},
    )

    seq: int = Field(sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True))
    project_id: UUID = Field(sa_column=key())
    flow_id: UUID | None = Field(sa_column=key(nullable=True))
    run_id: UUID | None = Field(sa_column=key(nullable=True))
    operation_id: UUID | None = Field(sa_column=key(nullable=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    step_name: str | None = Field(sa_column=Column(Text))
    from_status: str | None = Field(sa_column=Column(Text))
    to_status: str | None = Field(sa_column=Column(Text))
    message: str | None = Field(sa_column=Column(Text))
    data: str | None = Field(sa_column=Column(Text), description="Further data of this kind of event: JSON text.")
    at: datetime = Field(sa_column=Column(Timestamp, nullable=False))


class EventLowWatermark(SQLModel, table=True):
    """The log position after which every event is kept. The table has one row, which is updated when events are
    pruned."""

    __tablename__ = "event_low_watermark"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
