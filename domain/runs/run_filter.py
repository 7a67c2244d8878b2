"""The filter of runs and their orders: the same for lists, statistics, bulk operations and subscriptions.

`RunFilter` is the one declaration of the filter's fields. Its SQL conditions (db/runs/filter.py), its predicates in
memory (live/predicates.py) and the GraphQL input (schema/inputs/filters.py) are derived from it: a new field over an
operator that exists is declared here and nowhere else. A new operator is implemented in the first two modules as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Annotated, Any, get_type_hints
from uuid import UUID

from domain.enums import Environment, RunStatus, TriggerMethod
from domain.ids import IdKind


class Archived(StrEnum):
    """Whether archived runs are left out, included, or the only ones."""

    EXCLUDE = "EXCLUDE"
    INCLUDE = "INCLUDE"
    ONLY = "ONLY"


class Operator(Enum):
    """How the value of a filter field is compared with a column of the run. Null in the column matches nothing."""

    ANY_OF = auto()
    """The column equals one of the values; no run matches an empty list."""
    EQUALS = auto()
    AFTER = auto()
    """The instant in the column is later."""
    BEFORE = auto()
    """The instant in the column is earlier."""
    CREATED_AFTER = auto()
    """The instant in the UUIDv7 of the column is later."""
    CREATED_BEFORE = auto()
    """The instant in the UUIDv7 of the column is earlier."""
    LASTED_AT_LEAST = auto()
    """The run took, or has taken until now, at least so many milliseconds."""
    LASTED_AT_MOST = auto()
    """The run took, or has taken until now, at most so many milliseconds."""
    HAS_ALL = auto()
    """The list in the column has all of the values; no run matches an empty list."""
    HAS_ANY = auto()
    """The list in the column has at least one of the values."""
    CONTAINS_TEXT = auto()
    """The text in the column contains the value. ASCII letters match in either case, other letters in their own."""
    CONTAINS_JSON = auto()
    """The JSON document in the column contains the value, a JSON document, as PostgreSQL's `@>` defines it."""
    IS_NULL = auto()
    """The column is null."""
    UNRECOVERED = auto()
    """The run ended without success, and no retry of it succeeded."""
    ARCHIVED = auto()
    """The column is null (EXCLUDE) or not null (ONLY)."""


LIST_OPERATORS = frozenset({Operator.ANY_OF, Operator.HAS_ALL, Operator.HAS_ANY})
"""The operators that take a list of values."""


class ValueType(Enum):
    """The type of a filter value that is neither an ID nor an enum."""

    TEXT = auto()
    INSTANT = auto()
    MILLISECONDS = auto()
    """A whole number, not negative."""
    FLAG = auto()
    JSON_OBJECT = auto()
    """A JSON object; the filter holds its text."""


@dataclass(frozen=True, slots=True)
class FilterField:
    """The declaration of one field of a filter."""

    operator: Operator
    column: str
    """The column of `flow_run` that the operator compares."""
    value_type: ValueType | IdKind | type[StrEnum]
    """The type of the value; of each value, if the operator takes a list."""
    description: str
    """The description of the field in the GraphQL schema."""
    also_reads: tuple[str, ...] = ()
    """Further columns of `flow_run` that the operator reads."""
    unrestricted: object = None
    """A value that, like None, restricts nothing."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the operator reads."""
        return (self.column, *self.also_reads)

    @property
    def is_list(self) -> bool:
        """True if the operator takes a list of values."""
        return self.operator in LIST_OPERATORS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """A filter of runs. Fields are ANDed; a field that is None restricts nothing.

    Instants are exclusive bounds, durations inclusive ones. Lists are kept as tuples, so that equal filters have equal
    hashes.
    """

    project_ids: Annotated[
        Sequence[UUID] | None,
        FilterField(
            Operator.ANY_OF,
            "project_id",
            IdKind.PROJECT,
            "Runs of these projects. Only for operator keys. Ignored for all other keys, which always see their own"
            " project.",
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
            "Runs whose error message contains this text (ASCII case-insensitive).",
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
    created_after: Annotated[
        datetime | None,
        FilterField(Operator.CREATED_AFTER, "id", ValueType.INSTANT, "Runs created after this instant (exclusive)."),
    ] = None
    created_before: Annotated[
        datetime | None,
        FilterField(Operator.CREATED_BEFORE, "id", ValueType.INSTANT, "Runs created before this instant (exclusive)."),
    ] = None
    started_after: Annotated[
        datetime | None,
        FilterField(Operator.AFTER, "started_at", ValueType.INSTANT, "Runs started after this instant (exclusive)."),
    ] = None
    started_before: Annotated[
        datetime | None,
        FilterField(Operator.BEFORE, "started_at", ValueType.INSTANT, "Runs started before this instant (exclusive)."),
    ] = None
    finished_after: Annotated[
        datetime | None,
        FilterField(Operator.AFTER, "finished_at", ValueType.INSTANT, "Runs finished after this instant (exclusive)."),
    ] = None
    finished_before: Annotated[
        datetime | None,
        FilterField(
            Operator.BEFORE, "finished_at", ValueType.INSTANT, "Runs finished before this instant (exclusive)."
        ),
    ] = None
    min_duration_ms: Annotated[
        int | None,
        FilterField(
            Operator.LASTED_AT_LEAST,
            "duration_ms",
            ValueType.MILLISECONDS,
            "Runs that took, or have taken until now, at least this many milliseconds.",
            also_reads=("started_at",),
        ),
    ] = None
    max_duration_ms: Annotated[
        int | None,
        FilterField(
            Operator.LASTED_AT_MOST,
            "duration_ms",
            ValueType.MILLISECONDS,
            "Runs that took, or have taken until now, at most this many milliseconds.",
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
    parent_run_id: Annotated[
        UUID | None, FilterField(Operator.EQUALS, "parent_run_id", IdKind.RUN, "Runs started by this run.")
    ] = None
    roots_only: Annotated[
        bool,
        FilterField(
            Operator.IS_NULL,
            "parent_run_id",
            ValueType.FLAG,
            "If true, only runs without a parent run. By default false.",
            unrestricted=False,
        ),
    ] = False
    retry_of_id: Annotated[
        UUID | None,
        FilterField(
            Operator.EQUALS, "retry_of_id", IdKind.RUN, "Direct retries of this run; not retries of its retries."
        ),
    ] = None
    unrecovered: Annotated[
        bool,
        FilterField(
            Operator.UNRECOVERED,
            "recovered_by_id",
            ValueType.FLAG,
            "If true, only runs that ended without success and have no successful retry. By default false.",
            also_reads=("status",),
            unrestricted=False,
        ),
    ] = False
    archived: Annotated[
        Archived,
        FilterField(
            Operator.ARCHIVED,
            "archived_at",
            Archived,
            "Whether archived runs are left out, included, or the only ones. By default EXCLUDE.",
            unrestricted=Archived.INCLUDE,
        ),
    ] = Archived.EXCLUDE

    def __post_init__(self) -> None:
        for name, declared in FILTER_FIELDS.items():
            if declared.is_list and isinstance(values := getattr(self, name), list):
                object.__setattr__(self, name, tuple(values))

    def restrictions(self) -> Iterator[tuple[FilterField, Any]]:
        """The fields that restrict the runs, each with its value."""
        for name, declared in FILTER_FIELDS.items():
            if (value := getattr(self, name)) is not None and value != declared.unrestricted:
                yield declared, value

    @property
    def is_empty(self) -> bool:
        """True if the filter matches every run of its projects, or every one that is not archived."""
        everything = RunFilter(project_ids=self.project_ids)
        return self in (everything, replace(everything, archived=Archived.INCLUDE))


FILTER_FIELDS: Mapping[str, FilterField] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(RunFilter, include_extras=True).items()
}
"""The declarations of `RunFilter`, by attribute."""


class RunOrderField(StrEnum):
    """The value that runs are ordered by. A run that has no such value yet counts as the earliest or the shortest."""

    CREATED_AT = "CREATED_AT"
    STARTED_AT = "STARTED_AT"
    FINISHED_AT = "FINISHED_AT"
    DURATION = "DURATION"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """An order of runs. Runs with equal values are ordered by their IDs."""

    field: RunOrderField = RunOrderField.CREATED_AT
    descending: bool = True
