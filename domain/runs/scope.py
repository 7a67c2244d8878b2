"""Scopes: filters to which an access token is confined. The runs of a scope never change."""

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
"""The columns of a run that keep the value that they have at its creation; tags and metadata unless `updateRun` sets
others, by which a run can leave a scope."""
_UNITED = frozenset({Operator.HAS_ALL, Operator.METADATA})
"""Operators whose values must all hold: two lists are one."""


def check(scope: RunFilter, name: str) -> RunFilter:
    """Returns the scope of a token for a filter: archived runs belong to it too. `name` is that of the argument.

    Raises:
        InvalidArgumentError: a run can leave the filter. Streams could not hide what a subscriber has seen of it.
    """
    for field_name, declared in FILTER_FIELDS.items():
        value = getattr(scope, field_name)
        if declared.operator is Operator.ARCHIVED or not declared.restricts(value):
            continue
        if declared.value_type is ValueType.FILTER:
            for part in value if declared.is_list else [value]:
                if part.archived is not Archived.INCLUDE:
                    raise InvalidArgumentError(f"`{name}` cannot use `archived`: it changes while the token lives.")
                check(part, name)
        elif declared.column not in _KEPT_COLUMNS or declared.operator is Operator.CREATED_WITHIN:
            raise InvalidArgumentError(
                f"`{name}` can use what never changes in a run, such as `flowIds`, `tags` and `metadata`; not"
                f" `{client_name(field_name)}`."
            )
    return replace(scope, archived=Archived.INCLUDE)


def confined(where: RunFilter, scope: RunFilter) -> RunFilter:
    """Returns the filter that runs match which match both `where` and `scope`."""
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
        return replace(where, ids=())  # a negation of it would be ignored, see `FilterField.restricts`
    # Not outside of what is left: conditions have two values, so two negations are none.
    outside = RunFilter.part(not_=RunFilter.part(**left))
    inside = outside if not FILTER_FIELDS["not_"].restricts(where.not_) else RunFilter.part(or_=(where.not_, outside))
    return replace(where, not_=inside)


def _both(declared: FilterField, value: Any, other: Any) -> Any:
    """Returns the value of a field that says the same as both values; None if there is none."""
    if declared.operator is Operator.ANY_OF:
        return tuple(each for each in value if each in set(other))
    if declared.operator in _UNITED and value and other:
        return (*value, *other)
    return value if value == other else None
