"""Statistics over the runs that a filter means: each function is one statement, and its result is bounded.

All of them take the instant at which "until now" ends in the filter, so that the parts of one answer agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Integer, case, func, literal_column, select, true, tuple_

from db.models import FlowRun
from db.models.types import table
from db.runs.filter import matches
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import RunStatus
from domain.run_filter import RunFilter

_table = table(FlowRun)
_run = _table.c

PERCENTILES = (50, 90, 95, 99)
Failure = tuple[UUID, str]
"""A flow, and the step at which runs of it failed."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long runs took that have ended, in milliseconds."""

    count: int
    least: int
    most: int
    mean: float
    percentiles: Sequence[int]
    """For each of PERCENTILES the shortest duration that so many percent of the runs did not exceed."""


def counts(conn: Connection, wanted: RunFilter, now: datetime) -> Mapping[str, int]:
    """How many runs have each status; statuses that none has are left out."""
    query = select(_run.status, func.count()).where(matches(wanted, conn.dialect.name, now)).group_by(_run.status)
    return dict(conn.execute(query).all())


def counts_by_time(
    conn: Connection, wanted: RunFilter, now: datetime, bounds: Sequence[datetime]
) -> Mapping[tuple[int, str], int]:
    """How many runs of each status were created between each two of `bounds`, by the number of the first, from 0."""
    edges = [ids.first_uuid_at(each) for each in bounds]
    # All statuses there are, so that an index that begins with the status is searched for the time alone.
    known = _run.status.in_(sorted(RunStatus)) if wanted.statuses is None else true()
    meant = matches(wanted, conn.dialect.name, now)
    each = (
        select(_place(edges[1:-1]).label("place"), _run.status)
        .where(known, _run.id >= edges[0], _run.id < edges[-1], meant)
        .subquery("each")
    )
    query = select(each.c.place, each.c.status, func.count()).group_by(each.c.place, each.c.status)
    return {(place, status): count for place, status, count in conn.execute(query)}


def _place(edges: Sequence[UUID], first: int = 0) -> ColumnElement[Any]:
    """How many of `edges` a run's ID is not below, plus `first`: a binary search, written out."""
    if not edges:
        return literal_column(str(first), Integer)
    middle = len(edges) // 2
    lower, upper = _place(edges[:middle], first), _place(edges[middle + 1 :], first + middle + 1)
    return case((_run.id < edges[middle], lower), else_=upper)


def durations(conn: Connection, wanted: RunFilter, now: datetime) -> Durations | None:
    """How long the runs took that have ended; None when none has."""
    length = _run.duration_ms
    of_length = (
        select(length.label("length"), func.count().label("runs"))
        .where(length.is_not(None), matches(wanted, conn.dialect.name, now))
        .group_by(length)
        .cte("of_length")
    )
    ranked = select(of_length, func.sum(of_length.c.runs).over(order_by=of_length.c.length).label("upto")).subquery(
        "ranked"
    )
    # Counted in whole runs: a quotient could be rounded to the other side of a percentile.
    runs = select(func.sum(of_length.c.runs)).scalar_subquery()
    percentiles = [func.min(case((ranked.c.upto * 100 >= runs * percent, ranked.c.length))) for percent in PERCENTILES]
    total = func.sum(ranked.c.length * ranked.c.runs)
    query = select(func.sum(ranked.c.runs), func.min(ranked.c.length), func.max(ranked.c.length), total, *percentiles)
    count, least, most, took, *found = conn.execute(query).one()
    return Durations(int(count), least, most, int(took) / int(count), found) if count else None


def failures(conn: Connection, wanted: RunFilter, now: datetime, limit: int) -> Sequence[AnyRow]:
    """The `limit` steps at which most runs failed: `flow_id`, `step_name` and `runs`, the most first."""
    runs = func.count().label("runs")
    query = (
        select(_run.flow_id, _run.failed_step_name.label("step_name"), runs)
        .where(_run.failed_step_name.is_not(None), matches(wanted, conn.dialect.name, now))
        .group_by(_run.flow_id, _run.failed_step_name)
        .order_by(runs.desc(), _run.flow_id, _run.failed_step_name)
    )
    return conn.execute(query.limit(limit)).all()


def errors_by_failures(
    conn: Connection, wanted: RunFilter, now: datetime, keys: Sequence[Failure], limit: int
) -> Mapping[Failure, list[AnyRow]]:
    """Of each failing step the `limit` errors that most runs ended with, the most first.

    An error has its `fingerprint`, `runs`, `last_at`, and of the newest run its `run_id` and `message`.
    """
    step, print_ = _run.failed_step_name, _run.error_fingerprint
    alike = (_run.flow_id, step, print_)
    each = (
        select(
            _run.flow_id,
            step.label("step_name"),
            print_.label("fingerprint"),
            _run.id.label("run_id"),
            func.count().over(partition_by=alike).label("runs"),
            func.max(_run.finished_at).over(partition_by=alike).label("last_at"),
            func.row_number().over(partition_by=alike, order_by=_run.id.desc()).label("age"),
        )
        .where(tuple_(_run.flow_id, step).in_(keys), print_.is_not(None), matches(wanted, conn.dialect.name, now))
        .subquery("each")
    )
    order = (each.c.runs.desc(), each.c.fingerprint)
    rank = func.row_number().over(partition_by=(each.c.flow_id, each.c.step_name), order_by=order).label("rank")
    kinds = select(each, rank).where(each.c.age == 1).subquery("kinds")
    query = (
        select(kinds, _run.error_message.label("message"))
        .join(_table, _run.id == kinds.c.run_id)
        .where(kinds.c.rank <= limit)
        .order_by(kinds.c.rank)
    )
    return _by_failures(conn.execute(query).all())


def _by_failures(rows: Sequence[AnyRow]) -> Mapping[Failure, list[AnyRow]]:
    found: dict[Failure, list[AnyRow]] = {}
    for row in rows:
        found.setdefault((row.flow_id, row.step_name), []).append(row)
    return found
