"""Attempts at steps, and their errors."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db.row_json.computed import LASTED
from db.row_json.sources import JsonMembers
from db.row_types import AttemptRow
from domain import json_codec
from domain.time import clock
from schema.enums import AttemptStatus
from schema.fields import column, field
from schema.scalars import BigInt


@strawberry.type(description="The error of a step, or of one attempt at it.")
class StepError:
    """The error of a step."""

    code: str = strawberry.field(description="A stable code, such as HTTP_STATUS or TIMEOUT.")
    message: str = strawberry.field(description="Human-readable message. Do not parse it: use `code`.")
    details: JSON | None = strawberry.field(
        description="Details of the error, such as the status of an HTTP response; null if there are none."
    )


def step_error(text: str) -> StepError:
    """Returns the error in JSON text."""
    error: Mapping[str, Any] = json_codec.decode(text)
    return StepError(**error)


@strawberry.type(description="One attempt at a step.")
class StepAttempt:
    """One attempt at a step."""

    row: strawberry.Private[AttemptRow]

    number: int = column("number", "The number of the attempt, counted from 1 in each step.")
    status: AttemptStatus = column("status", "The status of the attempt.", convert=AttemptStatus)
    started_at: datetime = column("started_at", "The start of the attempt.")
    finished_at: datetime | None = column("finished_at", "The end of the attempt; null until then.")
    error: StepError | None = column(
        "error",
        "The error with which the attempt failed; null unless it failed.",
        convert=step_error,
        written=JsonMembers("error"),
    )

    @field(
        "Milliseconds from `startedAt` to `finishedAt`, or until now.",
        "started_at",
        "finished_at",
        written=LASTED,
    )
    def duration_ms(self) -> BigInt:
        return BigInt(clock.milliseconds_since(self.row.started_at, self.row.finished_at))
