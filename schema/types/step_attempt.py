"""Attempts at steps, and why they failed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db.sql.rows import AnyRow
from domain import clock, json_codec
from schema.enums import AttemptStatus
from schema.fields import column, field
from schema.scalars import BigInt


@strawberry.type(description="Why a step, or one attempt at it, failed.")
class StepError:
    """Why a step failed."""

    code: str = strawberry.field(description="A stable word, such as HTTP_STATUS or TIMEOUT.")
    message: str = strawberry.field(description="For people.")
    details: JSON | None = strawberry.field(description="What else is known, such as the status of an HTTP response.")


def step_error(text: str) -> StepError:
    error: Mapping[str, Any] = json_codec.decode(text)
    return StepError(**error)


@strawberry.type(description="One try of a step.")
class StepAttempt:
    """One try of a step."""

    row: strawberry.Private[AnyRow]

    number: int = column("number", "Counts from 1 in each step.")
    status: AttemptStatus = column("status", "How the try went.", convert=AttemptStatus)
    started_at: datetime = column("started_at", "When the try began.")
    finished_at: datetime | None = column("finished_at", "When the try ended.")
    error: StepError | None = column("error", "Why the try failed.", convert=step_error)

    @field("Milliseconds that the try took, or has taken until now.")
    def duration_ms(self) -> BigInt:
        return BigInt(clock.milliseconds_since(self.row.started_at, self.row.finished_at))
