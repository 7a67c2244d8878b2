"""The logs of runs: lines, numbered from 1 in each run."""

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
from db.models.types import table
from db.sql.keyset import Edge, Keyset, Page
from db.sql.rows import AnyRow, group_by
from domain import clock
from domain.run_log import LogLevel

_table = table(RunLog)
_line = _table.c
_run = table(FlowRun).c
# Only lines of one run are ever compared, so the number alone decides.
_KEYS = Keyset(_line.run_id, _line.number, descending=False)
_MAX_PROBES = 500
"""SELECTs that SQLite takes in one UNION."""

Range = tuple[UUID, int, int]
"""Lines of a run, from a number up to and with another."""

LINES_IN_EVENT = 200
"""The most that one event tells of."""

_INSERT = insert(_table)
_LAST_NUMBER = select(func.coalesce(func.max(_line.number), 0)).where(_line.run_id == bindparam("of_run"))
_RUN = select(_run.project_id, _run.flow_id, _LAST_NUMBER.scalar_subquery().label("last")).where(
    _run.id == bindparam("of_run")
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line on its way into the log."""

    at: datetime
    level: LogLevel
    step_name: str
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines are meant: those that meet all that is given."""

    step_name: str | None = None
    level: LogLevel | None = None
    """At least."""
    search: str | None = None
    """In the message, in whatever case."""


def append(uow: UnitOfWork, run_id: UUID, lines: Sequence[Line], most: int) -> None:
    """Write `lines` at the end of a run's log, which takes `most`, and then one that says so.

    Whoever calls holds the run's lease until the end of the transaction.
    """
    run = uow.conn.execute(_RUN, {"of_run": run_id}).one()
    last = run.last
    if last > most:
        return
    rows = [_row(run_id, last + index, line) for index, line in enumerate(lines[: most - last], start=1)]
    if last + len(lines) > most:
        rows.append(_full(run_id, most))
    uow.conn.execute(_INSERT, rows)
    # Lines are gathered before the journal write with which they go.
    subject, end, now = RunRef(run_id, run.project_id, run.flow_id), last + len(rows), clock.now()
    firsts = range(last + 1, end + 1, LINES_IN_EVENT)
    event_log.prepend(
        uow, [event_log.lines_row(subject, first, min(first + LINES_IN_EVENT - 1, end), now) for first in firsts]
    )


def page(conn: Connection, run_id: UUID, page: Page) -> Sequence[AnyRow]:
    """A page of a run's log, in order."""
    return by_runs(conn, [run_id], LogFilter(), page).get(run_id, [])


def by_runs(conn: Connection, run_ids: Sequence[UUID], wanted: LogFilter, page: Page) -> Mapping[UUID, list[AnyRow]]:
    """For each run the page of its lines that are wanted, in one statement."""
    lines = select(_table).where(_line.run_id.in_(run_ids), *_conditions(wanted), *_KEYS.within(page))
    if len(run_ids) > 1:
        lines = _first_of_each(lines, page)
    else:
        lines = lines.order_by(*_KEYS.order(backward=page.backward)).limit(page.limit)
    rows = conn.execute(lines).all()
    return group_by(rows[::-1] if page.backward else rows, "run_id")


def runs_with_more(
    conn: Connection, edges: Sequence[tuple[UUID, Edge]], wanted: LogFilter
) -> Mapping[tuple[UUID, Edge], bool]:
    """Of the runs and edges, those where a line that is wanted stands beyond the edge."""
    found: list[int] = []
    for start in range(0, len(edges), _MAX_PROBES):
        probes = [
            select(literal(start + index)).where(
                exists().where(_line.run_id == run_id, *_conditions(wanted), _KEYS.beyond(edge))
            )
            for index, (run_id, edge) in enumerate(edges[start : start + _MAX_PROBES])
        ]
        found += conn.execute(union_all(*probes)).scalars()
    return dict.fromkeys((edges[number] for number in found), True)


def by_ranges(conn: Connection, ranges: Sequence[Range]) -> Mapping[Range, list[AnyRow]]:
    """The lines of each range, in order."""
    spans: dict[UUID, tuple[int, int]] = {}
    for run_id, first, last in ranges:
        least, most = spans.get(run_id, (first, last))
        spans[run_id] = min(least, first), max(most, last)
    # Ranges of one run come one after the other: those who catch up read a stretch of its log at once.
    any_of = (and_(_line.run_id == key, _line.number.between(*span)) for key, span in spans.items())
    query = select(_table).where(or_(*any_of)).order_by(_line.run_id, _line.number)
    lines = group_by(conn.execute(query), "run_id")
    return {each: _between(lines.get(each[0], []), each[1], each[2]) for each in ranges}


def _between(lines: list[AnyRow], first: int, last: int) -> list[AnyRow]:
    number = attrgetter("number")
    return lines[bisect_left(lines, first, key=number) : bisect_right(lines, last, key=number)]


def counts_by_runs(conn: Connection, run_ids: Sequence[UUID], wanted: LogFilter) -> Mapping[UUID, int]:
    """How many lines of each run are wanted."""
    query = select(_line.run_id, func.count()).where(_line.run_id.in_(run_ids), *_conditions(wanted))
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
    }


def _full(run_id: UUID, most: int) -> dict[str, Any]:
    message = f"The log ends here: a run keeps at most {most:,} lines."
    return {
        "run_id": run_id,
        "number": most + 1,
        "at": clock.now(),
        "level": LogLevel.WARNING,
        "step_name": None,
        "attempt": None,
        "message": message,
    }


def _conditions(wanted: LogFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.step_name is not None:
        conditions.append(_line.step_name == wanted.step_name)
    if wanted.level is not None:
        conditions.append(_line.level.in_(wanted.level.and_above))
    if wanted.search is not None:
        conditions.append(_line.message.icontains(wanted.search, autoescape=True))
    return conditions


def _first_of_each(lines: Select[Any], page: Page) -> Select[Any]:
    order = _KEYS.order(backward=page.backward)
    ranked = lines.add_columns(func.row_number().over(partition_by=_line.run_id, order_by=order).label("rank"))
    inner = ranked.subquery()
    return select(inner).where(inner.c.rank <= page.limit).order_by(inner.c.rank)
