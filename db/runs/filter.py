"""SQL conditions of a `RunFilter`: each operator is written here once, whatever fields use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Text, and_, bindparam, false, func, or_, select, true

from db.models import FlowRun, FlowVersion
from db.models.types import EPOCH, Unindexed, contains_folded, sort_key, table
from db.sql.any_of import any_of
from domain import ids
from domain.runs.run_filter import Archived, Operator, RunFilter
from domain.runs.state_machine import UNSUCCESSFUL
from domain.time import clock

_run = table(FlowRun).c
_version = table(FlowVersion).c

_HUNDRED_YEARS_MS = 100 * 366 * 24 * 3600 * 1000
"""The longest duration that is compared, in milliseconds. A larger one would leave the calendar, and no run is older
than its database."""
_NOT_ENDED = -1
"""The sort key of the duration of a run that has not ended."""
_FEW = 10
"""Keys up to this number are parameters of their own; more of them are one parameter."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What conditions depend on beside the filter."""

    dialect: str
    now: datetime
    """The instant up to which runs that have not ended have lasted."""

    @property
    def is_sqlite(self) -> bool:
        return self.dialect == "sqlite"


_FOLDED = {"error_message": "error_folded"}
"""The columns beside those that hold texts: see `domain.text`."""
_Condition = Callable[[ColumnElement[Any], Any, _Scope], ColumnElement[bool]]
"""An operator: its condition on a column, for the value of a filter field."""


def matches(
    where: RunFilter, dialect: str, now: datetime | None = None, *, sorted_by: str | None = None
) -> ColumnElement[bool]:
    """Returns the condition that the rows of `flow_run` meet which match the filter.

    Runs that have not ended have lasted until `now`, by default the present instant. `sorted_by` is the column that the
    read sorts by, unless that is the ID: SQLite is kept from reading an index of another order and sorting all of it.
    """
    scope = _Scope(dialect, now or clock.now())
    # Runs that are named are read by their keys. SQLite would rather walk an index whose order is asked for.
    indexed = {"id"} if where.ids is not None else {"project_id", sorted_by} if sorted_by else None
    conditions = (
        _CONDITIONS[field.operator](
            column if indexed is None or field.column in indexed else Unindexed(column), value, scope
        )
        for field, value in where.restrictions()
        for column in (_run[field.column],)
    )
    return and_(true(), *conditions, *_implied(where, sorted_by))


def _implied(where: RunFilter, sorted_by: str | None) -> list[ColumnElement[bool]]:
    """Conditions that follow from those of the filter, and that indexes serve."""
    conditions: list[ColumnElement[bool]] = []
    if where.ids is not None:
        return conditions
    # No run ends before it starts, or starts before it is created.
    for before in (where.started_before, where.finished_before):
        if before is not None:
            run_id = _run.id if sorted_by is None else Unindexed(_run.id)
            conditions.append(run_id < ids.first_uuid_at(before))
    ranges = (
        (_run.started_at, where.started_after, where.started_before),
        (_run.finished_at, where.finished_after, where.finished_before),
    )
    for column, after, before in ranges:
        if sorted_by not in (None, column.key):
            continue
        if after is not None and after > EPOCH:
            conditions.append(sort_key(column) >= after)
        elif before is not None:
            conditions.append(sort_key(column) > EPOCH)
        if before is not None:
            conditions.append(sort_key(column) < before)
    if where.flow_version_ids and sorted_by is None:
        # Versions have no index over runs; each belongs to one flow, and is older than its runs.
        versions = where.flow_version_ids
        of_flows = select(_version.flow_id).where(_version.id.in_(versions))
        is_one = len(versions) == 1
        conditions.append(_run.flow_id == of_flows.scalar_subquery() if is_one else _run.flow_id.in_(of_flows))
        conditions.append(_run.id >= ids.first_uuid_at(ids.created_at(min(versions))))
    return conditions


def _any_of(column: ColumnElement[Any], values: Sequence[Any], scope: _Scope) -> ColumnElement[bool]:
    # One value is by far the usual case, and `=` tells the planner that the order of an index can be used.
    if len(values) == 1:
        return _equals(column, values[0], scope)
    if column is _run.id and len(values) > _FEW:
        return any_of(column, values)
    return column.in_(values)


def _equals(column: ColumnElement[Any], value: object, _: _Scope) -> ColumnElement[bool]:
    return column == value


def _after(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column >= instant


def _before(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column < instant


def _created_after(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    # The index on the ID serves it; `created_at` has none.
    return column >= ids.first_uuid_at(instant)


def _created_before(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column < ids.first_uuid_at(instant)


def _lasted_at_least(column: ColumnElement[Any], least: int, scope: _Scope) -> ColumnElement[bool]:
    # By the sort key, which has an index: a run that has not ended has the smallest one.
    lasted = sort_key(column)
    return or_(lasted >= least, and_(lasted == _NOT_ENDED, _run.started_at <= _ago(scope, least)))


def _lasted_at_most(column: ColumnElement[Any], most: int, scope: _Scope) -> ColumnElement[bool]:
    # A millisecond counts when it is over: a run of 1.9 ms lasted 1 ms.
    lasted = sort_key(column)
    return and_(lasted <= most, or_(lasted != _NOT_ENDED, _run.started_at > _ago(scope, most + 1)))


def _ago(scope: _Scope, milliseconds: int) -> datetime:
    return scope.now - timedelta(milliseconds=min(milliseconds, _HUNDRED_YEARS_MS))


def _has_all(column: ColumnElement[Any], values: Sequence[str], scope: _Scope) -> ColumnElement[bool]:
    if not values:
        return false()
    if scope.is_sqlite:
        return and_(*(_has_any(column, [value], scope) for value in values))
    return column.op("@>", is_comparison=True)(bindparam(None, list(values), type_=column.type, unique=True))


def _has_any(column: ColumnElement[Any], values: Sequence[str], scope: _Scope) -> ColumnElement[bool]:
    if scope.is_sqlite:
        item = func.json_each(column).table_valued("value")
        return select(1).select_from(item).where(item.c.value.in_(values)).exists()
    return column.op("&&", is_comparison=True)(bindparam(None, list(values), type_=column.type, unique=True))


def _contains_text(column: ColumnElement[Any], text: str, _: _Scope) -> ColumnElement[bool]:
    # That it is not null is implied, and says which index has the runs that have a text at all.
    return and_(column.is_not(None), contains_folded(column, _run[_FOLDED[_name_of(column)]], text))


def _name_of(column: ColumnElement[Any]) -> str:
    return str(column.key)


def _contains_json(column: ColumnElement[Any], document: str, scope: _Scope) -> ColumnElement[bool]:
    if scope.is_sqlite:
        return cast("ColumnElement[bool]", func.json_contains(column, bindparam(None, document, Text, unique=True)))
    return column.op("@>", is_comparison=True)(bindparam(None, document, type_=column.type, unique=True))


def _is_null(column: ColumnElement[Any], _: bool, __: _Scope) -> ColumnElement[bool]:
    return column.is_(None)


def _unrecovered(recovered_by: ColumnElement[Any], _: bool, __: _Scope) -> ColumnElement[bool]:
    return and_(_run.status.in_(sorted(UNSUCCESSFUL)), recovered_by.is_(None))


def _archived(column: ColumnElement[Any], archived: Archived, _: _Scope) -> ColumnElement[bool]:
    return column.is_not(None) if archived is Archived.ONLY else column.is_(None)


_CONDITIONS: Mapping[Operator, _Condition] = {
    Operator.ANY_OF: _any_of,
    Operator.EQUALS: _equals,
    Operator.AFTER: _after,
    Operator.BEFORE: _before,
    Operator.CREATED_AFTER: _created_after,
    Operator.CREATED_BEFORE: _created_before,
    Operator.LASTED_AT_LEAST: _lasted_at_least,
    Operator.LASTED_AT_MOST: _lasted_at_most,
    Operator.HAS_ALL: _has_all,
    Operator.HAS_ANY: _has_any,
    Operator.CONTAINS_TEXT: _contains_text,
    Operator.CONTAINS_JSON: _contains_json,
    Operator.IS_NULL: _is_null,
    Operator.UNRECOVERED: _unrecovered,
    Operator.ARCHIVED: _archived,
}
