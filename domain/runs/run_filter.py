"""The filter of runs and their orders: the same for lists, statistics, bulk operations and subscriptions.

`RunFilter` is the only declaration of the filter's fields, in the language of filter_field.py. Its SQL conditions
(db/runs/filter.py), its predicates in memory (live/predicates.py) and the GraphQL input (schema/inputs/filters.py)
derive from it. A new field with an existing operator is declared only here. A new operator is also implemented in the
first two modules.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, get_type_hints
from uuid import UUID

from domain.described_enum import DescribedEnum
from domain.enums import Environment, RunStatus, TriggerMethod, WaitKind
from domain.ids import IdKind
from domain.runs.filter_field import Archived, FilterField, Operator, ValueType
from domain.runs.metadata_condition import MetadataCondition
from domain.text import fold
from domain.time import iso_duration

MIN_SEARCH = 3
"""Characters of the shortest text that is searched for: indexes hold parts of texts that are so long."""
_WITHIN = (
    "within this duration before now: a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`. In a stream, "
    "before the event."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """A filter of runs. Fields are ANDed; a field that is None or blank restricts nothing.

    A null in a column does not match a condition, and matches its negation: conditions have two values, never null.

    Bounds are inclusive, except instants "before": adjacent ranges of time share no run and miss none. Lists are kept
    as tuples, so that equal filters have equal hashes.
    """

    project_ids: Annotated[
        Sequence[UUID] | None,
        FilterField(
            Operator.ANY_OF,
            "project_id",
            IdKind.PROJECT,
            "Runs of these projects. Only for operator keys. Ignored for all other keys, which always see their own"
            " project.",
            is_scope=True,
        ),
    ] = None
    ids: Annotated[
        Sequence[UUID] | None, FilterField(Operator.ANY_OF, "id", IdKind.RUN, "Runs with one of these IDs.")
    ] = None
    flow_ids: Annotated[
        Sequence[UUID] | None, FilterField(Operator.ANY_OF, "flow_id", IdKind.FLOW, "Runs of one of these flows.")
    ] = None
    flow_version_ids: Annotated[
        Sequence[UUID] | None,
        FilterField(
            Operator.ANY_OF, "flow_version_id", IdKind.FLOW_VERSION, "Runs that execute one of these flow versions."
        ),
    ] = None
    statuses: Annotated[
        Sequence[RunStatus] | None,
        FilterField(Operator.ANY_OF, "status", RunStatus, "Runs that have one of these statuses."),
    ] = None
    waiting_for: Annotated[
        Sequence[WaitKind] | None,
        FilterField(
            Operator.WAITING_FOR,
            "waits_for",
            WaitKind,
            "Live runs that wait for one of these: see `FlowRun.waitingFor`. When a run begins to wait for a "
            "worker, a slot or a retry, there is no event: a stream reports the run at its next change.",
            also_reads=("status", "due_at", "blocked_by", "lease_token"),
        ),
    ] = None
    environments: Annotated[
        Sequence[Environment] | None,
        FilterField(Operator.ANY_OF, "environment", Environment, "Runs in one of these environments."),
    ] = None
    trigger_methods: Annotated[
        Sequence[TriggerMethod] | None,
        FilterField(Operator.ANY_OF, "trigger_method", TriggerMethod, "Runs started in one of these ways."),
    ] = None
    tags: Annotated[
        Sequence[str] | None, FilterField(Operator.HAS_ALL, "tags", ValueType.TEXT, "Runs that have all of these tags.")
    ] = None
    any_tags: Annotated[
        Sequence[str] | None,
        FilterField(Operator.HAS_ANY, "tags", ValueType.TEXT, "Runs that have at least one of these tags."),
    ] = None
    failed_step_name: Annotated[
        str | None,
        FilterField(
            Operator.EQUALS, "failed_step_name", ValueType.TEXT, "Runs that failed at the step with this name."
        ),
    ] = None
    error_contains: Annotated[
        str | None,
        FilterField(
            Operator.CONTAINS_TEXT,
            "error_message",
            ValueType.TEXT,
            "Runs whose error message contains this text (case-insensitive).",
        ),
    ] = None
    search: Annotated[
        str | None,
        FilterField(
            Operator.SEARCH,
            "",
            ValueType.SEARCHED_TEXT,
            "Runs of which an input, an output or a log message, of the run or of its steps, contains this text"
            f" (case-insensitive), at least {MIN_SEARCH} characters. Needs sight of payloads. Where the search is not"
            " switched on, the error is SEARCH_OFF. A stream searches what a run has at the time of its change: a text"
            " that is added in between is found at the next change.",
        ),
    ] = None
    error_fingerprint: Annotated[
        str | None,
        FilterField(
            Operator.EQUALS,
            "error_fingerprint",
            ValueType.TEXT,
            "Runs whose error has this fingerprint, as `FlowRun.error.fingerprint` returns it.",
        ),
    ] = None
    external_ids: Annotated[
        Sequence[str] | None,
        FilterField(Operator.ANY_OF, "external_id", ValueType.TEXT, "Runs with one of these external IDs."),
    ] = None
    sources: Annotated[
        Sequence[str] | None,
        FilterField(
            Operator.ANY_OF,
            "source",
            ValueType.TEXT,
            "Runs with one of these sources: see `FlowRun.source`.",
        ),
    ] = None
    schedule_ids: Annotated[
        Sequence[str] | None,
        FilterField(
            Operator.ANY_OF,
            "source",
            IdKind.SCHEDULE,
            "Runs started by one of these schedules, and their retries.",
            is_text=True,
        ),
    ] = None
    webhook_ids: Annotated[
        Sequence[str] | None,
        FilterField(
            Operator.ANY_OF,
            "source",
            IdKind.WEBHOOK,
            "Runs started by one of these webhooks, and their retries.",
            is_text=True,
        ),
    ] = None
    created_after: Annotated[
        datetime | None,
        FilterField(Operator.CREATED_AFTER, "id", ValueType.INSTANT, "Runs created at or after this instant."),
    ] = None
    created_before: Annotated[
        datetime | None,
        FilterField(Operator.CREATED_BEFORE, "id", ValueType.INSTANT, "Runs created before this instant."),
    ] = None
    started_after: Annotated[
        datetime | None,
        FilterField(Operator.AFTER, "started_at", ValueType.INSTANT, "Runs started at or after this instant."),
    ] = None
    started_before: Annotated[
        datetime | None,
        FilterField(Operator.BEFORE, "started_at", ValueType.INSTANT, "Runs started before this instant."),
    ] = None
    finished_after: Annotated[
        datetime | None,
        FilterField(Operator.AFTER, "finished_at", ValueType.INSTANT, "Runs finished at or after this instant."),
    ] = None
    finished_before: Annotated[
        datetime | None,
        FilterField(Operator.BEFORE, "finished_at", ValueType.INSTANT, "Runs finished before this instant."),
    ] = None
    updated_after: Annotated[
        datetime | None,
        FilterField(
            Operator.UPDATED_AFTER,
            "updated_at",
            ValueType.INSTANT,
            "Runs changed at or after this instant, as `FlowRun.updatedAt` says. For incremental synchronisation, order"
            " by UPDATED_AT.",
        ),
    ] = None
    updated_before: Annotated[
        datetime | None,
        FilterField(Operator.UPDATED_BEFORE, "updated_at", ValueType.INSTANT, "Runs last changed before this instant."),
    ] = None
    created_within: Annotated[
        str | None,
        FilterField(
            Operator.CREATED_WITHIN,
            "id",
            ValueType.DURATION,
            f"Runs created {_WITHIN}",
        ),
    ] = None
    started_within: Annotated[
        str | None, FilterField(Operator.WITHIN, "started_at", ValueType.DURATION, f"Runs started {_WITHIN}")
    ] = None
    finished_within: Annotated[
        str | None, FilterField(Operator.WITHIN, "finished_at", ValueType.DURATION, f"Runs finished {_WITHIN}")
    ] = None
    updated_within: Annotated[
        str | None, FilterField(Operator.UPDATED_WITHIN, "updated_at", ValueType.DURATION, f"Runs changed {_WITHIN}")
    ] = None
    min_duration_ms: Annotated[
        int | None,
        FilterField(
            Operator.LASTED_AT_LEAST,
            "duration_ms",
            ValueType.MILLISECONDS,
            "Runs that took at least this many milliseconds; live runs count until now.",
            also_reads=("started_at",),
            blank=0,
        ),
    ] = None
    max_duration_ms: Annotated[
        int | None,
        FilterField(
            Operator.LASTED_AT_MOST,
            "duration_ms",
            ValueType.MILLISECONDS,
            "Runs that took at most this many milliseconds; live runs count until now.",
            also_reads=("started_at",),
        ),
    ] = None
    metadata: Annotated[
        str | None,
        FilterField(
            Operator.CONTAINS_JSON,
            "metadata",
            ValueType.JSON_OBJECT,
            "Runs whose metadata contains this JSON object, at any depth.",
        ),
    ] = None
    metadata_conditions: Annotated[
        Sequence[MetadataCondition] | None,
        FilterField(
            Operator.METADATA,
            "metadata",
            ValueType.METADATA_CONDITION,
            "Runs whose metadata meets all of these conditions.",
        ),
    ] = None
    parent_run_id: Annotated[
        UUID | None, FilterField(Operator.EQUALS, "parent_run_id", IdKind.RUN, "Runs started by this run.")
    ] = None
    root_run_id: Annotated[
        UUID | None,
        FilterField(
            Operator.IN_FAMILY,
            "root_run_id",
            IdKind.RUN,
            "The run with this ID, which has no parent run, and all its descendants: the runs with this `rootRun`.",
        ),
    ] = None
    roots_only: Annotated[
        bool,
        FilterField(
            Operator.IS_NULL,
            "parent_run_id",
            ValueType.FLAG,
            "If true, only runs without a parent run. By default false.",
        ),
    ] = False
    retry_of_id: Annotated[
        UUID | None,
        FilterField(
            Operator.EQUALS, "retry_of_id", IdKind.RUN, "Direct retries of this run; not retries of its retries."
        ),
    ] = None
    rerun_of_id: Annotated[
        UUID | None, FilterField(Operator.EQUALS, "rerun_of_id", IdKind.RUN, "Direct reruns of this run.")
    ] = None
    unrecovered: Annotated[
        bool,
        FilterField(
            Operator.UNRECOVERED,
            "recovered_by_id",
            ValueType.FLAG,
            "If true, only runs that ended without success and have no successful retry. By default false.",
            also_reads=("status",),
        ),
    ] = False
    archived: Annotated[
        Archived,
        FilterField(
            Operator.ARCHIVED,
            "archived_at",
            Archived,
            "How archived runs are treated. By default EXCLUDE; with `ids`, and within `not` and `or`, INCLUDE.",
            blank=Archived.INCLUDE,
            is_scope=True,
        ),
    ] = Archived.EXCLUDE
    not_: Annotated[
        "RunFilter | None",
        FilterField(Operator.NOT, "", ValueType.FILTER, "Runs that do not match this filter. Ignored if it is empty."),
    ] = None
    or_: Annotated[
        "Sequence[RunFilter] | None",
        FilterField(
            Operator.OR,
            "",
            ValueType.FILTER,
            "Runs that match at least one of these filters. Ignored if one of them is empty, because every run "
            "matches it.",
        ),
    ] = None

    @classmethod
    def part(cls, **values: Any) -> "RunFilter":
        """Returns a filter for use in `not_` and `or_`. By default it includes archived runs."""
        return cls(**{"archived": Archived.INCLUDE, **values})

    def __post_init__(self) -> None:
        for name in _LISTS:
            if isinstance(values := getattr(self, name), list):
                object.__setattr__(self, name, tuple(values))

    def restrictions(self) -> Iterator[tuple[FilterField, Any]]:
        """Yields the fields that restrict the runs, each with its value, in the order of their declaration."""
        for name, declared in FILTER_FIELDS.items():
            if declared.restricts(value := getattr(self, name)):
                yield declared, value

    def at(self, now: datetime) -> "RunFilter":
        """Returns the filter with instants in place of its durations before `now`. It matches the same runs then."""
        values: dict[str, Any] = {}
        for name in ("created", "started", "finished", "updated"):
            within, after = getattr(self, f"{name}_within"), getattr(self, f"{name}_after")
            if within is not None:
                since = iso_duration.parse(within).before(now)
                values |= {f"{name}_within": None, f"{name}_after": since if after is None else max(after, since)}
        return replace(self, **values) if values else self

    def without_blanks(self) -> "RunFilter":
        """Returns the filter with None for each blank value. It matches the same runs."""
        blanks: dict[str, Any] = {
            name: None
            for name, declared in FILTER_FIELDS.items()
            if (value := getattr(self, name)) is not None
            and self.__dataclass_fields__[name].default is None
            and not declared.restricts(value)
        }
        return replace(self, **blanks) if blanks else self

    def positive(self) -> "RunFilter":
        """Returns the filter with the other values of an enum in place of a `not` of some. It matches the same runs.

        "All but these" can be searched in no index; the other values can.
        """
        if self.not_ is None:
            return self
        excluded = [name for name, declared in FILTER_FIELDS.items() if declared.restricts(getattr(self.not_, name))]
        if len(excluded) != 1 or not (all_values := FILTER_FIELDS[excluded[0]].all_values):
            return self
        name, allowed = excluded[0], getattr(self, excluded[0])
        others = (each for each in all_values if each not in getattr(self.not_, name))
        values: dict[str, Any] = {name: tuple(each for each in others if allowed is None or each in allowed)}
        return replace(self, not_=None, **values)

    @property
    def is_empty(self) -> bool:
        """True if the filter matches every run of its projects, or every one that is not archived."""
        return self.is_wide and self.archived is not Archived.ONLY

    @property
    def is_wide(self) -> bool:
        """True if the filter restricts nothing but the projects, and whether runs are archived."""
        return not any(declared.selects(value) for declared, value in self.restrictions())

    @property
    def matches_all(self) -> bool:
        """True if the filter restricts nothing."""
        return next(self.restrictions(), None) is None

    @property
    def searched(self) -> frozenset[str]:
        """The folded texts that the filter and its parts search for in inputs, outputs and logs."""
        parts = [*(self.or_ or ()), *([self.not_] if self.not_ is not None else [])]
        own = (fold(self.search),) if self.search else ()
        return frozenset(own).union(*(part.searched for part in parts))

    @property
    def matches_nothing(self) -> bool:
        """True if no run can match the filter, as for an empty list."""
        return any(declared.matches_nothing(value) for declared, value in self.restrictions())


FILTER_FIELDS: Mapping[str, FilterField] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(RunFilter, include_extras=True).items()
}
"""The declarations of `RunFilter`, by attribute."""
_LISTS = tuple(name for name, declared in FILTER_FIELDS.items() if declared.is_list)
"""The attributes that are lists."""


class RunOrderField(DescribedEnum):
    """The value by which runs are ordered. A run without such a value counts as the earliest or the shortest."""

    CREATED_AT = "CREATED_AT", "The time at which the run was created."
    STARTED_AT = "STARTED_AT", "The time at which a worker began to execute the run."
    FINISHED_AT = "FINISHED_AT", "The time at which the run ended."
    DURATION = "DURATION", "The time from the run's start to its end, or until now."
    UPDATED_AT = "UPDATED_AT", "The time of the run's last change."


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order of runs. Runs with equal values are ordered by their IDs."""

    field: RunOrderField = RunOrderField.CREATED_AT
    descending: bool = True
