"""Delay steps: the run is suspended for a while, or until an instant."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field

from db.runs.claims import JournalRow
from domain import json_codec
from domain.definition import DAY, LanguageModel
from domain.errors import Problem
from domain.time import clock
from engine.errors import StepError
from engine.steps.kind import Resumed, StepCall, StepKind, StillWaiting, Wait

MAX_DELAY_SECONDS = 366 * DAY
"""Longest delay in seconds, whether it is given as a duration or as an instant."""


class DelayInput(LanguageModel):
    """How long to wait. Exactly one of the two fields must be set."""

    seconds: float | str | None = Field(default=None, alias="for", description="Seconds: a number or a template.")
    until: str | None = Field(default=None, description="An instant in ISO 8601, or a template of one.")


class DelayKind(StepKind):
    """Waits until a time."""

    name = "delay"
    description = "Suspends the run for a while, without holding a worker. The output is `{until}`."
    input_model = DelayInput
    redactable: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def validate(cls, step_input: DelayInput, /) -> Iterator[Problem]:
        """Yields a problem unless exactly one of the two fields is set."""
        if (step_input.seconds is None) is (step_input.until is None):
            yield Problem("", "Set exactly one of `for` and `until`")

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait:
        """Returns the wait for the end of the delay."""
        until = end_of_delay(rendered, clock.now())
        return Wait(f"Waiting until {until:%Y-%m-%d %H:%M:%S} UTC", until)

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the end of the delay, or the rest of the wait if a worker looked too early."""
        until = end_of_delay(json_codec.decode(paused.input), paused.started_at)
        if until > clock.now():
            return StillWaiting(f"Still waiting until {until:%Y-%m-%d %H:%M:%S} UTC", until)
        return Resumed({"until": until.isoformat()})


def end_of_delay(rendered: Mapping[str, Any], start: datetime) -> datetime:
    """Returns the end of a delay that began at `start`.

    Raises:
        StepError: INPUT_INVALID, `rendered` is not a time, or is too far in the future.
    """
    try:
        if "until" in rendered:
            until = datetime.fromisoformat(rendered["until"])
            until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
        else:
            until = start + timedelta(seconds=float(rendered["for"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise StepError("INPUT_INVALID", f"The delay is not a valid time: {error}", retryable=False) from None
    if until - start > timedelta(seconds=MAX_DELAY_SECONDS):
        message = f"The delay ends at {until}, more than a year from now."
        raise StepError("INPUT_INVALID", message, retryable=False)
    return until
