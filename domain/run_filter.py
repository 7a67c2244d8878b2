"""Which runs are meant, and in which order: the same for lists, statistics, bulk operations and subscriptions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.enums import Environment, RunStatus, TriggerMethod


class Archived(StrEnum):
    """What to do with archived runs."""

    EXCLUDE = "EXCLUDE"
    INCLUDE = "INCLUDE"
    ONLY = "ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Fields are ANDed, the values inside one are ORed, except `tags`. None says nothing; an empty list matches
    nothing. Times are exclusive bounds, durations inclusive ones, in milliseconds."""

    project_ids: Sequence[UUID] | None = None
    ids: Sequence[UUID] | None = None
    flow_ids: Sequence[UUID] | None = None
    flow_version_ids: Sequence[UUID] | None = None
    statuses: Sequence[RunStatus] | None = None
    environments: Sequence[Environment] | None = None
    trigger_methods: Sequence[TriggerMethod] | None = None
    tags: Sequence[str] | None = None
    """The run has all of these."""
    any_tags: Sequence[str] | None = None
    """The run has one of these."""
    failed_step_name: str | None = None
    error_contains: str | None = None
    error_fingerprint: str | None = None
    external_ids: Sequence[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    min_duration_ms: int | None = None
    max_duration_ms: int | None = None
    metadata: str | None = None
    """JSON text; the run's metadata contains it."""
    parent_run_id: UUID | None = None
    roots_only: bool = False
    retry_of_id: UUID | None = None
    unrecovered: bool = False
    """Ended without success, and no retry of it succeeded."""
    archived: Archived = Archived.EXCLUDE

    @property
    def is_empty(self) -> bool:
        """Whether every run of the projects is meant, or every one that is not archived."""
        everything = RunFilter(project_ids=self.project_ids)
        return self in (everything, replace(everything, archived=Archived.INCLUDE))


class RunOrderField(StrEnum):
    """What runs are ordered by. A run that has not yet got there counts as the earliest, or the shortest."""

    CREATED_AT = "CREATED_AT"
    STARTED_AT = "STARTED_AT"
    FINISHED_AT = "FINISHED_AT"
    DURATION = "DURATION"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order of runs; those that are equal in it are ordered by their ID."""

    field: RunOrderField = RunOrderField.CREATED_AT
    descending: bool = True
