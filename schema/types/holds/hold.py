"""Holds of starts."""

from datetime import datetime

import strawberry

from db.row_types import StartHoldRow
from schema.fields import column
from schema.types.actor import Actor, actor_column


@strawberry.type(description="A hold: runs are created as always, and do not start until it is released.")
class Hold:
    """A hold of starts."""

    row: strawberry.Private[StartHoldRow]

    reason: str | None = column("reason", "Why; null if nobody said so.")
    held_by: Actor = actor_column("held_by", "Who made the hold.")
    held_at: datetime = column("held_at", "The beginning of the hold.")
