"""SQL conditions of a `RunFilter`: each operator is written here once, whatever fields use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from string import ascii_lowercase, ascii_uppercase
from typing import Any, cast

from sqlalchemy import ColumnElement, Text, and_, bindparam, false, func, or_, select, true

from db.models import FlowRun
from db.models.types import table
from domain import ids
from domain.runs.run_filter import Archived, Operator, RunFilter
from domain.runs.state_machine import UNSUCCESSFUL
from domain.time import clock

_run = table(FlowRun).c

_HUNDRED_YEARS_MS = 100 * 366 * 24 * 3600 * 1000
"""The longest duration that is compared, in milliseconds. A larger one would leave the calendar, and no run is older
than its database."""
_ASCII_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What conditions depend on beside the filter."""

    dialect: str
    now: datetime
    """The instant up to which runs that have not ended have lasted."""

    @property
    def is_sqlite(self) -> bool:
        return self.dialect == "sqlite"


_Condition = Callable[[ColumnElement[Any], Any, _Scope], ColumnElement[bool]]
"""An operator: its condition on a column, for the value of a filter field."""


def matches(where: RunFilter, dialect: str, now: datetime | None = None) -> ColumnElement[bool]:
    """Returns the condition that the rows of `flow_run` meet which match the filter.

    Runs that have not ended have lasted until `now`, by default the present instant.
    """
    scope = _Scope(dialect, now or clock.now())
    conditions = (
        _CONDITIONS[field.operator](_run[field.column], value, scope) for field, value in where.restrictions()
    )
    return and_(true(), *conditions)


def _any_of(column: ColumnElement[Any], values: Sequence[Any], scope: _Scope) -> ColumnElement[bool]:
    # One value is by far the usual case, and `=` tells the planner that the order of an index can be used.
    if len(values) == 1:
        return _equals(column, values[0], scope)
    return column.in_(values)


def _equals(column: ColumnElement[Any], value: object, _: _Scope) -> ColumnElement[bool]:
    return column == value


def _after(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column > instant


def _before(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column < instant


def _created_after(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    # The index on the ID serves it; `created_at` has none.
    return column >= ids.first_uuid_after(instant)


def _created_before(column: ColumnElement[Any], instant: datetime, _: _Scope) -> ColumnElement[bool]:
    return column < ids.first_uuid_at(instant)


def _lasted_at_least(column: ColumnElement[Any], least: int, scope: _Scope) -> ColumnElement[bool]:
    return or_(column >= least, and_(_is_running(column), _run.started_at <= _ago(scope, least)))


def _lasted_at_most(column: ColumnElement[Any], most: int, scope: _Scope) -> ColumnElement[bool]:
    # A millisecond counts when it is over: a run of 1.9 ms lasted 1 ms.
    return or_(column <= most, and_(_is_running(column), _run.started_at > _ago(scope, most + 1)))


def _is_running(duration: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(duration.is_(None), _run.started_at.is_not(None))


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


def _contains_text(column: ColumnElement[Any], text: str, scope: _Scope) -> ColumnElement[bool]:
    # PostgreSQL lowers letters by the locale of the database; the collation "C" lowers A to Z alone, as SQLite does.
    lowered = func.lower(column if scope.is_sqlite else column.collate("C"), type_=Text)
    return lowered.contains(ascii_lower(text), autoescape=True)


def ascii_lower(text: str) -> str:
    """Returns `text` with the letters A to Z in lower case. Other letters stay: databases differ over them."""
    return text.translate(_ASCII_LOWER)


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
