"""Delay steps: the run is suspended for a while, or until an instant."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

from pydantic import Field

from db.runs.claims import JournalRow
from domain import json_codec
from domain.flows.definition import DAY, LanguageModel
from domain.flows.templated import is_template
from domain.problem import Problem
from domain.time import clock, instants
from domain.time.cron import get_zone
from engine.steps.kind import Resumed, StepCall, StepKind, StillWaiting, Wait, invalid_input

MAX_DELAY_SECONDS = 366 * DAY
"""Longest delay in seconds, whether it is given as a duration or as an instant."""


_MAX_QUOTED = 100
"""Largest number of characters of a value that a message shows."""


class DelayInput(LanguageModel):
    """The length of the delay. Exactly one of `for` and `until` must be set."""

    seconds: float | str | None = Field(default=None, alias="for", description="Seconds: a number or a template.")
    until: str | None = Field(
        default=None,
        description="An instant in ISO 8601, or a template of one. Without an offset it is a time of `timeZone`.",
    )
    time_zone: str | None = Field(
        default=None,
        description="The IANA time zone of an `until` without an offset, or a template of one. Default: UTC.",
    )


class DelayKind(StepKind):
    """Waits until a time."""

    name = "delay"
    description = "Suspends the run for a while, without holding a worker. The output is `{until}`, in UTC."
    input_model = DelayInput
    redactable: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def validate(cls, step_input: DelayInput, /) -> Iterator[Problem]:
        """Yields a problem unless exactly one of `for` and `until` is set, and for literal values that are invalid."""
        if (step_input.seconds is None) is (step_input.until is None):
            yield Problem("", "Set exactly one of `for` and `until`")
        zone: tzinfo = UTC
        if step_input.time_zone is not None and step_input.seconds is not None:
            yield Problem("timeZone", "A time zone belongs to `until`")
        elif step_input.time_zone is not None and not is_template(step_input.time_zone):
            try:
                zone = _zone(step_input.time_zone)
            except ValueError as error:
                yield Problem("timeZone", str(error))
        try:
            if step_input.seconds is not None and not is_template(step_input.seconds):
                seconds = _seconds(step_input.seconds)
                if seconds < 0:
                    yield Problem("for", f"The delay is negative: {seconds:g} seconds")
        except ValueError as error:
            yield Problem("for", str(error))
        try:
            if step_input.until is not None and not is_template(step_input.until):
                _instant(step_input.until, zone)
        except ValueError as error:
            yield Problem("until", str(error))

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait:
        """Returns the wait for the end of the delay."""
        until = end_of_delay(rendered, clock.now())
        return Wait(f"Waiting until {_shown(until)}", until)

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the end of the delay, or the rest of the wait if it is too early."""
        # The step may have started earlier, with an attempt that failed.
        until = end_of_delay(json_codec.decode(paused.input), paused.attempt_started_at or paused.started_at)
        if until > clock.now():
            return StillWaiting(f"Still waiting until {_shown(until)}", until)
        return Resumed({"until": until.isoformat()})


def end_of_delay(rendered: Mapping[str, Any], start: datetime) -> datetime:
    """Returns the end, in UTC, of a delay that began at `start`.

    Raises:
        StepError: INPUT_INVALID, `rendered` is not a time, or is too far in the future.
    """
    try:
        if "until" in rendered:
            until = _instant(rendered["until"], _zone(rendered.get("timeZone")))
        else:
            until = start + timedelta(seconds=_seconds(rendered["for"]))
    except ValueError as error:
        raise invalid_input(f"The delay is not a valid time: {error}") from None
    if until - start > timedelta(seconds=MAX_DELAY_SECONDS):
        raise invalid_input(f"The delay ends at {_shown(until)}, more than a year from now.")
    return until


def _seconds(value: Any) -> float:
    """Returns a number of seconds.

    Raises:
        ValueError: `value` is not one. The message is for people.
    """
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if math.isnan(seconds):
        raise ValueError(f"`for` must be a number of seconds, such as 300, got {_quoted(value)}")
    if seconds > MAX_DELAY_SECONDS:
        raise ValueError(f"`for` must be at most {MAX_DELAY_SECONDS:,.0f} seconds, which is a year")
    return max(seconds, -MAX_DELAY_SECONDS)


def _instant(value: Any, zone: tzinfo) -> datetime:
    """Returns an instant in UTC.

    Raises:
        ValueError: `value` is not one. The message is for people.
    """
    if isinstance(value, str):
        try:
            return instants.parse(value, zone).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    example = "2026-01-31T12:00:00Z"
    raise ValueError(f"`until` must be an instant in ISO 8601, such as {example}, got {_quoted(value)}")


def _zone(name: Any) -> tzinfo:
    """Returns the time zone `name`; UTC for None.

    Raises:
        ValueError: no time zone has this name.
    """
    try:
        return UTC if name is None else get_zone(name)
    except (TypeError, ValueError):
        raise ValueError(f"No time zone is called {_quoted(name)}") from None


def _quoted(value: Any) -> str:
    return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="value")[:_MAX_QUOTED]


def _shown(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
