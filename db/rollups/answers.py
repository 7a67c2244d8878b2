"""Answers questions about all runs that match a filter from kept counts, if the counts have the requested columns.

Each function executes one statement. It returns None if only the runs themselves can answer: when `_question` finds
such a field, and while old runs are being counted. For a range of creation times, whole slots are read from the counts,
in the longest spans possible, and the two ends of the range from the runs.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.models import RUN_ROLLUP_DELTA, FlowRun, RunRollup, RunRollupState
from db.models.runs.run_rollup import SLOT_SECONDS
from db.models.types import EPOCH, table
from db.rollups import levels
from db.rollups.levels import ALL_FLOWS, ALL_TIME, ENVIRONMENT, FLOW, TRIGGER, Level, Measure, bucket_of
from db.runs.filter import matches
from domain import ids
from domain.runs.filter_field import Archived, Operator
from domain.runs.run_filter import RunFilter
from domain.time import iso_duration

_rollups = table(RunRollup)
_rollup = _rollups.c
_delta = RUN_ROLLUP_DELTA.c
_run = table(FlowRun).c
_states = table(RunRollupState)

_OPTIONAL = frozenset({FLOW, ENVIRONMENT, TRIGGER})
"""Columns by which some levels count."""
_RESTRICTABLE = _OPTIONAL | {"project_id", "status"}
"""Columns on which a question may have a condition. Every level counts by those that are not optional."""
_KEPT_STATEMENTS = 500
"""Statements that are kept, of the questions asked last."""
_DAY_SLOTS = timedelta(days=1) // timedelta(seconds=SLOT_SECONDS)
_SLOT_MS = SLOT_SECONDS * 1000


class DurationCount(NamedTuple):
    """The runs whose durations are in one bucket."""

    bucket: int
    runs: int
    total_ms: int


_BUCKET = "duration_bucket"
_KEYS = {
    Measure.RUNS: ("status",),
    Measure.DURATIONS: (_BUCKET,),
    Measure.FAILURES: ("flow_id", "failed_step_name"),
}
"""The columns by which the runs of a measure are grouped."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A filter that kept counts can answer."""

    where: RunFilter
    now: datetime = field(compare=False)
    values: Mapping[str, Sequence[Any]] = field(compare=False)
    """Values that a column may have, for each restricted column: those in `where`."""
    is_moving: bool
    """True if the answer depends on `now`."""
    archived: Archived
    since: int | None
    """First millisecond of creation since 1970; None: no bound."""
    until: int | None
    """Millisecond since 1970 before which the runs were created; None: no bound."""

    def conditions(self, source: Any) -> Iterator[ColumnElement[bool]]:
        """Returns the conditions on columns of the counts, or of the changes, except time."""
        for name, values in self.values.items():
            yield source[name] == values[0] if len(values) == 1 else source[name].in_(values)
        if self.archived is not Archived.INCLUDE:
            yield source.archived.is_(self.archived is Archived.ONLY)


class _Piece(NamedTuple):
    """Whole spans of creation time, from one slot up to another (None: without an end)."""

    span: int
    begin: int
    end: int | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The parts that a statement reads."""

    levels: Sequence[tuple[Level, _Piece]]
    """Levels and spans of the counts; the changes of the same spans are read with them."""
    edges: Sequence[tuple[int, int]]
    """Ranges of creation times in milliseconds whose runs are read one by one."""


class Series(FunctionElement[str]):
    """SQL aggregate: the pairs of two integers in all rows as text, `0,17,1,12`."""

    inherit_cache = True
    name = "series"
    type = Text()


@compiles(Series, "sqlite")
def _compile_series_on_sqlite(element: Series, compiler: SQLCompiler, **kw: Any) -> str:
    first, second = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"group_concat({first} || ',' || {second})"


@compiles(Series, "postgresql")
def _compile_series_on_postgresql(element: Series, compiler: SQLCompiler, **kw: Any) -> str:
    first, second = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"string_agg({first} || ',' || {second}, ',')"


class _Buckets(NamedTuple):
    """Time buckets, given by their first slots; the last number is the end of the last bucket."""

    slots: tuple[int, ...]

    def number(self, slot: ColumnElement[int]) -> ColumnElement[int]:
        """Returns the index of the bucket that holds a slot."""
        lengths = {end - begin for begin, end in pairwise(self.slots)}
        if len(lengths) == 1:
            return (slot - self.slots[0]) // lengths.pop()
        return case(*((slot < end, number) for number, end in enumerate(self.slots[1:])))

    def number_at(self, millisecond: int) -> ColumnElement[int]:
        """Returns the index of the bucket that holds an instant."""
        return literal_column(str(bisect_right(self.slots, millisecond // _SLOT_MS) - 1), Integer)


def counts(conn: Connection, where: RunFilter, now: datetime) -> Mapping[str, int] | None:
    """Returns the number of runs by status; statuses without runs are omitted."""
    rows = _answer(conn, Measure.RUNS, _question(where, now))
    return None if rows is None else {row.status: row.runs for row in rows}


def counts_by_time(
    conn: Connection, where: RunFilter, now: datetime, bounds: Sequence[datetime]
) -> Mapping[str, Mapping[int, int]] | None:
    """Returns the number of runs in each time bucket, by status and by the index of the bucket; 0 is omitted."""
    rows = _counts_by_time(conn, where, now, bounds)
    if rows is None:
        return None
    found: dict[str, list[str]] = {}
    for status, series in rows:
        found.setdefault(status, []).append(series)
    summed = {status: _summed(orjson.loads(f"[{','.join(series)}]")) for status, series in found.items()}
    return {status: counted for status, counted in summed.items() if counted}


def _summed(series: Sequence[int]) -> Mapping[int, int]:
    """Returns the number of runs in each bucket, from pairs of the two; 0 is omitted."""
    buckets, runs = series[::2], series[1::2]
    counted = dict(zip(buckets, runs, strict=True))
    if len(counted) < len(buckets):  # There are changes that are not summed yet.
        counted = dict.fromkeys(counted, 0)
        for bucket, change in zip(buckets, runs, strict=True):
            counted[bucket] += change
    return counted if all(counted.values()) else {bucket: count for bucket, count in counted.items() if count}


def _counts_by_time(
    conn: Connection, where: RunFilter, now: datetime, bounds: Sequence[datetime], group: str | None = None
) -> Sequence[Any] | None:
    question = _question(where, now)
    if question is None:
        return None
    passed = [bound - EPOCH for bound in bounds]
    if any(delta.seconds % SLOT_SECONDS or delta.microseconds for delta in passed):
        return None
    slots = tuple(delta.days * _DAY_SLOTS + delta.seconds // SLOT_SECONDS for delta in passed)
    begin, end = slots[0] * _SLOT_MS, slots[-1] * _SLOT_MS
    since = begin if question.since is None else max(begin, question.since)
    until = end if question.until is None else min(end, question.until)
    bounded = replace(question, since=since, until=until)
    return _answer(conn, Measure.RUNS, bounded, _Buckets(slots), group=group)


def counts_by_group(
    conn: Connection, where: RunFilter, now: datetime, group: str
) -> Mapping[Any, Mapping[str, int]] | None:
    """Returns the number of runs with each status, by the value of the column `group`: FLOW or TRIGGER."""
    rows = _answer(conn, Measure.RUNS, _question(where, now), group=group)
    if rows is None:
        return None
    groups: dict[Any, dict[str, int]] = {}
    for row in rows:
        groups.setdefault(getattr(row, group), {})[row.status] = row.runs
    return groups


def counts_by_time_and_group(
    conn: Connection, where: RunFilter, now: datetime, bounds: Sequence[datetime], group: str
) -> Mapping[Any, Mapping[str, Mapping[int, int]]] | None:
    """Like `counts_by_time`, by the value of the column `group`."""
    rows = _counts_by_time(conn, where, now, bounds, group)
    if rows is None:
        return None
    groups: dict[Any, dict[str, dict[int, int]]] = {}
    for row in rows:
        groups.setdefault(getattr(row, group), {}).setdefault(row.status, {})[row.bucket] = row.runs
    return groups


def durations(conn: Connection, where: RunFilter, now: datetime) -> Sequence[DurationCount] | None:
    """Returns the number of runs in each bucket of durations, the shortest first."""
    rows = _answer(conn, Measure.DURATIONS, _question(where, now))
    return None if rows is None else sorted(DurationCount(*row) for row in rows)


def durations_by_flow(
    conn: Connection, where: RunFilter, now: datetime
) -> Mapping[UUID, Sequence[DurationCount]] | None:
    """Returns the number of runs in each bucket of durations, the shortest first, of each flow."""
    rows = _answer(conn, Measure.DURATIONS, _question(where, now), group=FLOW)
    if rows is None:
        return None
    flows: dict[UUID, list[DurationCount]] = {}
    for row in sorted(rows, key=lambda row: row.duration_bucket):
        flows.setdefault(row.flow_id, []).append(DurationCount(row.duration_bucket, row.runs, row.total_ms))
    return flows


def failures(
    conn: Connection, where: RunFilter, now: datetime, limit: int | None
) -> Sequence[tuple[UUID, str, int]] | None:
    """Returns flow, step and number of runs of the `limit` steps at which most runs failed, the greatest
    number first.

    With None, it returns all steps, in no order.
    """
    rows = _answer(conn, Measure.FAILURES, _question(where, now), limit=limit)
    return None if rows is None else [(row.flow_id, row.failed_step_name, row.runs) for row in rows]


def _question(where: RunFilter, now: datetime) -> _Question | None:
    """Returns the filter as a question to the counts; None if one of its fields restricts a column that the counts
    lack."""
    values: dict[str, Sequence[Any]] = {}
    archived, since, until, is_moving = Archived.INCLUDE, [], [], False
    for declared, value in where.restrictions():
        match declared.operator:
            case Operator.ANY_OF if declared.column in _RESTRICTABLE:
                values[declared.column] = value
            case Operator.ARCHIVED:
                archived = value
            case Operator.CREATED_AFTER:
                since.append(_millisecond(value))
            case Operator.CREATED_WITHIN:
                since.append(_millisecond(iso_duration.parse(value).before(now)))
                is_moving = True
            case Operator.CREATED_BEFORE:
                until.append(_millisecond(value))
            case _:
                return None
    return _Question(where, now, values, is_moving, archived, max(since, default=None), min(until, default=None))


def _millisecond(instant: datetime) -> int:
    """Returns the first millisecond at or after an instant: IDs hold creation times to the millisecond."""
    return ids.first_uuid_at(instant).int >> 80


def _plan(question: _Question, keys: Collection[str], measure: Measure, buckets: _Buckets | None) -> _Plan | None:
    """Returns the parts to read; None if no level has the columns of the question, or the range has no whole span."""
    by_span = levels.by_span(measure, _OPTIONAL & {*question.values, *keys})
    if ALL_TIME in by_span and question.since is None and question.until is None:
        return _Plan([(by_span[ALL_TIME], _Piece(ALL_TIME, 0, None))], ())
    bounds = buckets.slots if buckets else ()
    spans = sorted(span for span in by_span if span != ALL_TIME and all(bound % span == 0 for bound in bounds))
    if not spans:
        return None
    begin = -(-(question.since or 0) // (spans[0] * _SLOT_MS)) * spans[0]
    end = None if question.until is None else question.until // (spans[0] * _SLOT_MS) * spans[0]
    if end is not None and begin >= end:
        return None
    edges = []
    if question.since is not None and question.since < begin * _SLOT_MS:
        edges.append((question.since, begin * _SLOT_MS))
    if question.until is not None and end is not None and end * _SLOT_MS < question.until:
        edges.append((end * _SLOT_MS, question.until))
    return _Plan([(by_span[piece.span], piece) for piece in _pieces(begin, end, spans)], edges)


def _pieces(begin: int, end: int | None, spans: Sequence[int]) -> Iterator[_Piece]:
    """Splits a range of slots, which begins and ends with the shortest of `spans`, into the longest spans possible."""
    shortest, *longer = spans
    if longer:
        inner_begin = -(-begin // longer[0]) * longer[0]
        inner_end = None if end is None else end // longer[0] * longer[0]
        if inner_end is None or inner_begin < inner_end:
            if begin < inner_begin:
                yield _Piece(shortest, begin, inner_begin)
            yield from _pieces(inner_begin, inner_end, longer)
            if end is not None and inner_end is not None and inner_end < end:
                yield _Piece(shortest, inner_end, end)
            return
    yield _Piece(shortest, begin, end)


def _answer(
    conn: Connection,
    measure: Measure,
    question: _Question | None,
    buckets: _Buckets | None = None,
    limit: int | None = None,
    group: str | None = None,
) -> Sequence[Any] | None:
    if question is None:
        return None
    build = _built if question.is_moving else _statement
    query = build(conn.dialect.name, measure, question, buckets, limit, group)
    rows = [] if query is None else conn.execute(query).all()
    if not rows:
        return None
    return [] if rows[0].runs is None else rows


def _built(
    dialect: str,
    measure: Measure,
    question: _Question,
    buckets: _Buckets | None,
    limit: int | None,
    group: str | None,
) -> Select[Any] | None:
    """Returns the statement that answers a question; None if the counts cannot."""
    names = _KEYS[measure] if group is None else (*_KEYS[measure], group)
    if (plan := _plan(question, names, measure, buckets)) is None:
        return None
    parts = _parts(dialect, measure, names, question, plan, buckets)
    if buckets is not None and group is None:
        # Thousands of rows take longer to fetch than one text a status takes to write and to parse; each part writes
        # its own, because to unite thousands of rows takes longer than to unite texts.
        summed: Any = union_all(*map(_series, parts))
    else:
        found = union_all(*parts).subquery("found")
        keys = [column for column in found.c if column.name not in {"runs", "total_ms"}]
        sums = [cast(func.sum(found.c[name]), BigInteger).label(name) for name in ("runs", "total_ms")]
        summed = select(*keys, *sums).group_by(*keys).having(func.sum(found.c.runs) != 0)
    if limit is not None:
        summed = summed.order_by(sums[0].desc(), *keys).limit(limit)
    answer = summed.subquery("answer")
    # The statement returns one row without values if no run matches, and none while old runs are being counted.
    query = select(answer).select_from(_states.outerjoin(answer, true())).where(_states.c.filled_until.is_(None))
    if limit is not None:
        query = query.order_by(answer.c.runs.desc(), *(answer.c[key.name] for key in keys))
    return query


def _series(part: Select[Any]) -> Select[Any]:
    """Returns the query for the buckets and runs of a part as one text for each status."""
    found = part.subquery("found")
    return select(found.c.status, Series(found.c.bucket, found.c.runs).label("runs")).group_by(found.c.status)


# To build a statement takes several times as long as to execute it.
_statement = lru_cache(_KEPT_STATEMENTS)(_built)


def _parts(
    dialect: str,
    measure: Measure,
    names: Sequence[str],
    question: _Question,
    plan: _Plan,
    buckets: _Buckets | None,
) -> Iterator[Select[Any]]:
    """Returns the queries whose rows add up to the answer."""
    for level, piece in plan.levels:
        conditions = [_rollup.level == level.number, *question.conditions(_rollup)]
        if FLOW not in level.columns:
            conditions.append(_rollup.flow_id == ALL_FLOWS)  # The index of the table continues with this column.
        if piece.span != ALL_TIME:
            conditions += _between(_rollup.slot, piece.begin, piece.end)
        number = buckets and buckets.number(_rollup.slot)
        yield _part(names, _rollup, number, _rollup.runs, _rollup.total_ms).where(*conditions)
    changed = {name: bucket_of(_delta.duration_ms) if name == _BUCKET else _delta[name] for name in names}
    begin, end = min(piece.begin for _, piece in plan.levels), plan.levels[-1][1].end
    number = buckets and buckets.number(_delta.slot)
    total = _delta.runs * func.coalesce(_delta.duration_ms, 0)
    part = _part(names, changed, number, _delta.runs, total).where(*_between(_delta.slot, begin, end))
    yield part.where(*question.conditions(_delta), *_measured(measure, _delta))
    for since, until in plan.edges:
        own = {name: bucket_of(_run.duration_ms) if name == _BUCKET else _run[name] for name in names}
        number = buckets and buckets.number_at(since)
        part = _part(names, own, number, func.count(), func.sum(func.coalesce(_run.duration_ms, 0)))
        part = part.where(_run.id >= UUID(int=since << 80), _run.id < UUID(int=until << 80)).group_by(*own.values())
        yield part.where(matches(question.where, dialect, question.now), *_measured(measure, _run))


def _part(
    names: Sequence[str], source: Any, number: ColumnElement[int] | None, runs: Any, total: ColumnElement[Any]
) -> Select[Any]:
    keys = [source[name].label(name) for name in names]
    if number is not None:
        keys.insert(0, number.label("bucket"))
    return select(*keys, runs.label("runs"), total.label("total_ms"))


def _measured(measure: Measure, source: Any) -> Iterator[ColumnElement[bool]]:
    if measure is Measure.DURATIONS:
        yield source.duration_ms.is_not(None)
    if measure is Measure.FAILURES:
        yield source.failed_step_name.is_not(None)


def _between(slot: ColumnElement[int], begin: int, end: int | None) -> Iterator[ColumnElement[bool]]:
    if begin:
        yield slot >= begin
    if end is not None:
        yield slot < end
