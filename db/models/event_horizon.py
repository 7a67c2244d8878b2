"""How far back the event log is complete."""

from sqlalchemy import BigInteger, Column, Integer
from sqlmodel import Field, SQLModel


class EventLowWatermark(SQLModel, table=True):
    """The place in the event log behind which every event is kept: one row, which moves on as others are deleted."""

    __tablename__ = "event_horizon"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
