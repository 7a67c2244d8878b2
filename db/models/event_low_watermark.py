"""How far back the event log is complete."""

from sqlalchemy import BigInteger, Column, Integer
from sqlmodel import Field, SQLModel


class EventLowWatermark(SQLModel, table=True):
    """The log position after which every event is kept. It is one row, which moves on as events are purged."""

    __tablename__ = "event_low_watermark"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
