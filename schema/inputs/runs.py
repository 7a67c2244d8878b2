"""The input types, and what they mean to the rest of the service."""

from typing import Any

import strawberry
from strawberry.scalars import JSON

from resolvers.start import StartRequest
from schema.enums import (
    Environment,
    MissedFires,
    QuotaPeriod,
    TriggerMethod,
)


def _arg(description: str) -> Any:
    return strawberry.field(default=None, description=description)


def _unset_arg(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="What is to change in a project; what is left out stays.")
class UpdateProjectInput:
    """What is to change in a project."""

    project_id: strawberry.ID | None = _arg("For the operator's key: which project. Other keys change their own.")
    max_concurrent_runs: int | None = _unset_arg("Runs that may be RUNNING at once, from 1; null for no limit.")
    quota_runs: int | None = _unset_arg(
        "Runs that may be started in one period, from 1; null, together with the period, for no quota. A quota set"
        " within a period counts from then on."
    )
    quota_period: QuotaPeriod | None = _unset_arg(
        "How long a quota lasts; null, together with `quotaRuns`, for no quota."
    )
    retry_limit: int | None = _unset_arg("Retries that may follow a run in one chain, from 0 to 1000.")
    retention_days: int | None = _unset_arg(
        "Days for which step data of runs are kept after their end, from 1; null: as the service is set."
    )

    def values(self) -> dict[str, Any]:
        """The columns to set."""
        return given(
            max_concurrent_runs=self.max_concurrent_runs,
            quota_runs=self.quota_runs,
            quota_period=self.quota_period,
            retry_limit=self.retry_limit,
            retention_days=self.retention_days,
        )


def given(**values: Any) -> dict[str, Any]:
    """Those of `values` that the client gave; null is a value, and not the same as none."""
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}


@strawberry.input(description="The run that is wanted.")
class StartRunInput:
    """The run that is wanted."""

    flow_id: strawberry.ID = strawberry.field(description="The flow; its published version is executed.")
    input: JSON = strawberry.field(default_factory=dict, description="What the run is given.")
    environment: Environment = strawberry.field(
        default=Environment.PRODUCTION, description="A live execution, or a trial."
    )
    tags: list[str] = strawberry.field(default_factory=list, description="Words by which to find the run.")
    metadata: JSON = strawberry.field(default_factory=dict, description="A JSON object to attach to the run.")
    trigger_method: TriggerMethod | None = _arg("What started the run; by default API, or PARENT with a parent.")
    parent_run_id: strawberry.ID | None = _arg("The run that starts this one; comes before `ap-parent-run-id`.")
    fail_parent_on_failure: bool | None = _arg(
        "Whether the parent fails when this run does; comes before the header `ap-fail-parent-on-failure`."
    )
    external_id: str | None = _arg("What you call the run.")
    source: str | None = _arg("Where the run comes from.")
    idempotency_key: str | None = _arg("Under one key a project starts one run; asking again returns it.")
    wait_ms: int | None = _arg("Answer when the run is final, or after so many milliseconds.")

    def request(self) -> StartRequest:
        """What is asked of the service."""
        return StartRequest(
            flow_id=self.flow_id,
            input=self.input,
            environment=self.environment,
            tags=self.tags,
            metadata=self.metadata,
            trigger_method=self.trigger_method,
            parent_run_id=self.parent_run_id,
            fail_parent_on_failure=self.fail_parent_on_failure,
            external_id=self.external_id,
            source=self.source,
            idempotency_key=self.idempotency_key,
        )


@strawberry.input(description="The schedule that is wanted.")
class CreateScheduleInput:
    """The schedule that is wanted."""

    flow_id: strawberry.ID = strawberry.field(description="The flow whose published version the runs execute.")
    cron: str = strawberry.field(
        description="Minute, hour, day of month, month and day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`,"
        " `@yearly`."
    )
    time_zone: str = strawberry.field(default="UTC", description="An IANA time zone, such as `Europe/Berlin`.")
    name: str | None = _arg("What to call it.")
    enabled: bool = strawberry.field(default=True, description="Whether it starts runs.")
    missed_fires: MissedFires = strawberry.field(
        default=MissedFires.SKIP,
        description="What becomes of fire times that pass while no worker runs: FIRE_ONCE"
        " starts a run for the latest, FIRE_ALL for each of the latest 100.",
    )
    input: JSON = strawberry.field(default_factory=dict, description="What the runs are given.")
    environment: Environment = strawberry.field(
        default=Environment.PRODUCTION, description="Live executions, or trials."
    )
    tags: list[str] = strawberry.field(default_factory=list, description="Words by which to find the runs.")
    metadata: JSON = strawberry.field(default_factory=dict, description="A JSON object to attach to the runs.")

    def columns(self) -> dict[str, Any]:
        """The columns that are set."""
        return {name: getattr(self, name) for name in _SCHEDULE_COLUMNS}


@strawberry.input(description="What to change about a schedule. What is left out, or null, stays as it is.")
class UpdateScheduleInput:
    """What to change about a schedule."""

    id: strawberry.ID = strawberry.field(description="The schedule.")
    cron: str | None = _arg("Its new cron expression.")
    time_zone: str | None = _arg("Its new IANA time zone.")
    name: str | None = _arg("Its new name.")
    enabled: bool | None = _arg("Whether it starts runs.")
    missed_fires: MissedFires | None = _arg("What becomes of fire times that pass while no worker runs.")
    input: JSON | None = _arg("What the runs are given from now on.")
    environment: Environment | None = _arg("Live executions, or trials.")
    tags: list[str] | None = _arg("Words by which to find the runs.")
    metadata: JSON | None = _arg("A JSON object to attach to the runs.")

    def columns(self) -> dict[str, Any]:
        """The columns that are set."""
        return {name: value for name in _SCHEDULE_COLUMNS if (value := getattr(self, name)) is not None}


_SCHEDULE_COLUMNS = (
    "cron",
    "time_zone",
    "name",
    "enabled",
    "missed_fires",
    "input",
    "environment",
    "tags",
    "metadata",
)
