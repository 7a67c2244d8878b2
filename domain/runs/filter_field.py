"""The language in which filters of runs declare their fields: operators, types of values, `FilterField`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from domain.described_enum import DescribedEnum
from domain.ids import IdKind


class Archived(DescribedEnum):
    """How a filter treats archived runs."""

    EXCLUDE = "EXCLUDE", "Matches runs that are not archived."
    INCLUDE = "INCLUDE", "Matches all runs, archived or not."
    ONLY = "ONLY", "Matches archived runs only."


class Operator(Enum):
    """How the value of a filter field is compared with a column of the run. A null in the column matches nothing."""

    ANY_OF = auto()
    """The column equals one of the values; no run matches an empty list."""
    EQUALS = auto()
    AFTER = auto()
    """The instant in the column is the same or later."""
    BEFORE = auto()
    """The instant in the column is earlier."""
    CREATED_AFTER = auto()
    """The instant in the UUIDv7 of the column is the same or later."""
    CREATED_BEFORE = auto()
    """The instant in the UUIDv7 of the column is earlier."""
    UPDATED_AFTER = auto()
    """Like AFTER, for the last change of the run."""
    UPDATED_BEFORE = auto()
    """Like BEFORE, for the last change of the run."""
    WITHIN = auto()
    """The instant in the column is at most as long ago as the value says."""
    CREATED_WITHIN = auto()
    """The instant in the UUIDv7 of the column is at most as long ago as the value says."""
    UPDATED_WITHIN = auto()
    """Like WITHIN, for the last change of the run."""
    LASTED_AT_LEAST = auto()
    """The run took, or has taken until now, at least this many milliseconds."""
    LASTED_AT_MOST = auto()
    """The run took, or has taken until now, at most this many milliseconds."""
    HAS_ALL = auto()
    """The list in the column has all of the values; no run matches an empty list."""
    HAS_ANY = auto()
    """The list in the column has at least one of the values."""
    CONTAINS_TEXT = auto()
    """The text in the column contains the value; upper and lower case count as equal: see `domain.text.fold`."""
    SEARCH = auto()
    """An input, an output or a log message of the run contains the value; upper and lower case count as equal."""
    CONTAINS_JSON = auto()
    """The JSON document in the column contains the value, a JSON document, as PostgreSQL's `@>` defines it."""
    METADATA = auto()
    """The JSON document in the column meets all of the conditions."""
    IS_NULL = auto()
    """The column is null."""
    IN_FAMILY = auto()
    """The topmost ancestor, whose ID the column holds, is the value."""
    WAITING_FOR = auto()
    """The run waits for one of the values: see `domain.runs.wait`."""
    UNRECOVERED = auto()
    """The run ended without success, and has no successful retry."""
    ARCHIVED = auto()
    """The column is null (EXCLUDE) or not null (ONLY)."""
    NOT = auto()
    """The run does not match the value, which is a filter. The operator reads the columns of that filter."""
    OR = auto()
    """The run matches at least one of the values, which are filters; no run matches an empty list."""


LIST_OPERATORS = frozenset(
    {
        Operator.ANY_OF,
        Operator.HAS_ALL,
        Operator.HAS_ANY,
        Operator.METADATA,
        Operator.WAITING_FOR,
        Operator.OR,
    }
)
"""The operators that take a list of values."""


class ValueType(Enum):
    """The type of a filter value that is neither an ID nor an enum."""

    TEXT = auto()
    SEARCHED_TEXT = auto()
    """A text that is long enough to be searched for in all runs."""
    INSTANT = auto()
    MILLISECONDS = auto()
    """A whole number, not negative."""
    FLAG = auto()
    DURATION = auto()
    """A duration in ISO 8601; the filter holds its text."""
    JSON_OBJECT = auto()
    """A JSON object; the filter holds its text."""
    METADATA_CONDITION = auto()
    FILTER = auto()
    """A filter of runs, without a default for archived runs."""


_BLANK: Mapping[object, object] = {
    ValueType.TEXT: "",
    ValueType.SEARCHED_TEXT: "",
    ValueType.DURATION: "",
    ValueType.JSON_OBJECT: "{}",
    ValueType.FLAG: False,
}
"""The value of each type that, like None, restricts nothing."""


@dataclass(frozen=True, slots=True)
class FilterField:
    """The declaration of one field of a filter."""

    operator: Operator
    column: str
    """The column of `flow_run` that the operator compares."""
    value_type: ValueType | IdKind | type[StrEnum]
    """The type of the value, or of each value if the operator takes a list."""
    description: str
    """The description of the field in the GraphQL schema."""
    also_reads: tuple[str, ...] = ()
    """Further columns of `flow_run` that the operator reads."""
    blank: object = None
    """A value that, like None and the blank value of the type, restricts nothing."""
    is_text: bool = False
    """True if both the column and the filter hold an ID as clients see it."""
    is_scope: bool = False
    """True if the field selects where runs are looked for. A filter of such fields alone counts as empty."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the operator reads; those of NOT and OR depend on the value."""
        return (self.column, *self.also_reads) if self.column else ()

    @property
    def is_list(self) -> bool:
        """True if the operator takes a list of values."""
        return self.operator in LIST_OPERATORS

    @property
    def all_values(self) -> Sequence[StrEnum]:
        """The values of an enum of which the column has one in every run; empty if the column is none of an enum."""
        is_of_enum = self.operator is Operator.ANY_OF and isinstance(self.value_type, type)
        return tuple(self.value_type) if is_of_enum else ()  # type: ignore[arg-type]

    def restricts(self, value: Any) -> bool:
        """False if `value` is blank: a filter with it matches the same runs as one without the field."""
        if value is None or value == self.blank or value == _BLANK.get(self.value_type):
            return False
        if self.operator is Operator.NOT:
            return not value.matches_all and not value.matches_nothing
        if self.operator is Operator.OR:
            return not any(part.matches_all for part in value)
        if self.operator is Operator.METADATA:
            return not value or not all(condition.is_blank for condition in value)
        return True

    def matches_nothing(self, value: Any) -> bool:
        """True if no run can match `value`, as for an empty list."""
        if self.operator in (Operator.OR, Operator.METADATA):
            parts = [part.matches_nothing for part in value]
            return all(parts) if self.operator is Operator.OR else not parts or any(parts)
        return self.is_list and not value

    def selects(self, value: Any) -> bool:
        """True if `value` selects runs by more than their project and whether they are archived."""
        if self.operator is Operator.NOT:
            return not value.is_wide
        if self.operator is Operator.OR:
            return not any(part.is_wide for part in value)
        return not self.is_scope
