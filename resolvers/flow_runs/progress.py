"""Loads the details of a run's events that their rows do not have: lines of the log, and errors of steps."""

from collections.abc import Sequence
from typing import Any

from db.row_types import LogLineRow
from db.runs import reads as run_reads
from db.runs.output import logs
from domain import json_codec
from domain.enums import StepStatus
from live.events import EventOfKind
from resolvers.context import Context


def event_data(event: EventOfKind) -> dict[str, Any]:
    """Returns the `data` of an event, whose keys depend on its kind (see db/events)."""
    data: dict[str, Any] = json_codec.decode(event.data)
    return data


async def log_lines(context: Context, event: EventOfKind) -> Sequence[LogLineRow]:
    """Returns the log lines that an event of the kind LOG_LINES announces."""
    data = event_data(event)
    return await context.loaders.load(logs.by_ranges, (event.run_id, data["first"], data["last"])) or []


async def step_error(context: Context, event: EventOfKind) -> str | None:
    """Returns the error of a failed step, or of the attempt after which it is tried again, as JSON text.

    Returns None for other changes of the step's status, and if the error was purged.
    """
    data = event_data(event)
    if event.to_status == StepStatus.PENDING:
        attempts = await context.loaders.load(run_reads.attempts_by_steps, (event.run_id, data["position"])) or []
        return next((attempt.error for attempt in attempts if attempt.number == data["attempt"]), None)
    if event.to_status != StepStatus.FAILED:
        return None
    step = await context.loaders.load(run_reads.steps_by_names, (event.run_id, event.step_name), frozenset({"error"}))
    return step.error if step is not None else None
