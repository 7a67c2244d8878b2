"""The input types, and what they mean to the rest of the service."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from db.flows import FlowFilter as WantedFlows
from domain import ids, json_codec
from domain.errors import InvalidArgumentError
from domain.ids import IdKind
from domain.run_filter import RunFilter, RunOrder
from resolvers.start import StartRequest
from schema.enums import (
    Archived,
    Environment,
    MissedFires,
    OrderDirection,
    QuotaPeriod,
    RunOrderField,
    RunStatus,
    TriggerMethod,
)
from schema.scalars import BigInt

MAX_LISTED = 1_000
"""Values in one list of a filter."""


def _arg(description: str) -> Any:
    return strawberry.field(default=None, description=description)


def _unset_arg(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(
    description="Which runs are meant. Fields are ANDed, the values in a list are ORed. An empty list matches nothing."
)
class FlowRunFilter:
    """Which runs are meant."""

    project_ids: list[strawberry.ID] | None = _arg(
        "For the operator's key; other keys see their own project whatever stands here."
    )
    ids: list[strawberry.ID] | None = _arg("These runs.")
    flow_ids: list[strawberry.ID] | None = _arg("Runs of these flows.")
    flow_version_ids: list[strawberry.ID] | None = _arg("Runs of these flow versions.")
    statuses: list[RunStatus] | None = _arg("Runs that have one of these statuses.")
    environments: list[Environment] | None = _arg("Runs in one of these environments.")
    trigger_methods: list[TriggerMethod] | None = _arg("Runs started in one of these ways.")
    tags: list[str] | None = _arg("Runs that have all of these tags.")
    any_tags: list[str] | None = _arg("Runs that have at least one of these tags.")
    failed_step_name: str | None = _arg("Runs that failed at the step of this name.")
    error_contains: str | None = _arg("Runs whose error message contains this; A to Z in capitals or not.")
    error_fingerprint: str | None = _arg("Runs that ended with the error of this fingerprint.")
    external_ids: list[str] | None = _arg("Runs that their starter calls so.")
    created_after: datetime | None = _arg("Runs created after this instant.")
    created_before: datetime | None = _arg("Runs created before this instant.")
    started_after: datetime | None = _arg("Runs started after this instant.")
    started_before: datetime | None = _arg("Runs started before this instant.")
    finished_after: datetime | None = _arg("Runs finished after this instant.")
    finished_before: datetime | None = _arg("Runs finished before this instant.")
    min_duration_ms: BigInt | None = _arg("Runs that took, or have taken until now, at least so many milliseconds.")
    max_duration_ms: BigInt | None = _arg("Runs that took, or have taken until now, at most so many milliseconds.")
    metadata: JSON | None = _arg("Runs whose metadata contains this JSON object, at any depth.")
    parent_run_id: strawberry.ID | None = _arg("Runs that this run started.")
    roots_only: bool | None = _arg("Runs that no other run started.")
    retry_of_id: strawberry.ID | None = _arg("Runs that retry this one directly.")
    unrecovered: bool | None = _arg("Runs that ended without success, and of which no retry succeeded.")
    archived: Archived | None = _arg("What to do with archived runs; by default they are left out.")
    include_archived: bool | None = _arg("The same as `archived: INCLUDE`; `archived` comes first.")

    def wanted(self) -> RunFilter:
        """The filter, with its IDs read and its lists bounded.

        Raises:
            InvalidIdError, InvalidArgumentError.
        """
        return RunFilter(
            project_ids=_keys(IdKind.PROJECT, "projectIds", self.project_ids),
            ids=_keys(IdKind.RUN, "ids", self.ids),
            flow_ids=_keys(IdKind.FLOW, "flowIds", self.flow_ids),
            flow_version_ids=_keys(IdKind.FLOW_VERSION, "flowVersionIds", self.flow_version_ids),
            statuses=self.statuses,
            environments=self.environments,
            trigger_methods=self.trigger_methods,
            tags=_words("tags", self.tags),
            any_tags=_words("anyTags", self.any_tags),
            failed_step_name=_optional_word("failedStepName", self.failed_step_name),
            error_contains=_optional_word("errorContains", self.error_contains),
            error_fingerprint=_optional_word("errorFingerprint", self.error_fingerprint),
            external_ids=_words("externalIds", self.external_ids),
            created_after=self.created_after,
            created_before=self.created_before,
            started_after=self.started_after,
            started_before=self.started_before,
            finished_after=self.finished_after,
            finished_before=self.finished_before,
            min_duration_ms=_duration("minDurationMs", self.min_duration_ms),
            max_duration_ms=_duration("maxDurationMs", self.max_duration_ms),
            metadata=_json_object(self.metadata),
            parent_run_id=_key(IdKind.RUN, self.parent_run_id),
            roots_only=bool(self.roots_only),
            retry_of_id=_key(IdKind.RUN, self.retry_of_id),
            unrecovered=bool(self.unrecovered),
            archived=self.archived or (Archived.INCLUDE if self.include_archived else Archived.EXCLUDE),
        )

    @property
    def constrains_archived(self) -> bool:
        """Whether it says what to do with archived runs."""
        return self.archived is not None or self.include_archived is not None

    def text(self) -> str:
        """JSON text of what is given."""
        given = {to_camel_case(each.name): getattr(self, each.name) for each in fields(self)}
        told = {name: value for name, value in given.items() if value is not None}
        return json_codec.encode(told, limit=json_codec.MAX_INPUT_BYTES, what="filter")


@strawberry.input(description="An order of runs; by default the newest come first.")
class FlowRunOrder:
    """An order of runs."""

    field: RunOrderField = strawberry.field(
        default=RunOrderField.CREATED_AT,
        description="What to order by. Runs that have no such time yet come last when descending.",
    )
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Which way.")

    def order(self) -> RunOrder:
        """The order meant."""
        return RunOrder(self.field, self.direction is OrderDirection.DESC)


@strawberry.input(description="Which flows are meant. Fields are ANDed. An empty list matches nothing.")
class FlowFilter:
    """Which flows are meant."""

    project_ids: list[strawberry.ID] | None = _arg("For the operator's key: flows of these projects.")
    ids: list[strawberry.ID] | None = _arg("These flows.")
    name_contains: str | None = _arg("Flows whose name contains this, in capitals or not.")
    enabled: bool | None = _arg("Flows that are enabled, or that are not.")
    published: bool | None = _arg("Flows that have a published version, or that have none.")

    def wanted(self) -> WantedFlows:
        """The filter, with its IDs read and its lists bounded.

        Raises:
            InvalidIdError, InvalidArgumentError.
        """
        return WantedFlows(
            project_ids=_keys(IdKind.PROJECT, "projectIds", self.project_ids),
            ids=_keys(IdKind.FLOW, "ids", self.ids),
            name_contains=_optional_word("nameContains", self.name_contains),
            enabled=self.enabled,
            published=self.published,
        )


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


def bounded_ids(name: str, texts: Sequence[str]) -> Sequence[str]:
    """IDs of runs, as they were given in the argument `name`.

    Raises:
        InvalidIdError, InvalidArgumentError.
    """
    _keys(IdKind.RUN, name, texts)
    return texts


def _key(kind: IdKind, text: str | None) -> UUID | None:
    return None if text is None else ids.decode(kind, text)


def _keys(kind: IdKind, name: str, texts: Sequence[str] | None) -> Sequence[UUID] | None:
    return None if texts is None else [ids.decode(kind, text) for text in _bounded(name, texts)]


def _words(name: str, words: Sequence[str] | None) -> Sequence[str] | None:
    return (
        None if words is None else [word for each in _bounded(name, words) if (word := _word(name, each)) is not None]
    )


def _optional_word(name: str, word: str | None) -> str | None:
    return None if word is None else _word(name, word)


def _word(name: str, word: str) -> str:
    # PostgreSQL's text cannot hold it, so nothing that is kept contains it either.
    if "\0" in word or "\\u0000" in word:
        raise InvalidArgumentError(f"`{name}` must not contain the character U+0000.")
    return word


def _duration(name: str, milliseconds: int | None) -> int | None:
    if milliseconds is not None and milliseconds < 0:
        raise InvalidArgumentError(f"`{name}` must not be negative.")
    return milliseconds


def _bounded(name: str, values: Sequence[str]) -> Sequence[str]:
    if len(values) > MAX_LISTED:
        raise InvalidArgumentError(f"`{name}` takes at most {MAX_LISTED:,} values, got {len(values):,}.")
    return values


def _json_object(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidArgumentError("`metadata` must be a JSON object.")
    return _word("metadata", json_codec.encode(value, limit=json_codec.MAX_METADATA_BYTES, what="metadata"))
