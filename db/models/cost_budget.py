"""What API keys may still spend."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key


class CostBudget(SQLModel, table=True):
    """What the operations of an API key may still cost. A key without a row has all that its rate limit allows."""

    __tablename__ = "cost_budget"

    key_id: UUID = Field(sa_column=key(primary_key=True))
    remaining: int = Field(sa_column=Column(BigInteger, nullable=False))
    """What was left at `refilled_at`, without what processes hold. It grows since then, see `db.queue.budgets`."""
    refilled_at: datetime = Field(sa_column=Column(Timestamp, nullable=False, index=True))
