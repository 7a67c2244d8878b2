"""Predicates of a `RunFilter`: each operator is implemented here, and matches the same runs as db/runs/filter.py.

A predicate takes a `RunSnapshot`: the run before an event, after it, or now.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import orjson

from db.core.sqlite import contains
from db.row_types import RunRow
from domain import ids
from domain.enums import WaitKind
from domain.runs.filter_field import Archived, FilterField, Operator
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import LIVE, UNSUCCESSFUL
from domain.text import fold
from domain.time import iso_duration
from live.matching import RunSnapshot

Predicate = Callable[[RunSnapshot], bool]
_MILLISECOND = timedelta(milliseconds=1)


_FIXED_COLUMNS = frozenset({"project_id", "flow_id", "flow_version_id", "environment", "trigger_method"})
"""Columns that never change."""


class CompiledFilter:
    """A filter that is compiled to match many runs."""

    __slots__ = ("columns", "is_matched_by", "matches", "texts")

    def __init__(self, where: RunFilter) -> None:
        self.matches = _compile(where, certain=False)
        """Returns True if the run matches the filter; for a snapshot of the past, if it may have matched."""
        self.is_matched_by = _of_fixed_columns(where)
        """Returns True if the row alone tells that the run matches after each change of its status. Most filters are of
        that kind, and a snapshot would take as long as all the rest of matching."""
        self.columns = _columns_of(where)
        """The columns of `flow_run` that `matches` reads."""
        self.texts = where.searched
        """The texts that the filter searches for, folded."""


def _of_fixed_columns(where: RunFilter) -> Callable[[RunRow], bool]:
    conditions: list[tuple[Callable[[RunRow], Any], frozenset[Any]]] = []
    for field, value in where.restrictions():
        if field.operator is Operator.ANY_OF and field.column in _FIXED_COLUMNS:
            conditions.append((attrgetter(field.column), frozenset(value)))
        elif field.operator is Operator.ARCHIVED and value is Archived.EXCLUDE:
            # A run that is not archived now counts as one that has never been.
            conditions.append((attrgetter("archived_at"), frozenset({None})))
        else:
            return lambda _: False
    return lambda row: all(get(row) in allowed for get, allowed in conditions)


def _compile(where: RunFilter, *, certain: bool) -> Predicate:
    """Returns the predicate of a filter. It is true of runs that certainly matched, or that may have; the two differ in
    the past."""
    predicates = tuple(_predicate(field, value, certain) for field, value in where.restrictions())
    return lambda snapshot: all(predicate(snapshot) for predicate in predicates)


def _predicate(field: FilterField, value: Any, certain: bool) -> Predicate:
    build = (_CERTAIN.get(field.operator) if certain else None) or _PREDICATES[field.operator]
    return build(_Column(field.column), value)


def _columns_of(where: RunFilter) -> frozenset[str]:
    columns: set[str] = set()
    for field, value in where.restrictions():
        parts = [value] if field.operator is Operator.NOT else value if field.operator is Operator.OR else ()
        columns.update(field.columns, *map(_columns_of, parts))
    return frozenset(columns)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str

    @property
    def get(self) -> Callable[[RunSnapshot], Any]:
        """Reads a column of a snapshot. Values that depend on the time are attributes of it, the others are in its
        row."""
        return attrgetter(self.name if self.name in RunSnapshot.__slots__ else f"row.{self.name}")


def _any_of(column: _Column, values: Any) -> Predicate:
    get, allowed = column.get, frozenset(values)
    return lambda snapshot: get(snapshot) in allowed


def _equals(column: _Column, expected: Any) -> Predicate:
    get = column.get
    return lambda snapshot: bool(get(snapshot) == expected)


def _after(column: _Column, instant: datetime) -> Predicate:
    get = column.get
    return lambda snapshot: (value := get(snapshot)) is not None and value >= instant


def _before(column: _Column, instant: datetime) -> Predicate:
    get = column.get
    return lambda snapshot: (value := get(snapshot)) is not None and value < instant


def _created_after(column: _Column, instant: datetime) -> Predicate:
    get, first = column.get, ids.first_uuid_at(instant)
    return lambda snapshot: bool(get(snapshot) >= first)


def _created_before(column: _Column, instant: datetime) -> Predicate:
    get, end = column.get, ids.first_uuid_at(instant)
    return lambda snapshot: bool(get(snapshot) < end)


def _updated_after(_: _Column, instant: datetime) -> Predicate:
    return lambda snapshot: snapshot.updated_at >= instant


def _certainly_updated_after(_: _Column, instant: datetime) -> Predicate:
    return lambda snapshot: snapshot.updated_from >= instant


def _updated_before(_: _Column, instant: datetime) -> Predicate:
    return lambda snapshot: snapshot.updated_from < instant


def _certainly_updated_before(_: _Column, instant: datetime) -> Predicate:
    return lambda snapshot: snapshot.updated_at < instant


def _within(column: _Column, text: str) -> Predicate:
    # Time passes without an event: before this one, the instant may have been as recent as possible.
    certainly = _certainly_within(column, text)
    get = column.get
    return lambda snapshot: get(snapshot) is not None if snapshot.is_past else certainly(snapshot)


def _certainly_within(column: _Column, text: str) -> Predicate:
    get, duration = column.get, iso_duration.parse(text)
    return lambda snapshot: (value := get(snapshot)) is not None and value >= duration.before(snapshot.at)


def _created_within(column: _Column, text: str) -> Predicate:
    certainly = _certainly_created_within(column, text)
    return lambda snapshot: snapshot.is_past or certainly(snapshot)


def _certainly_created_within(column: _Column, text: str) -> Predicate:
    get, duration = column.get, iso_duration.parse(text)
    return lambda snapshot: ids.created_at(get(snapshot)) >= duration.before(snapshot.at)


def _updated_within(_: _Column, text: str) -> Predicate:
    certainly = _certainly_updated_within(_, text)
    return lambda snapshot: snapshot.is_past or certainly(snapshot)


def _certainly_updated_within(_: _Column, text: str) -> Predicate:
    duration = iso_duration.parse(text)
    return lambda snapshot: snapshot.updated_from >= duration.before(snapshot.at)


def _lasted_at_least(_: _Column, least: int) -> Predicate:
    return lambda snapshot: (duration := _duration_ms(snapshot)) is not None and duration >= least


def _certainly_lasted_at_least(_: _Column, least: int) -> Predicate:
    return lambda snapshot: (duration := _shortest_ms(snapshot)) is not None and duration >= least


def _lasted_at_most(_: _Column, most: int) -> Predicate:
    return lambda snapshot: (duration := _shortest_ms(snapshot)) is not None and duration <= most


def _certainly_lasted_at_most(_: _Column, most: int) -> Predicate:
    return lambda snapshot: (duration := _duration_ms(snapshot)) is not None and duration <= most


def _shortest_ms(snapshot: RunSnapshot) -> int | None:
    """Returns the duration; 0 for a run of the past that had not ended, which has had every duration from 0 on."""
    is_unknown = snapshot.is_past and snapshot.duration_ms is None and snapshot.started_at is not None
    return 0 if is_unknown else _duration_ms(snapshot)


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
    get, part = column.get, fold(text)
    return lambda snapshot: (value := get(snapshot)) is not None and part in fold(value)


def _search(_: _Column, text: str) -> Predicate:
    searched = fold(text)
    return lambda snapshot: searched in snapshot.found_texts


def _certainly_search(_: _Column, text: str) -> Predicate:
    # What the run has now, it may not have had in the past: outputs and log lines are added without an event of it.
    searched = fold(text)
    return lambda snapshot: not snapshot.is_past and searched in snapshot.found_texts


def _contains_json(_: _Column, document: str) -> Predicate:
    probe = orjson.loads(document)
    return lambda snapshot: contains(snapshot.metadata, probe)


def _metadata(_: _Column, conditions: Sequence[MetadataCondition]) -> Predicate:
    tests = [condition.predicate() for condition in conditions]
    return lambda snapshot: bool(tests) and all(test(snapshot.metadata) for test in tests)


def _is_null(column: _Column, _: bool) -> Predicate:
    get = column.get
    return lambda snapshot: get(snapshot) is None


def _waiting_for(_: _Column, kinds: Sequence[WaitKind]) -> Predicate:
    # A live run of the past may have waited for anything: what a run waits for changes without an event.
    return lambda snapshot: snapshot.status in LIVE and (snapshot.is_past or snapshot.waiting_for in kinds)


def _certainly_waiting_for(_: _Column, kinds: Sequence[WaitKind]) -> Predicate:
    return lambda snapshot: not snapshot.is_past and snapshot.waiting_for in kinds


def _unrecovered(_: _Column, __: bool) -> Predicate:
    return lambda snapshot: snapshot.status in UNSUCCESSFUL and not snapshot.recovered


def _certainly_unrecovered(_: _Column, __: bool) -> Predicate:
    return lambda snapshot: snapshot.status in UNSUCCESSFUL and not snapshot.may_be_recovered


def _archived(_: _Column, archived: Archived) -> Predicate:
    expected = archived is Archived.ONLY
    return lambda snapshot: snapshot.archived is expected


def _not(_: _Column, where: RunFilter) -> Predicate:
    # A run that did not certainly match the inner filter may match its negation.
    matches = _compile(where, certain=True)
    return lambda snapshot: not matches(snapshot)


def _certainly_not(_: _Column, where: RunFilter) -> Predicate:
    matches = _compile(where, certain=False)
    return lambda snapshot: not matches(snapshot)


def _or(_: _Column, parts: Sequence[RunFilter]) -> Predicate:
    return _any([_compile(part, certain=False) for part in parts])


def _certainly_or(_: _Column, parts: Sequence[RunFilter]) -> Predicate:
    return _any([_compile(part, certain=True) for part in parts])


def _any(predicates: Sequence[Predicate]) -> Predicate:
    return lambda snapshot: any(predicate(snapshot) for predicate in predicates)


_Builder = Callable[[_Column, Any], Predicate]
_CERTAIN: Mapping[Operator, _Builder] = {
    Operator.UPDATED_AFTER: _certainly_updated_after,
    Operator.UPDATED_BEFORE: _certainly_updated_before,
    Operator.WITHIN: _certainly_within,
    Operator.CREATED_WITHIN: _certainly_created_within,
    Operator.UPDATED_WITHIN: _certainly_updated_within,
    Operator.LASTED_AT_LEAST: _certainly_lasted_at_least,
    Operator.LASTED_AT_MOST: _certainly_lasted_at_most,
    Operator.WAITING_FOR: _certainly_waiting_for,
    Operator.SEARCH: _certainly_search,
    Operator.UNRECOVERED: _certainly_unrecovered,
    Operator.NOT: _certainly_not,
    Operator.OR: _certainly_or,
}
"""Predicates that are true only of runs that certainly matched in the past, where they differ from `_PREDICATES`."""
_PREDICATES: Mapping[Operator, _Builder] = {
    Operator.ANY_OF: _any_of,
    Operator.EQUALS: _equals,
    Operator.AFTER: _after,
    Operator.BEFORE: _before,
    Operator.CREATED_AFTER: _created_after,
    Operator.CREATED_BEFORE: _created_before,
    Operator.UPDATED_AFTER: _updated_after,
    Operator.UPDATED_BEFORE: _updated_before,
    Operator.WITHIN: _within,
    Operator.CREATED_WITHIN: _created_within,
    Operator.UPDATED_WITHIN: _updated_within,
    Operator.LASTED_AT_LEAST: _lasted_at_least,
    Operator.LASTED_AT_MOST: _lasted_at_most,
    Operator.HAS_ALL: _has_all,
    Operator.HAS_ANY: _has_any,
    Operator.CONTAINS_TEXT: _contains_text,
    Operator.SEARCH: _search,
    Operator.CONTAINS_JSON: _contains_json,
    Operator.METADATA: _metadata,
    Operator.IN_FAMILY: _equals,
    Operator.IS_NULL: _is_null,
    Operator.WAITING_FOR: _waiting_for,
    Operator.UNRECOVERED: _unrecovered,
    Operator.ARCHIVED: _archived,
    Operator.NOT: _not,
    Operator.OR: _or,
}
