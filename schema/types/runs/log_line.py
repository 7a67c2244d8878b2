"""Lines of the logs of runs."""

from datetime import datetime

import strawberry

from db.row_types import LogLineRow
from schema.enums import LogLevel
from schema.fields import column


@strawberry.type(description="A line of a run's log.")
class LogLine:
    """A line of a run's log."""

    row: strawberry.Private[LogLineRow]

    number: int = column("number", "The number of the line, counted from 1 in each run.")
    at: datetime = column("at", "The instant at which the line was logged.")
    level: LogLevel = column("level", "The level.", convert=LogLevel)
    step_name: str | None = column(
        "step_name", "The name of the step that logged the line; null for a line about the run."
    )
    attempt: int | None = column("attempt", "The attempt at the step, from 1; null for a line about the run.")
    message: str = column("message", "The text, truncated to 4,000 characters.")
