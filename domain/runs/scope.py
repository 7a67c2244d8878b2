"""Scopes: filters to which an access token is confined. A scope always contains the same runs."""

from dataclasses import replace
from typing import Any

from domain.errors import InvalidArgumentError
from domain.runs.filter_field import Archived, FilterField, Operator, ValueType
from domain.runs.run_filter import FILTER_FIELDS, RunFilter
from domain.text import client_name

_KEPT_COLUMNS = frozenset(
    {
        "id",
        "project_id",
        "flow_id",
        "flow_version_id",
        "environment",
        "trigger_method",
        "tags",
        "external_id",
        "source",
        "metadata",
        "parent_run_id",
        "root_run_id",
        "retry_of_id",
        "rerun_of_id",
    }
)
"""The columns that never change after a run's creation. Tags and metadata change only by `updateRun`, which can move a
run out of a scope."""
_UNITED = frozenset({Operator.HAS_ALL, Operator.METADATA})
"""Operators whose values must all match: two lists can be joined into one."""


def check(scope: RunFilter, name: str) -> RunFilter:
    """Returns the scope of a token for a filter; archived runs belong to it too. `name` is the name of the argument.

    Raises:
        InvalidArgumentError: a run can leave the filter. A stream could not hide the run from a subscriber that has
            seen it.
    """
    for field_name, declared in FILTER_FIELDS.items():
        value = getattr(scope, field_name)
        if declared.operator is Operator.ARCHIVED or not declared.restricts(value):
            continue
        if declared.value_type is ValueType.FILTER:
            for part in value if declared.is_list else [value]:
                if part.archived is not Archived.INCLUDE:
                    raise InvalidArgumentError(
                        f"`{name}` cannot use `archived`: whether a run is archived can change while the token lives."
                    )
                check(part, name)
        elif declared.column not in _KEPT_COLUMNS or declared.operator is Operator.CREATED_WITHIN:
            raise InvalidArgumentError(
                f"`{name}` can use only fields that never change in a run, such as `flowIds`, `tags` and "
                f"`metadata`, and not `{client_name(field_name)}`."
            )
    return replace(scope, archived=Archived.INCLUDE)


def confined(where: RunFilter, scope: RunFilter) -> RunFilter:
    """Returns the filter that matches the runs that match both `where` and `scope`."""
    values: dict[str, Any] = {}
    left: dict[str, Any] = {}
    for name, declared in FILTER_FIELDS.items():
        value, other = getattr(where, name), getattr(scope, name)
        if declared.operator is Operator.ARCHIVED or not declared.restricts(other):
            continue
        if not declared.restricts(value):
            values[name] = other
        elif (both := _both(declared, value, other)) is not None:
            values[name] = both
        else:
            left[name] = other
    where = replace(where, **values)
    if not left:
        return where
    if RunFilter.part(**left).matches_nothing:
        return replace(where, ids=())  # The negation of this filter would be ignored, see `FilterField.restricts`.
    # A double negation: conditions have two values, so it equals the filter itself.
    outside = RunFilter.part(not_=RunFilter.part(**left))
    inside = outside if not FILTER_FIELDS["not_"].restricts(where.not_) else RunFilter.part(or_=(where.not_, outside))
    return replace(where, not_=inside)


def _both(declared: FilterField, value: Any, other: Any) -> Any:
    """Returns the value of a field that is equivalent to both values; None if there is none."""
    if declared.operator is Operator.ANY_OF:
        return tuple(each for each in value if each in set(other))
    if declared.operator in _UNITED and value and other:
        return (*value, *other)
    return value if value == other else None
