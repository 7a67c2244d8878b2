"""Reads and writes of the logs of runs. The lines of each run are numbered from 1."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
)

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import RunRef
from db.models import FlowRun, RunLog
from db.models.types import contains_folded, table
from db.row_types import LogLineRow
from db.runs.reads import MAX_PROBES
from db.sql.keyset import Edge, Keyset, Page, in_order
from db.sql.rows import fetch_all, group_by
from domain.runs.run_log import LogLevel
from domain.text import fold_column
from domain.time import clock

_table = table(RunLog)
_line = _table.c
_run = table(FlowRun).c
# Lines are compared within one run, so their number is sufficient.
_BY_NUMBER = Keyset(_line.run_id, _line.number, descending=False)
Range = tuple[UUID, int, int]
"""A run, and the numbers of the first and the last of some of its log lines."""

LINES_IN_EVENT = 200
"""Largest number of lines that one event announces."""

_INSERT = insert(_table)
_LAST_NUMBER = select(func.coalesce(func.max(_line.number), 0)).where(_line.run_id == bindparam("of_run"))
_RUN = select(_run.project_id, _run.flow_id, _LAST_NUMBER.scalar_subquery().label("last")).where(
    _run.id == bindparam("of_run")
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is about to be appended."""

    at: datetime
    level: LogLevel
    step_name: str
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A filter of log lines. Fields are ANDed; a field that is None restricts nothing."""

    step_name: str | None = None
    level: LogLevel | None = None
    """The lowest level that matches."""
    search: str | None = None
    """Text in the message, case-insensitive."""


def append(uow: UnitOfWork, run_id: UUID, log_lines: Sequence[Line], max_lines: int) -> None:
    """Appends `log_lines` to a run's log. A log ends after `max_lines` lines, with one more that reports the end.

    The caller holds the run's lease until the end of the transaction, so that no number is used twice.
    """
    run = uow.conn.execute(_RUN, {"of_run": run_id}).one()
    last = run.last
    if last > max_lines:
        return
    rows = [_row(run_id, last + index, line) for index, line in enumerate(log_lines[: max_lines - last], start=1)]
    if last + len(log_lines) > max_lines:
        rows.append(_end_of_log(run_id, max_lines))
    uow.conn.execute(_INSERT, rows)
    # The event is prepended, because the lines were logged before the journal write of the same transaction.
    subject, end, now = RunRef(run_id, run.project_id, run.flow_id), last + len(rows), clock.now()
    firsts = range(last + 1, end + 1, LINES_IN_EVENT)
    event_log.prepend(
        uow, [event_log.lines_row(subject, first, min(first + LINES_IN_EVENT - 1, end), now) for first in firsts]
    )


def page(conn: Connection, run_id: UUID, page: Page) -> Sequence[LogLineRow]:
    """Returns a page of a run's log, in order."""
    return by_runs(conn, [run_id], LogFilter(), page).get(run_id, [])


def by_runs(conn: Connection, run_ids: Sequence[UUID], where: LogFilter, page: Page) -> Mapping[UUID, list[LogLineRow]]:
    """Returns for each run the page of its matching log lines, in one statement."""
    query = select(_table).where(_line.run_id.in_(run_ids), *_conditions(where), *_BY_NUMBER.within(page))
    if len(run_ids) > 1:
        query = _first_of_each(query, page)
    else:
        query = query.order_by(*_BY_NUMBER.order(backward=page.backward)).limit(page.limit)
    return group_by(in_order(fetch_all(conn, query), page), "run_id")


def runs_with_more(
    conn: Connection, edges: Sequence[tuple[UUID, Edge]], where: LogFilter
) -> Mapping[tuple[UUID, Edge], bool]:
    """Returns the runs and edges for which a matching line follows the edge."""
    numbers: list[int] = []
    for start in range(0, len(edges), MAX_PROBES):
        probes = [
            select(literal(start + index)).where(
                exists().where(_line.run_id == run_id, *_conditions(where), _BY_NUMBER.beyond(edge))
            )
            for index, (run_id, edge) in enumerate(edges[start : start + MAX_PROBES])
        ]
        numbers += conn.execute(union_all(*probes)).scalars()
    return dict.fromkeys((edges[number] for number in numbers), True)


def by_ranges(conn: Connection, ranges: Sequence[Range]) -> Mapping[Range, list[LogLineRow]]:
    """Returns the lines of each range, in order."""
    spans: dict[UUID, tuple[int, int]] = {}
    for run_id, first, last in ranges:
        start, end = spans.get(run_id, (first, last))
        spans[run_id] = min(start, first), max(end, last)
    # The ranges of one run are adjacent, so one range over all of them reads little else.
    in_spans = (and_(_line.run_id == key, _line.number.between(*span)) for key, span in spans.items())
    query = select(_table).where(or_(*in_spans)).order_by(_line.run_id, _line.number)
    log_lines = group_by(fetch_all(conn, query), "run_id")
    return {(run_id, first, last): _between(log_lines.get(run_id, []), first, last) for run_id, first, last in ranges}


def _between(log_lines: list[LogLineRow], first: int, last: int) -> list[LogLineRow]:
    number = attrgetter("number")
    return log_lines[bisect_left(log_lines, first, key=number) : bisect_right(log_lines, last, key=number)]


def counts_by_runs(conn: Connection, run_ids: Sequence[UUID], where: LogFilter) -> Mapping[UUID, int]:
    """Returns the number of matching lines of each run; 0 is omitted."""
    query = select(_line.run_id, func.count()).where(_line.run_id.in_(run_ids), *_conditions(where))
    return dict(conn.execute(query.group_by(_line.run_id)).all())


def _row(run_id: UUID, number: int, line: Line) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "number": number,
        "at": line.at,
        "level": line.level,
        "step_name": line.step_name,
        "attempt": line.attempt,
        "message": line.message,
        "message_folded": fold_column(line.message),
    }


def _end_of_log(run_id: UUID, max_lines: int) -> dict[str, Any]:
    message = f"The log ends here: a run keeps at most {max_lines:,} lines."
    return {
        "run_id": run_id,
        "number": max_lines + 1,
        "at": clock.now(),
        "level": LogLevel.WARNING,
        "step_name": None,
        "attempt": None,
        "message": message,
        "message_folded": None,
    }


def _conditions(where: LogFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if where.step_name is not None:
        conditions.append(_line.step_name == where.step_name)
    if where.level is not None:
        conditions.append(_line.level.in_(where.level.and_above))
    if where.search is not None:
        conditions.append(contains_folded(_line.message, _line.message_folded, where.search))
    return conditions


def _first_of_each(query: Select[Any], page: Page) -> Select[Any]:
    order = _BY_NUMBER.order(backward=page.backward)
    ranked = query.add_columns(func.row_number().over(partition_by=_line.run_id, order_by=order).label("rank"))
    inner = ranked.subquery()
    return select(inner).where(inner.c.rank <= page.limit).order_by(inner.c.rank)
