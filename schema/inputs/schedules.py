"""Inputs of the mutations of schedules."""

from typing import Any

import strawberry
from strawberry.scalars import JSON

from db import schedules
from domain.ids import IdKind
from schema.arguments import given, optional
from schema.enums import Environment, MissedFires, ScheduleOverlap
from schema.inputs.filters import decode_ids

_COLUMNS = (
    "cron",
    "time_zone",
    "name",
    "enabled",
    "missed_fires",
    "overlap",
    "input",
    "environment",
    "tags",
    "metadata",
)
"""The columns of a schedule that a client sets."""

_CRON = (
    "A cron expression: minute, hour, day of month, month and day of week; or `@hourly`, `@daily`, `@weekly`, "
    "`@monthly`, `@yearly`. If both day of month and day of week are restricted, one of them suffices: `0 9 1-7 "
    "* MON` fires on days 1 to 7 or on Mondays. `MON#1` is the first Monday of a month, `1L` the last one, `L` "
    "its last day. If one of the two fields begins with `*`, such as `*/2`, both must match."
)
_TIME_ZONE = "The IANA time zone of the cron expression, such as `Europe/Berlin`."
_ENABLED = "True: the schedule starts runs."
_MISSED_FIRES = (
    "How fire times that passed while no worker ran are handled: SKIP starts no run for them, FIRE_ONCE starts "
    "one for the latest, FIRE_ALL starts one for each of the latest 100."
)
_OVERLAP = (
    "How a fire time is handled while a run of the schedule is QUEUED, RUNNING or PAUSED: QUEUE starts another "
    "run, SKIP starts none, CANCEL_PREVIOUS cancels the live runs and starts one."
)
_INPUT = "The input of the runs, at most 1 MiB. It must match the `inputSchema` of the flow's published version."
_ENVIRONMENT = "PRODUCTION for real executions, TESTING for trials."
_TAGS = "The tags of the runs, at most 50, each of 1 to 200 characters."
_METADATA = "The metadata of the runs: a JSON object, at most 64 KiB."


@strawberry.input(description="A filter of schedules. Fields are ANDed; an empty list matches no schedule.")
class ScheduleFilter:
    """A filter of schedules."""

    project_ids: list[strawberry.ID] | None = optional(
        "Schedules of these projects. Only for operator keys. Ignored for all other keys, which always see their own"
        " project."
    )
    flow_ids: list[strawberry.ID] | None = optional("Schedules of one of these flows.")
    enabled: bool | None = optional("If true, only enabled schedules; if false, only disabled ones.")

    def to_domain(self) -> schedules.ScheduleFilter:
        """Returns the filter with its IDs decoded.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long.
        """
        project_ids, flow_ids = self.project_ids, self.flow_ids
        return schedules.ScheduleFilter(
            project_ids=None if project_ids is None else decode_ids(IdKind.PROJECT, "projectIds", project_ids),
            flow_ids=None if flow_ids is None else decode_ids(IdKind.FLOW, "flowIds", flow_ids),
            enabled=self.enabled,
        )


@strawberry.input(description="The schedule to create.")
class CreateScheduleInput:
    """The schedule to create."""

    flow_id: strawberry.ID = strawberry.field(description="The flow. Runs execute its published version.")
    cron: str = strawberry.field(description=_CRON)
    time_zone: str = optional(_TIME_ZONE, "UTC")
    name: str | None = optional("The display name: 1 to 200 characters.")
    enabled: bool = optional(_ENABLED, default=True)
    missed_fires: MissedFires = optional(_MISSED_FIRES, MissedFires.SKIP)
    overlap: ScheduleOverlap = optional(_OVERLAP, ScheduleOverlap.QUEUE)
    input: JSON | None = optional(f"{_INPUT} Default: `{{}}`.")
    environment: Environment = optional(_ENVIRONMENT, Environment.PRODUCTION)
    tags: list[str] = strawberry.field(default_factory=list, description=_TAGS)
    metadata: JSON | None = optional(f"{_METADATA} Default: `{{}}`.")

    def columns(self) -> dict[str, Any]:
        """Returns the values of the schedule's columns."""
        values = {name: getattr(self, name) for name in _COLUMNS}
        return values | {name: {} for name in ("input", "metadata") if values[name] is None}


@strawberry.input(description="Changes of a schedule. A field that is null or omitted stays unchanged, except `name`.")
class UpdateScheduleInput:
    """Changes of a schedule."""

    id: strawberry.ID = strawberry.field(description="The schedule to change.")
    cron: str | None = optional(_CRON)
    time_zone: str | None = optional(_TIME_ZONE)
    name: str | None = optional("The display name: 1 to 200 characters. Null removes it.", strawberry.UNSET)
    enabled: bool | None = optional(_ENABLED)
    missed_fires: MissedFires | None = optional(_MISSED_FIRES)
    overlap: ScheduleOverlap | None = optional(_OVERLAP)
    input: JSON | None = optional(_INPUT)
    environment: Environment | None = optional(_ENVIRONMENT)
    tags: list[str] | None = optional(_TAGS)
    metadata: JSON | None = optional(_METADATA)

    cancel_backlog: bool = optional(
        "True: runs of the schedule that are QUEUED and have not begun are cancelled. The schedule must be "
        "disabled. Default: false.",
        default=False,
    )

    def columns(self) -> dict[str, Any]:
        """Returns the new values of the schedule's columns."""
        changes = {name: value for name in _COLUMNS if (value := getattr(self, name)) is not None}
        return given(**changes, **({"name": None} if self.name is None else {}))
