"""SQL conditions of a `RunFilter`: each operator is implemented here once, for all fields that use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Double, Text, and_, bindparam, case, false, func, not_, or_, select, true
from sqlalchemy import cast as sql_cast

from db.models import FlowRun, FlowVersion
from db.models.types import EPOCH, Unindexed, contains_folded, sort_key, table
from db.runs.waits.waiting import waits_for_any
from db.search import queries as texts
from db.sql.any_of import any_of
from domain import ids
from domain.enums import WaitKind
from domain.runs.filter_field import Archived, FilterField, Operator
from domain.runs.metadata_condition import COMPARISONS, MetadataCondition, document_with
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import UNSUCCESSFUL
from domain.time import clock, iso_duration

_run = table(FlowRun).c
_version = table(FlowVersion).c

_HUNDRED_YEARS_MS = 100 * 366 * 24 * 3600 * 1000
"""Longest duration that is compared, in milliseconds. A longer one would leave the calendar, and no run is older than
its database."""
_NOT_ENDED = -1
"""The sort key of the duration of a run that has not ended."""
_FEW = 10
"""Keys up to this number are separate parameters; more keys are one parameter."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """The values that conditions need beside the filter."""

    dialect: str
    now: datetime
    """The instant until which runs that have not ended have lasted."""
    reads_all: bool = False
    """True if all runs that match are read, and no keys name them."""

    @property
    def is_sqlite(self) -> bool:
        return self.dialect == "sqlite"


_FOLDED = {"error_message": "error_folded"}
"""The folded column beside each column of text: see `domain.text`."""
_Condition = Callable[[Any, Any, _Scope], ColumnElement[bool]]
"""Returns the condition of an operator: on a column (None for NOT and OR), for the value of a filter field."""


def matches(
    where: RunFilter,
    dialect: str,
    now: datetime | None = None,
    *,
    sorted_by: str | None = None,
    reads_all: bool = False,
    by_keys: bool = False,
) -> ColumnElement[bool]:
    """Returns the condition for the rows of `flow_run` that match the filter.

    Runs that have not ended have lasted until `now`, by default the present instant. `sorted_by` is the column that the
    read sorts by, unless that is the ID: SQLite is kept from reading an index of another order and sorting all of it.
    A read that takes all rows, not the first of an order, says so by `reads_all`; one that finds the runs by their keys
    for another reason than `ids`, by `by_keys`.
    """
    # Runs given by ID are read by their keys. SQLite would otherwise walk an index in the requested order.
    by_keys = by_keys or where.ids is not None
    indexed = frozenset({"id"} if by_keys else {"project_id", sorted_by} if sorted_by else ())
    condition = _matches(where, _Scope(dialect, now or clock.now(), reads_all and not by_keys), indexed)
    if by_keys:
        return condition
    return and_(condition, *_implied(where, sorted_by, walks=dialect == "sqlite" and not reads_all))


def _matches(where: RunFilter, scope: _Scope, indexed: frozenset[str | None] = frozenset()) -> ColumnElement[bool]:
    """Returns the condition of the filter. SQLite must use no index of columns other than `indexed`; empty: any
    index."""
    conditions = (
        _CONDITIONS[field.operator](_column(field.column, indexed), value, scope)
        for field, value in where.positive().restrictions()
    )
    return and_(true(), *conditions)


def _column(name: str | None, indexed: frozenset[str | None]) -> Any:
    if not name:
        return None
    return Unindexed(_run[name]) if indexed and name not in indexed else _run[name]


def _implied(where: RunFilter, sorted_by: str | None, *, walks: bool) -> list[ColumnElement[bool]]:
    """Returns conditions that follow from those of the filter, and that indexes serve.

    With `walks` a page in the order of creation reads no index of another order: SQLite would read all runs of a range
    of it and sort them. Where they are few, the filter names them (`db.narrowing.narrow`).
    """
    conditions: list[ColumnElement[bool]] = []
    # No run ends before it starts, or starts or changes before it is created.
    for before in (where.started_before, where.finished_before, where.updated_before):
        if before is not None:
            run_id = _run.id if sorted_by is None else Unindexed(_run.id)
            conditions.append(run_id < ids.first_uuid_at(before))
    ranges = (
        (_run.started_at, where.started_after, where.started_before),
        (_run.finished_at, where.finished_after, where.finished_before),
    )
    for column, after, before in ranges:
        if sorted_by not in (None, column.key) or (walks and sorted_by is None):
            continue
        if after is not None and after > EPOCH:
            conditions.append(sort_key(column) >= after)
        elif before is not None:
            conditions.append(sort_key(column) > EPOCH)
        if before is not None:
            conditions.append(sort_key(column) < before)
    if where.flow_version_ids and sorted_by is None:
        # Versions have no index over runs, but each version belongs to one flow.
        versions = where.flow_version_ids
        of_flows = select(_version.flow_id).where(_version.id.in_(versions))
        is_one = len(versions) == 1
        conditions.append(_run.flow_id == of_flows.scalar_subquery() if is_one else _run.flow_id.in_(of_flows))
    return conditions


def _any_of(column: ColumnElement[Any], values: Sequence[Any], scope: _Scope) -> ColumnElement[bool]:
    # One value is by far the usual case. With `=` the planner uses the order of an index.
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
    # The index on the ID serves this; `created_at` has none.
    return column >= ids.first_uuid_at(instant)


def _created_before(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column < ids.first_uuid_at(instant)


def _within(column: ColumnElement[Any], duration: str, scope: _Scope) -> ColumnElement[bool]:
    return _after(column, iso_duration.parse(duration).before(scope.now), scope)


def _created_within(column: ColumnElement[Any], duration: str, scope: _Scope) -> ColumnElement[bool]:
    return _created_after(column, iso_duration.parse(duration).before(scope.now), scope)


def _lasted_at_least(column: ColumnElement[Any], least: int, scope: _Scope) -> ColumnElement[bool]:
    # The sort key has an index: a run that has not ended has the smallest key.
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
        item = func.json_each(column).table_valued("value")
        found = select(func.count(item.c.value.distinct())).where(item.c.value.in_(values)).scalar_subquery()
        return found == len(set(values))
    return column.op("@>", is_comparison=True)(bindparam(None, list(values), type_=column.type, unique=True))


def _has_any(column: ColumnElement[Any], values: Sequence[str], scope: _Scope) -> ColumnElement[bool]:
    if scope.is_sqlite:
        item = func.json_each(column).table_valued("value")
        return select(1).select_from(item).where(item.c.value.in_(values)).exists()
    return column.op("&&", is_comparison=True)(bindparam(None, list(values), type_=column.type, unique=True))


def _contains_text(column: ColumnElement[Any], text: str, _: _Scope) -> ColumnElement[bool]:
    # The first condition is implied. It selects the index of the runs that have a text at all.
    return and_(column.is_not(None), contains_folded(column, _run[_FOLDED[_name_of(column)]], text))


def _search(_: ColumnElement[Any], text: str, scope: _Scope) -> ColumnElement[bool]:
    if not scope.reads_all:
        # An order is walked, or runs are named.
        return texts.is_of_run(text)
    return _run.id.in_(texts.runs_with(text, scope.dialect))


def _name_of(column: ColumnElement[Any]) -> str:
    return str(column.key)


def _contains_json(column: ColumnElement[Any], document: str, scope: _Scope) -> ColumnElement[bool]:
    if scope.is_sqlite:
        return cast("ColumnElement[bool]", func.json_contains(column, bindparam(None, document, Text, unique=True)))
    return column.op("@>", is_comparison=True)(bindparam(None, document, type_=column.type, unique=True))


def _metadata(
    column: ColumnElement[Any], conditions: Sequence[MetadataCondition], scope: _Scope
) -> ColumnElement[bool]:
    if not conditions:
        return false()
    return and_(*(_metadata_condition(column, condition, scope) for condition in conditions))


def _metadata_condition(column: ColumnElement[Any], condition: MetadataCondition, scope: _Scope) -> ColumnElement[bool]:
    if scope.is_sqlite:
        document = bindparam(None, condition.to_text(), Text, unique=True)
        matched = cast("ColumnElement[bool]", func.metadata_matches(column, document))
        if not condition.needs_value:
            return matched
        # Documents without the key are passed over without a call of Python, which takes far longer.
        key = bindparam(None, orjson.dumps(condition.path[-1]).decode(), Text, unique=True)
        return and_(func.instr(column, key) > 0, matched)
    found: list[ColumnElement[bool]] = []
    if condition.equals is not None:
        found.append(_has_value(column, condition, condition.equals, scope))
    value, text = _value_at(column, condition.path)
    if condition.exists is not None:
        found.append(text.is_not(None) if condition.exists else text.is_(None))
    if condition.one_of is not None:
        found.append(or_(false(), *(_has_value(column, condition, option, scope) for option in condition.one_of)))
    if condition.prefix:
        prefix = bindparam(None, condition.prefix, Text, unique=True)
        # The planner takes a CASE to hold for half of the runs; it would take the comparison of types for a rare one.
        found.append(case((func.jsonb_typeof(value) == "string", func.starts_with(text, prefix)), else_=false()))
    for name, bound in condition.bounds.items():
        # Only in a CASE is the text of another type never cast.
        number = case((func.jsonb_typeof(value) == "number", sql_cast(text, Double)))
        found.append(COMPARISONS[name](number, bindparam(None, bound, Double, unique=True)))
    return and_(true(), *found)


def _has_value(
    column: ColumnElement[Any], condition: MetadataCondition, value: str, scope: _Scope
) -> ColumnElement[bool]:
    # Objects on the path to a scalar contain each other if they have the same scalar there: an index serves it.
    return _contains_json(column, document_with(condition.path, value), scope)


def _value_at(column: ColumnElement[Any], path: Sequence[str]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Returns the JSON at a path on PostgreSQL, and its text; the text of null is null."""
    *outer, last = (bindparam(None, key, Text, unique=True) for key in path)
    for key in outer:
        column = column.op("->", return_type=_run.metadata.type)(key)
    # `->` with a text reads only keys of objects, where `#>` would also read elements of lists.
    return column.op("->", return_type=_run.metadata.type)(last), column.op("->>", return_type=Text())(last)


def _in_family(_: ColumnElement[Any], root: UUID, __: _Scope) -> ColumnElement[bool]:
    # The condition has two parts, because the index leaves out runs without a parent, which are most.
    in_family = _run.root_run_id == root
    return or_(and_(_run.id == root, in_family), and_(in_family, _run.parent_run_id.is_not(None)))


def _is_null(column: ColumnElement[Any], _: bool, __: _Scope) -> ColumnElement[bool]:
    return column.is_(None)


def _waiting_for(_: ColumnElement[Any], kinds: Sequence[WaitKind], scope: _Scope) -> ColumnElement[bool]:
    return waits_for_any(kinds, scope.now)


def _unrecovered(recovered_by: ColumnElement[Any], _: bool, __: _Scope) -> ColumnElement[bool]:
    return and_(_run.status.in_(sorted(UNSUCCESSFUL)), recovered_by.is_(None))


def _archived(column: ColumnElement[Any], archived: Archived, _: _Scope) -> ColumnElement[bool]:
    return column.is_not(None) if archived is Archived.ONLY else column.is_(None)


def _or(_: None, parts: Sequence[RunFilter], scope: _Scope) -> ColumnElement[bool]:
    return or_(false(), *(_matches(part, scope) for part in parts))


def _not(_: None, where: RunFilter, scope: _Scope) -> ColumnElement[bool]:
    condition = _matches(where, scope)
    if not all(_has_two_values(field) for field, _ in where.restrictions()):
        return condition.is_not(true())
    return not_(condition)


def _has_two_values(field: FilterField) -> bool:
    """True if the condition of a field is never null."""
    return field.operator in _NEVER_NULL or (field.operator in _NULL_FOR_NULL and not _run[field.column].nullable)


_NEVER_NULL = {Operator.IS_NULL, Operator.ARCHIVED, Operator.SEARCH}
_NULL_FOR_NULL = {
    Operator.ANY_OF,
    Operator.EQUALS,
    Operator.AFTER,
    Operator.BEFORE,
    Operator.CREATED_AFTER,
    Operator.CREATED_BEFORE,
    Operator.CREATED_WITHIN,
    Operator.UPDATED_AFTER,
    Operator.UPDATED_BEFORE,
    Operator.UPDATED_WITHIN,
}
"""Operators whose condition is null only for a null in their column."""
_CONDITIONS: Mapping[Operator, _Condition] = {
    Operator.ANY_OF: _any_of,
    Operator.EQUALS: _equals,
    Operator.AFTER: _after,
    Operator.BEFORE: _before,
    Operator.CREATED_AFTER: _created_after,
    Operator.CREATED_BEFORE: _created_before,
    Operator.UPDATED_AFTER: _after,
    Operator.UPDATED_BEFORE: _before,
    Operator.WITHIN: _within,
    Operator.CREATED_WITHIN: _created_within,
    Operator.UPDATED_WITHIN: _within,
    Operator.LASTED_AT_LEAST: _lasted_at_least,
    Operator.LASTED_AT_MOST: _lasted_at_most,
    Operator.HAS_ALL: _has_all,
    Operator.HAS_ANY: _has_any,
    Operator.CONTAINS_TEXT: _contains_text,
    Operator.SEARCH: _search,
    Operator.CONTAINS_JSON: _contains_json,
    Operator.METADATA: _metadata,
    Operator.IN_FAMILY: _in_family,
    Operator.IS_NULL: _is_null,
    Operator.WAITING_FOR: _waiting_for,
    Operator.UNRECOVERED: _unrecovered,
    Operator.ARCHIVED: _archived,
    Operator.NOT: _not,
    Operator.OR: _or,
}
