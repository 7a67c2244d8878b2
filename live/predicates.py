"""Predicates of a `RunFilter`: each operator is written here once, and matches the runs that db/runs/filter.py matches.

They are asked of a `RunSnapshot`: the run before an event, after it, or now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import orjson

from db.core.sqlite import contains
from db.runs.filter import ascii_lower
from domain import ids
from domain.runs.run_filter import Archived, Operator, RunFilter
from domain.runs.state_machine import UNSUCCESSFUL
from live.matching import RunSnapshot

Predicate = Callable[[RunSnapshot], bool]
_MILLISECOND = timedelta(milliseconds=1)


class CompiledFilter:
    """A filter in the form in which many runs are matched against it."""

    __slots__ = ("_predicates", "columns")

    def __init__(self, where: RunFilter) -> None:
        restrictions = list(where.restrictions())
        self._predicates = tuple(
            _PREDICATES[field.operator](_Column(field.column), value) for field, value in restrictions
        )
        self.columns = frozenset(column for field, _ in restrictions for column in field.columns)
        """The columns of `flow_run` that it reads."""

    def matches(self, snapshot: RunSnapshot) -> bool:
        """True if the run matches the filter; for a snapshot of the past, if it may have matched."""
        return all(predicate(snapshot) for predicate in self._predicates)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str

    @property
    def get(self) -> Callable[[RunSnapshot], Any]:
        """Reads the column of a snapshot: what depends on the time is an attribute of it, the rest is in its row."""
        return attrgetter(self.name if self.name in RunSnapshot.__slots__ else f"row.{self.name}")


def _any_of(column: _Column, values: Any) -> Predicate:
    get, allowed = column.get, frozenset(values)
    return lambda snapshot: get(snapshot) in allowed


def _equals(column: _Column, expected: Any) -> Predicate:
    get = column.get
    return lambda snapshot: bool(get(snapshot) == expected)


def _after(column: _Column, instant: datetime) -> Predicate:
    get = column.get
    return lambda snapshot: (value := get(snapshot)) is not None and value > instant


def _before(column: _Column, instant: datetime) -> Predicate:
    get = column.get
    return lambda snapshot: (value := get(snapshot)) is not None and value < instant


def _created_after(column: _Column, instant: datetime) -> Predicate:
    get, first = column.get, ids.first_uuid_after(instant)
    return lambda snapshot: bool(get(snapshot) >= first)


def _created_before(column: _Column, instant: datetime) -> Predicate:
    get, end = column.get, ids.first_uuid_at(instant)
    return lambda snapshot: bool(get(snapshot) < end)


def _lasted_at_least(_: _Column, least: int) -> Predicate:
    return lambda snapshot: (duration := _duration_ms(snapshot)) is not None and duration >= least


def _lasted_at_most(_: _Column, most: int) -> Predicate:
    def predicate(snapshot: RunSnapshot) -> bool:
        duration = _duration_ms(snapshot)
        if duration is None:
            return False
        # A run that had not ended had every duration from 0 on.
        return (0 if snapshot.is_past and snapshot.duration_ms is None else duration) <= most

    return predicate


def _duration_ms(snapshot: RunSnapshot) -> int | None:
    if snapshot.duration_ms is not None or snapshot.started_at is None:
        return snapshot.duration_ms
    return (snapshot.at - snapshot.started_at) // _MILLISECOND


def _has_all(column: _Column, values: Any) -> Predicate:
    get, required = column.get, frozenset(values)
    return lambda snapshot: bool(required) and required.issubset(get(snapshot))


def _has_any(column: _Column, values: Any) -> Predicate:
    get, allowed = column.get, frozenset(values)
    return lambda snapshot: not allowed.isdisjoint(get(snapshot))


def _contains_text(column: _Column, text: str) -> Predicate:
    get, part = column.get, ascii_lower(text)
    return lambda snapshot: (value := get(snapshot)) is not None and part in ascii_lower(value)


def _contains_json(_: _Column, document: str) -> Predicate:
    probe = orjson.loads(document)
    return lambda snapshot: contains(snapshot.metadata, probe)


def _is_null(column: _Column, _: bool) -> Predicate:
    get = column.get
    return lambda snapshot: get(snapshot) is None


def _unrecovered(_: _Column, __: bool) -> Predicate:
    return lambda snapshot: snapshot.status in UNSUCCESSFUL and not snapshot.recovered


def _archived(_: _Column, archived: Archived) -> Predicate:
    expected = archived is Archived.ONLY
    return lambda snapshot: snapshot.archived is expected


_PREDICATES: Mapping[Operator, Callable[[_Column, Any], Predicate]] = {
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
