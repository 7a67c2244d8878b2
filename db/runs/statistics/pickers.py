"""The values that runs have, with the number of runs: choices for a person who composes a filter.

A list counts the newest SAMPLE runs that match a filter, so its time is bounded whatever the number of runs. Steps at
which runs failed are counted over all matching runs where the kept counts answer the filter.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from enum import Enum, auto
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.models import FlowRun
from db.models.types import table
from db.narrowing.narrow import narrow
from db.rollups import answers, extent
from db.runs.filter import matches
from db.sql.bitmap_memory import memory_for_bitmaps
from domain.enums import RunStatus
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import UNSUCCESSFUL
from domain.text import lower_ascii

SAMPLE = 10_000
"""Largest number of runs that a list reads. In a table of 200,000 runs on SQLite, reading as many took 60 to 380 ms."""
_WITH_ERRORS = UNSUCCESSFUL - {RunStatus.STOPPED}
"""The statuses of runs with an error."""
_SCALARS = ("string", "number", "boolean")
_SQLITE_SCALARS = ("text", "integer", "real", "true", "false")
"""Types of JSON values that can be chosen: all except null, objects and lists."""

_table = table(FlowRun)
_run = _table.c


class Picker(Enum):
    """A list of values."""

    TAG = auto()
    FAILED_STEP = auto()
    ERROR_CODE = auto()
    SOURCE = auto()
    METADATA_KEY = auto()
    """The keys of the object at a path in the metadata."""
    METADATA_VALUE = auto()
    """The strings, numbers and booleans at a path in the metadata, as JSON texts."""


_OF_ERRORS = (Picker.FAILED_STEP, Picker.ERROR_CODE)
"""The lists of values that only runs with an error have."""


class ValueCount(NamedTuple):
    """A value, and the number of runs that have it."""

    value: str
    runs: int


class ValueCounts(NamedTuple):
    """The values of a list."""

    values: Sequence[ValueCount]
    """The most frequent value first."""
    is_exact: bool
    """False if more runs match than were read."""


_COLUMNS = {
    Picker.FAILED_STEP: _run.failed_step_name,
    Picker.ERROR_CODE: _run.error_code,
    Picker.SOURCE: _run.source,
}


def values(
    conn: Connection,
    where: RunFilter,
    now: datetime,
    picker: Picker,
    path: Sequence[str],
    prefix: str,
    limit: int,
) -> ValueCounts:
    """Returns the `limit` most frequent values that begin with `prefix`; ASCII letters match in upper and lower case.

    `path` names the object or the value in the metadata; it is empty for other lists.
    """
    if picker is Picker.FAILED_STEP and (steps := answers.failures(conn, where, now, None)) is not None:
        return _of_steps(steps, lower_ascii(prefix), limit)
    newest = _newest(conn, where, now, picker)
    value, text, source, conditions = _exploded(conn.dialect.name, newest, picker, path)
    if prefix:
        conditions = [*conditions, func.substr(_lower(conn, text), 1, len(prefix)) == lower_ascii(prefix)]
    runs = func.count().label("runs")
    found = (
        select(value.label("value"), runs)
        .select_from(source)
        .where(value.is_not(None), *conditions)
        .group_by(value)
        .order_by(runs.desc(), value)
        .limit(limit)
        .subquery("found")
    )
    read = select(cast(null(), Text).label("value"), func.count().label("runs")).select_from(newest)
    with memory_for_bitmaps(conn) if picker in _OF_ERRORS and _has_bitmaps(where) else nullcontext():
        rows = conn.execute(union_all(select(found), read)).all()
    number = next(row.runs for row in rows if row.value is None)
    counts = [ValueCount(row.value, row.runs) for row in rows if row.value is not None]
    return ValueCounts(_most_frequent(counts, limit), number <= SAMPLE)


def _has_bitmaps(where: RunFilter) -> bool:
    """Returns True if the index of errors is read beside one of the filter's. Beside that of another filter PostgreSQL
    reads the index of their texts, and keeping each of its entries takes longer than looking at runs again."""
    fields = (where.flow_ids, where.flow_version_ids, where.tags, where.any_tags, where.metadata)
    return any(value is not None for value in fields)


def _of_steps(steps: Sequence[tuple[Any, str, int]], prefix: str, limit: int) -> ValueCounts:
    counts: Counter[str] = Counter()
    for _, name, runs in steps:
        if lower_ascii(name).startswith(prefix):
            counts[name] += runs
    return ValueCounts(_most_frequent([ValueCount(*each) for each in counts.items()], limit), is_exact=True)


def _most_frequent(counts: Sequence[ValueCount], limit: int) -> Sequence[ValueCount]:
    return sorted(counts, key=lambda each: (-each.runs, each.value))[:limit]


def _newest(conn: Connection, where: RunFilter, now: datetime, picker: Picker) -> CTE:
    """Returns the newest matching runs: one more than are counted, if there are more."""
    column = _COLUMNS.get(picker, _run.tags if picker is Picker.TAG else _run.metadata)
    found = extent.bounded(conn, narrow(conn, where, now))
    failed = _with_errors(conn.dialect.name, found) if picker in _OF_ERRORS else ()
    condition = matches(found, conn.dialect.name, now, reads_all=True)
    query: Select[Any] = select(_run.id, column.label("value")).where(condition, *failed)
    return query.order_by(_run.id.desc()).limit(SAMPLE + 1).cte("newest")


def _with_errors(dialect: str, where: RunFilter) -> Sequence[ColumnElement[bool]]:
    """Returns the conditions that restrict the runs of a narrowed filter to those with an error.

    Only conditions whose index is in the order of creation: another index would have to be sorted as a whole. And none
    that the filter implies, or beside the names of runs: PostgreSQL would take the runs with both for a few.
    """
    restricted = (where.ids, where.failed_step_name, where.error_fingerprint, where.error_contains)
    if any(value is not None for value in restricted):
        return ()
    if where.statuses is not None and _WITH_ERRORS.issuperset(where.statuses):
        return ()
    if where.unrecovered and dialect != "sqlite":
        return (_run.status != RunStatus.STOPPED,)
    return (_run.error_message.is_not(None),)


def _exploded(
    dialect: str, newest: CTE, picker: Picker, path: Sequence[str]
) -> tuple[ColumnElement[Any], ColumnElement[Any], FromClause, list[ColumnElement[bool]]]:
    """Returns the value of each run, its text for the comparison with a prefix, the rows of values, and conditions on
    them."""
    if picker in _COLUMNS:
        return newest.c.value, newest.c.value, newest, []
    if dialect != "sqlite":
        return _exploded_on_postgresql(newest, picker, path)
    if picker is Picker.TAG:
        tag = func.json_each(newest.c.value).table_valued("value", joins_implicitly=True)
        return tag.c.value, tag.c.value, newest.join(tag, true()), []
    source: FromClause = newest
    document: ColumnElement[Any] = newest.c.value
    conditions: list[ColumnElement[bool]] = []
    keys = [*path, None] if picker is Picker.METADATA_KEY else path
    inner: Any = None
    for level, key in enumerate(keys):
        inner = func.json_each(document).table_valued("key", "value", "type", name=f"level_{level}")
        source = source.join(inner, true())
        if key is not None:
            conditions.append(inner.c.key == key)
        document = case((inner.c.type == "object", inner.c.value), else_="{}")
    if picker is Picker.METADATA_KEY:
        return inner.c.key, inner.c.key, source, conditions
    conditions.append(inner.c.type.in_(_SQLITE_SCALARS))
    # The value of a boolean is a number; its type is its text.
    is_boolean = inner.c.type.in_(("true", "false"))
    value, text = (
        case((is_boolean, inner.c.type), else_=each) for each in (func.json_quote(inner.c.value), inner.c.value)
    )
    return value, text, source, conditions


def _exploded_on_postgresql(
    newest: CTE, picker: Picker, path: Sequence[str]
) -> tuple[ColumnElement[Any], ColumnElement[Any], FromClause, list[ColumnElement[bool]]]:
    if picker is Picker.TAG:
        tag = func.unnest(newest.c.value).table_valued("value", joins_implicitly=True).render_derived()
        return tag.c.value, tag.c.value, newest.join(tag, true()), []
    inner: ColumnElement[Any] = cast(newest.c.value, JSONB)
    for name in path:
        # `->` with a text reads only keys of objects, where `#>` would also read elements of lists.
        inner = inner.op("->", return_type=JSONB())(literal(name, Text()))
    if picker is Picker.METADATA_KEY:
        found = case((func.jsonb_typeof(inner) == "object", inner), else_=cast(literal("{}", Text()), JSONB))
        key = func.jsonb_object_keys(found).table_valued("value", joins_implicitly=True).render_derived()
        return key.c.value, key.c.value, newest.join(key, true()), []
    text = inner.op("#>>", return_type=Text())(literal([], ARRAY(Text())))
    return cast(inner, Text), text, newest, [func.jsonb_typeof(inner).in_(_SCALARS)]


def _lower(conn: Connection, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns the text with its ASCII letters in lower case, which is what SQLite's `lower` does."""
    return func.lower(value) if conn.dialect.name == "sqlite" else func.lower(value.collate("C"))
