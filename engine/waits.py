"""Steps that wait without a worker: what they wait for, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain import clock, ids, json_codec
from domain.definition import DAY, DelayStep, HumanInputStep, Step
from engine.errors import StepError

MAX_DELAY_SECONDS = 366 * DAY
"""The longest delay, whether it is given in seconds or as an instant."""
MAX_TITLE = 1_000
"""Characters of a rendered title or assignee."""
MAX_DESCRIPTION = 20_000
"""Characters of a rendered description."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for."""

    message: str
    due_at: datetime | None
    """When to look at the run all the same."""
    request: Mapping[str, Any] | None = None
    """The question to ask, as a row of `input_request`."""


def wait_of(step: Step, rendered: Any, run_id: UUID, position: int) -> Wait | None:
    """What `step` waits for, its input rendered; None for a step of another kind.

    Raises:
        StepError: INPUT_INVALID, the rendered input cannot be used.
    """
    if isinstance(step, DelayStep):
        until = delayed_until(rendered, clock.now())
        return Wait(f"Waiting until {until:%Y-%m-%d %H:%M:%S} UTC", until)
    if isinstance(step, HumanInputStep):
        return _question(step, rendered, run_id, position)
    return None


def delayed_until(rendered: Mapping[str, Any], since: datetime) -> datetime:
    """The end of a delay that began at `since`.

    Raises:
        StepError: INPUT_INVALID, it is not a time, or too far away.
    """
    try:
        if "until" in rendered:
            until = datetime.fromisoformat(rendered["until"])
            until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
        else:
            until = since + timedelta(seconds=float(rendered["for"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise StepError("INPUT_INVALID", f"Not a time to wait for: {error}", retryable=False) from None
    if until - since > timedelta(seconds=MAX_DELAY_SECONDS):
        raise StepError("INPUT_INVALID", f"The delay ends at {until}, more than a year away.", retryable=False)
    return until


def _question(step: HumanInputStep, rendered: Mapping[str, Any], run_id: UUID, position: int) -> Wait:
    asked_at = clock.now()
    wanted = step.input
    expires_at = asked_at + timedelta(seconds=wanted.expires_in) if wanted.expires_in else None
    title = _words(rendered["title"], MAX_TITLE)
    request = {
        "id": ids.new_uuid(),
        "run_id": run_id,
        "position": position,
        "step_name": step.name,
        "title": title,
        "description": _words(rendered.get("description"), MAX_DESCRIPTION),
        "assignee": _words(rendered.get("assignee"), MAX_TITLE),
        # As it was published: a schema is no template.
        "answer_schema": json_codec.encode(wanted.answer_schema, limit=json_codec.MAX_DEFINITION_BYTES, what="schema"),
        "created_at": asked_at,
        "expires_at": expires_at,
    }
    return Wait(f"Waiting for an answer: {title}", expires_at, request)


def _words(rendered: Any, length: int) -> str | None:
    if rendered is None:
        return None
    text = rendered if isinstance(rendered, str) else json_codec.encode(rendered, limit=length, what="text")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:length]
