"""Statistics over the runs that match a filter: each function executes a few statements, and its result is bounded.

Filters that the kept counts distinguish are answered by these (`db.rollups.answers`); for others, runs are read.

Every function takes the instant until which runs that have not ended have lasted, so that the parts of one answer
agree.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Integer, case, func, literal_column, select, true, tuple_

from db.models import FlowRun
from db.models.types import table
from db.narrowing.narrow import narrowed
from db.rollups import answers
from db.rollups.answers import DurationCount
from db.rollups.levels import middle_of
from domain import ids
from domain.enums import RunStatus
from domain.runs.run_filter import RunFilter

_table = table(FlowRun)
_run = _table.c

PERCENTILES = (50, 90, 95, 99)
"""Percentiles of durations, in percent."""
EXACT_DURATIONS = 10_000
"""Number of ended runs below which durations are always exact."""
Failure = tuple[UUID, str]
"""A flow, and the name of the step at which runs of it failed."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations of runs that have ended, in milliseconds."""

    count: int
    min: int
    max: int
    mean: float
    percentiles: Sequence[int]
    """For each of PERCENTILES, the shortest duration that this percentage of the runs did not exceed."""


class FailingStep(NamedTuple):
    """A step at which runs failed."""

    flow_id: UUID
    step_name: str
    runs: int
    """The number of runs that failed at it."""


class StepErrorCount(NamedTuple):
    """An error with which runs failed at a step."""

    flow_id: UUID
    step_name: str
    fingerprint: str
    runs: int
    """The number of runs that failed with it."""
    last_at: datetime
    """The latest finish time of these runs."""
    run_id: UUID
    """The newest of these runs."""
    message: str | None
    """The error message of the newest run."""


def counts(conn: Connection, where: RunFilter, now: datetime) -> Mapping[str, int]:
    """Returns the number of runs with each status; statuses without runs are left out."""
    if (counted := answers.counts(conn, where, now)) is not None:
        return counted
    query = select(_run.status, func.count()).where(narrowed(conn, where, now)).group_by(_run.status)
    return dict(conn.execute(query).all())


def counts_by_time(
    conn: Connection, where: RunFilter, now: datetime, bounds: Sequence[datetime]
) -> Mapping[str, Mapping[int, int]]:
    """Returns the number of runs in each time bucket, by status and by the index of the bucket; 0 is omitted.

    Bucket 0 begins at `bounds[0]` and ends at `bounds[1]`, where bucket 1 begins.
    """
    if (counted := answers.counts_by_time(conn, where, now, bounds)) is not None:
        return counted
    edges = [ids.first_uuid_at(bound) for bound in bounds]
    # A condition on all statuses lets the planner use an index that begins with the status.
    any_status = _run.status.in_(sorted(RunStatus)) if where.statuses is None else true()
    runs = (
        select(bucket(edges[1:-1]).label("bucket"), _run.status)
        .where(any_status, _run.id >= edges[0], _run.id < edges[-1], narrowed(conn, where, now))
        .subquery("runs")
    )
    query = select(runs.c.bucket, runs.c.status, func.count()).group_by(runs.c.bucket, runs.c.status)
    found: dict[str, dict[int, int]] = {}
    for bucket_, status, count in conn.execute(query):
        found.setdefault(status, {})[bucket_] = count
    return found


def bucket(edges: Sequence[UUID], first: int = 0) -> ColumnElement[Any]:
    """Returns the number of `edges` that are not above the run's ID, plus `first`: a binary search as nested CASEs."""
    if not edges:
        return literal_column(str(first), Integer)
    middle = len(edges) // 2
    lower, upper = bucket(edges[:middle], first), bucket(edges[middle + 1 :], first + middle + 1)
    return case((_run.id < edges[middle], lower), else_=upper)


def durations(conn: Connection, where: RunFilter, now: datetime) -> Durations | None:
    """Returns the durations of the runs that have ended; None if none has.

    From EXACT_DURATIONS runs on, those of a filter that the counts of `db.rollups` can answer are approximate.
    """
    buckets = answers.durations(conn, where, now)
    if buckets is not None and sum(bucket.runs for bucket in buckets) >= EXACT_DURATIONS:
        return approximate(buckets)
    return exact_durations(conn, narrowed(conn, where, now)).get(())


def exact_durations(
    conn: Connection, condition: ColumnElement[bool], *keys: ColumnElement[Any]
) -> Mapping[tuple[Any, ...], Durations]:
    """Returns the durations of the runs that match a condition and have ended, by their values in the columns `keys`.

    Without `keys`, all runs have the key `()`. Keys without such runs are left out.
    """
    length = _run.duration_ms
    of_length = (
        select(*keys, length.label("length"), func.count().label("runs"))
        .where(length.is_not(None), condition)
        .group_by(*keys, length)
        .cte("of_length")
    )
    own = [of_length.c[str(column.key)] for column in keys]
    up_to = func.sum(of_length.c.runs).over(partition_by=own or None, order_by=of_length.c.length)
    whole = func.sum(of_length.c.runs).over(partition_by=own or None)
    ranked = select(of_length, up_to.label("up_to"), whole.label("whole")).subquery("ranked")
    # Whole runs are compared: a quotient could be rounded to the other side of a percentile.
    percentiles = [
        func.min(case((ranked.c.up_to * 100 >= ranked.c.whole * percent, ranked.c.length))) for percent in PERCENTILES
    ]
    total = func.sum(ranked.c.length * ranked.c.runs)
    values = (func.sum(ranked.c.runs), func.min(ranked.c.length), func.max(ranked.c.length), total, *percentiles)
    grouped = [ranked.c[str(column.key)] for column in keys]
    found: dict[tuple[Any, ...], Durations] = {}
    for row in conn.execute(select(*grouped, *values).group_by(*grouped)):
        count, shortest, longest, sum_of_all, *by_percent = row[len(keys) :]
        if count:
            mean = int(sum_of_all) / int(count)
            found[tuple(row[: len(keys)])] = Durations(int(count), shortest, longest, mean, by_percent)
    return found


def approximate(buckets: Sequence[DurationCount]) -> Durations:
    """Returns the durations of runs from their buckets."""
    runs = sum(bucket.runs for bucket in buckets)
    up_to = list(accumulate(bucket.runs for bucket in buckets))
    middles = [middle_of(bucket.bucket) for bucket in buckets]
    percentiles = [middles[bisect_left(up_to, -(-runs * percent // 100))] for percent in PERCENTILES]
    mean = sum(bucket.total_ms for bucket in buckets) / runs
    return Durations(runs, middles[0], middles[-1], mean, percentiles)


def failures(conn: Connection, where: RunFilter, now: datetime, limit: int | None) -> Sequence[FailingStep]:
    """Returns the `limit` steps at which most runs failed, in descending order of the number; None: all steps, in no
    order."""
    if (counted := answers.failures(conn, where, now, limit)) is not None:
        return [FailingStep(*row) for row in counted]
    runs = func.count().label("runs")
    query = (
        select(_run.flow_id, _run.failed_step_name.label("step_name"), runs)
        .where(_run.failed_step_name.is_not(None), narrowed(conn, where, now))
        .group_by(_run.flow_id, _run.failed_step_name)
        .order_by(runs.desc(), _run.flow_id, _run.failed_step_name)
    )
    return [FailingStep(*row) for row in conn.execute(query.limit(limit))]


def errors_by_failures(
    conn: Connection, where: RunFilter, now: datetime, keys: Sequence[Failure], limit: int
) -> Mapping[Failure, list[StepErrorCount]]:
    """Returns, for each failing step, the `limit` errors with which most runs failed, in descending order of the
    number."""
    step, fingerprint = _run.failed_step_name, _run.error_fingerprint
    same_error = (_run.flow_id, step, fingerprint)
    runs = (
        select(
            _run.flow_id,
            step.label("step_name"),
            fingerprint.label("fingerprint"),
            _run.id.label("run_id"),
            func.count().over(partition_by=same_error).label("runs"),
            func.max(_run.finished_at).over(partition_by=same_error).label("last_at"),
            func.row_number().over(partition_by=same_error, order_by=_run.id.desc()).label("age"),
        )
        .where(tuple_(_run.flow_id, step).in_(keys), fingerprint.is_not(None), narrowed(conn, where, now))
        .subquery("runs")
    )
    order = (runs.c.runs.desc(), runs.c.fingerprint)
    rank = func.row_number().over(partition_by=(runs.c.flow_id, runs.c.step_name), order_by=order).label("rank")
    errors = select(runs, rank).where(runs.c.age == 1).subquery("errors")
    query = (
        select(*(errors.c[name] for name in StepErrorCount._fields[:-1]), _run.error_message)
        .join_from(errors, _table, _run.id == errors.c.run_id)
        .where(errors.c.rank <= limit)
        .order_by(errors.c.rank)
    )
    groups: dict[Failure, list[StepErrorCount]] = {}
    for row in conn.execute(query):
        error = StepErrorCount._make(row)
        groups.setdefault((error.flow_id, error.step_name), []).append(error)
    return groups
