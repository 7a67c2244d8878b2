"""The levels of kept counts: their columns and spans of creation time.

A run counts at each level. Coarse levels have few rows: an answer reads the coarsest level that has the requested
columns. The number of a level is stored, so its meaning never changes. A new level takes a migration that empties both
tables and sets `run_rollup_state.filled_until` to 1970: all runs are then counted again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    Uuid,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.models.runs.run_rollup import SLOT_SECONDS, SLOT_SQL

FLOW, ENVIRONMENT, TRIGGER = "flow_id", "environment", "trigger_method"
ALL_FLOWS = UUID(int=0)
"""`flow_id` at levels that count all flows of a project together."""
ANY = ""
"""`environment`, `trigger_method` and `failed_step_name` at levels that do not count by them."""
NO_DURATION = -1
"""`duration_bucket` at levels that do not count by it."""

QUARTER = 1
"""A span of one slot, in slots."""
HOUR = 3600 // SLOT_SECONDS
DAY = 24 * HOUR
ALL_TIME = 2**31 - 1
"""A span that begins in 1970 and has no end: every run is in slot 0."""

SIGNIFICANT_BITS = 7
"""Bits of a duration that decide its bucket. A bucket is at most a 64th as wide as its shortest duration, so its middle
differs by at most 0.8 % from each of its durations; durations below 128 ms have buckets of their own."""
_MAX_SHIFT = 40
"""Maximum number of omitted bits; it is reached by durations of 4,000 years."""


class Measure(Enum):
    """The runs that a level counts."""

    RUNS = auto()
    DURATIONS = auto()
    """Runs with a duration, by its bucket."""
    FAILURES = auto()
    """Runs that failed at a step, by its name."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level: it counts by project, status, archived or not, and by `columns`."""

    number: int
    measure: Measure
    columns: frozenset[str]
    span: int
    """The span of creation times that is counted together, in slots."""


def _spans(measure: Measure, first: int, *columns: str, spans: tuple[int, ...]) -> list[Level]:
    return [Level(first + number, measure, frozenset(columns), span) for number, span in enumerate(spans)]


_ALL_SPANS = (ALL_TIME, DAY, HOUR, QUARTER)
LEVELS: tuple[Level, ...] = (
    *_spans(Measure.RUNS, 10, spans=_ALL_SPANS),
    *_spans(Measure.RUNS, 20, FLOW, spans=_ALL_SPANS[:3]),
    *_spans(Measure.RUNS, 30, ENVIRONMENT, spans=_ALL_SPANS[:3]),
    *_spans(Measure.RUNS, 40, TRIGGER, spans=_ALL_SPANS[:3]),
    *_spans(Measure.RUNS, 50, FLOW, ENVIRONMENT, TRIGGER, spans=_ALL_SPANS[:3]),
    # A level by flow and hour would have nearly as many rows as there are runs.
    *_spans(Measure.DURATIONS, 110, spans=_ALL_SPANS[:3]),
    *_spans(Measure.DURATIONS, 120, FLOW, spans=_ALL_SPANS[:2]),
    *_spans(Measure.DURATIONS, 130, ENVIRONMENT, spans=_ALL_SPANS[:2]),
    *_spans(Measure.DURATIONS, 140, TRIGGER, spans=_ALL_SPANS[:2]),
    *_spans(Measure.FAILURES, 210, FLOW, spans=_ALL_SPANS[:3]),
    *_spans(Measure.FAILURES, 220, FLOW, ENVIRONMENT, TRIGGER, spans=_ALL_SPANS[:3]),
)


def by_span(measure: Measure, columns: Collection[str]) -> Mapping[int, Level]:
    """Returns the levels that count `measure` by `columns` and as few others as possible, by their spans."""
    fitting = [level for level in LEVELS if level.measure is measure and level.columns.issuperset(columns)]
    fewest = min((level.columns for level in fitting), key=len, default=None)
    return {level.span: level for level in fitting if level.columns == fewest}


class Slot(FunctionElement[int]):
    """SQL expression: the number of the slot that contains the instant in a column."""

    inherit_cache = True
    name = "slot"
    type = Integer()


@compiles(Slot)
def _compile_slot(element: Slot, compiler: SQLCompiler, **kw: Any) -> str:
    (created_at,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return SLOT_SQL[compiler.dialect.name].format(created_at=created_at)


class Shift(FunctionElement[int]):
    """SQL expression: a number without its last bits, `(number >> bits) << bits`."""

    inherit_cache = True
    name = "shift"


@compiles(Shift)
def _compile_shift(element: Shift, compiler: SQLCompiler, **kw: Any) -> str:
    number, bits = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(({number} >> {bits}) << {bits})"


def bucket_of(duration: ColumnElement[int]) -> ColumnElement[int]:
    """Returns the bucket of a duration: its shortest duration, in milliseconds."""
    bits = case(
        *(
            (duration < literal_column(str(2 ** (SIGNIFICANT_BITS + shift))), literal_column(str(shift)))
            for shift in range(_MAX_SHIFT)
        ),
        else_=literal_column(str(_MAX_SHIFT)),
    )
    shifted = Shift(duration, bits)
    shifted.type = duration.type
    return shifted


def middle_of(bucket: int) -> int:
    """Returns the duration in the middle of a bucket, in milliseconds."""
    width = 1 << max(0, bucket.bit_length() - SIGNIFICANT_BITS)
    return bucket + (width - 1) // 2


def _levels_table() -> Subquery:
    rows = [
        select(
            literal(level.number, literal_execute=True).label("number"),
            literal(level.span, literal_execute=True).label("span"),
            *(
                literal(holds, Boolean, literal_execute=True).label(name)
                for name, holds in {
                    "by_flow": FLOW in level.columns,
                    "by_environment": ENVIRONMENT in level.columns,
                    "by_trigger": TRIGGER in level.columns,
                    "by_duration": level.measure is Measure.DURATIONS,
                    "by_step": level.measure is Measure.FAILURES,
                }.items()
            ),
        )
        for level in LEVELS
    ]
    return union_all(*rows).subquery("levels")


_levels = _levels_table()
_level = _levels.c


def by_level(changes: FromClause) -> Select[Any]:
    """Returns the query that sums changes, which have the columns of `run_rollup_delta`, at each level.

    It has the columns of `run_rollup`. Groups whose sum is 0 are omitted.
    """
    values = [column for column in changes.c if column.name != "runs"]
    number = func.sum(changes.c.runs)
    merged = select(*values, number.label("runs")).group_by(*values).having(number != 0).subquery("merged")
    change = merged.c
    is_counted = and_(
        or_(~_level.by_duration, change.duration_ms.is_not(None)),
        or_(~_level.by_step, change.failed_step_name.is_not(None)),
    )
    expanded = (
        select(
            _level.number.label("level"),
            change.project_id,
            case((_level.by_flow, change.flow_id), else_=literal(ALL_FLOWS, Uuid())).label("flow_id"),
            (change.slot - change.slot % _level.span).label("slot"),
            case((_level.by_environment, change.environment), else_=ANY).label("environment"),
            case((_level.by_trigger, change.trigger_method), else_=ANY).label("trigger_method"),
            change.status,
            change.archived,
            case((_level.by_step, change.failed_step_name), else_=ANY).label("failed_step_name"),
            case((_level.by_duration, bucket_of(change.duration_ms)), else_=NO_DURATION).label("duration_bucket"),
            change.runs,
            case((_level.by_duration, change.runs * change.duration_ms), else_=0).label("total_ms"),
        )
        .select_from(merged.join(_levels, is_counted))
        .subquery("expanded")
    )
    keys = [column for column in expanded.c if column.name not in {"runs", "total_ms"}]
    runs, total = (cast(func.sum(column), BigInteger) for column in (expanded.c.runs, expanded.c.total_ms))
    query = select(*keys, runs.label("runs"), total.label("total_ms")).group_by(*keys)
    return query.having((runs != 0) | (total != 0))
