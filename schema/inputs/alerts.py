"""Inputs of alerts."""

from typing import Any

import strawberry

from domain.outbound.alert import DEFAULT_QUIET
from resolvers.outbound.alerts import MAX_TARGET_LENGTH
from schema.arguments import optional
from schema.enums import AlertCondition
from schema.inputs.filters import FlowRunFilter
from schema.inputs.outbound import filter_text

_NAME = "A name for people: 1 to 200 characters."
_TARGET = (
    "Where messages go: `mailto:` with e-mail addresses that are separated by commas, or the URL of a service over HTTP"
    f" in the form of Apprise, such as `slack://…`. At most {MAX_TARGET_LENGTH:,} characters; stored encrypted."
)
_FILTER = "Which runs: the filter must match after the event. Default: every run of the project."
_THRESHOLD = (
    "From which value the condition holds: a number of runs for CONSECUTIVE_FAILURES (default 3), milliseconds for LATE"
    " (default 300,000), percent for SLOW (default 200). Other conditions have none."
)
_QUIET = (
    "How long no further message about equal events is sent after one: a duration in ISO 8601, from PT1M to P7D."
    " At its end, the events since are one message."
)
_ENABLED = "Whether the alert counts events and sends messages."


@strawberry.input(description="The alert to create.")
class CreateAlertInput:
    """The alert to create."""

    name: str = strawberry.field(description=_NAME)
    target: str = strawberry.field(description=_TARGET)
    condition: AlertCondition = strawberry.field(
        default=AlertCondition.FAILURE, description="When it sends a message. Default: FAILURE."
    )
    filter: FlowRunFilter | None = optional(_FILTER)
    threshold: int | None = optional(_THRESHOLD)
    quiet: str = optional(f"{_QUIET} Default: {DEFAULT_QUIET}.", default=DEFAULT_QUIET)
    enabled: bool = optional(_ENABLED, default=True)
    project_id: strawberry.ID | None = optional("Required for operator keys; by default the key's project.")

    def columns(self) -> dict[str, Any]:
        """Returns the values of the alert's columns, with `target` and `quiet`.

        Raises:
            InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
        """
        names = ("name", "target", "condition", "threshold", "quiet", "enabled")
        return {"run_filter": filter_text(self.filter), **{name: getattr(self, name) for name in names}}


@strawberry.input(description="Changes of an alert. A field that is null or left out stays as it is.")
class UpdateAlertInput:
    """Changes of an alert."""

    id: strawberry.ID = strawberry.field(description="The alert to change.")
    name: str | None = optional(_NAME)
    target: str | None = optional(_TARGET)
    condition: AlertCondition | None = optional(
        "When it sends a message. A new condition has its default threshold unless `threshold` is given."
    )
    filter: FlowRunFilter | None = optional(_FILTER)
    threshold: int | None = optional(_THRESHOLD)
    quiet: str | None = optional(_QUIET)
    enabled: bool | None = optional(f"{_ENABLED} An alert that is enabled counts events from now on.")

    def columns(self) -> dict[str, Any]:
        """Returns the new values of the alert's columns, with `target` and `quiet`.

        Raises:
            InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
        """
        names = ("name", "target", "condition", "threshold", "quiet", "enabled")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return given if self.filter is None else {**given, "run_filter": filter_text(self.filter)}
