"""The logs of runs."""

from datetime import datetime

import strawberry

from db.sql.rows import AnyRow
from schema.enums import LogLevel
from schema.fields import column


@strawberry.type(description="A line of a run's log.")
class LogLine:
    """A line of a run's log."""

    row: strawberry.Private[AnyRow]

    number: int = column("number", "Counts from 1 in the run's log.")
    at: datetime = column("at", "When it was written.")
    level: LogLevel = column("level", "How much it matters.", convert=LogLevel)
    step_name: str | None = column("step_name", "The step that wrote it; null for a line about the run.")
    attempt: int | None = column("attempt", "The attempt at that step, from 1.")
    message: str = column("message", "What it says, cut off at 4,000 characters.")
