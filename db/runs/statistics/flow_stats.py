"""Statistics over the runs of many flows. Each part takes a few statements for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select

from db.models import FlowRun
from db.models.types import table
from db.narrowing.narrow import narrowed
from db.rollups import answers
from db.rollups.levels import FLOW
from db.runs.statistics import stats
from db.runs.statistics.stats import EXACT_DURATIONS, Durations, FailingStep, Failure, StepErrorCount
from domain import ids
from domain.runs.run_filter import RunFilter
from domain.time import clock

_run = table(FlowRun).c


def counts(conn: Connection, flow_ids: Sequence[UUID], where: RunFilter) -> Mapping[UUID, Mapping[str, int]]:
    """Returns the number of runs of each flow with each status; 0 is omitted."""
    now, where = clock.now(), _of(flow_ids, where)
    if (counted := answers.counts_by_group(conn, where, now, FLOW)) is not None:
        return counted
    query = select(_run.flow_id, _run.status, func.count()).where(narrowed(conn, where, now))
    found: dict[UUID, dict[str, int]] = {}
    for flow_id, status, count in conn.execute(query.group_by(_run.flow_id, _run.status)):
        found.setdefault(flow_id, {})[status] = count
    return found


def counts_by_time(
    conn: Connection, flow_ids: Sequence[UUID], where: RunFilter, bounds: Sequence[datetime]
) -> Mapping[UUID, Mapping[str, Mapping[int, int]]]:
    """Returns the number of runs of each flow in each time bucket, by status and by the index of the bucket; 0 is
    omitted."""
    now, where = clock.now(), _of(flow_ids, where)
    if (counted := answers.counts_by_time_and_group(conn, where, now, bounds, FLOW)) is not None:
        return counted
    edges = [ids.first_uuid_at(bound) for bound in bounds]
    runs = (
        select(_run.flow_id, stats.bucket(edges[1:-1]).label("bucket"), _run.status)
        .where(_run.id >= edges[0], _run.id < edges[-1], narrowed(conn, where, now))
        .subquery("runs")
    )
    found: dict[UUID, dict[str, dict[int, int]]] = {}
    for row in conn.execute(select(*runs.c, func.count().label("runs")).group_by(*runs.c)):
        found.setdefault(row.flow_id, {}).setdefault(row.status, {})[row.bucket] = row.runs
    return found


def durations(conn: Connection, flow_ids: Sequence[UUID], where: RunFilter) -> Mapping[UUID, Durations]:
    """Returns the durations of the runs of each flow that have ended, like `stats.durations` for all runs."""
    now, where = clock.now(), _of(flow_ids, where)
    buckets = answers.durations_by_flow(conn, where, now)
    many = {
        flow_id: stats.approximate(found)
        for flow_id, found in (buckets or {}).items()
        if sum(bucket.runs for bucket in found) >= EXACT_DURATIONS
    }
    few = [flow_id for flow_id in where.flow_ids or () if flow_id not in many]
    exact = stats.exact_durations(conn, narrowed(conn, replace(where, flow_ids=few), now), _run.flow_id) if few else {}
    return {**many, **{flow_id: found for (flow_id,), found in exact.items()}}


def failures(
    conn: Connection, flow_ids: Sequence[UUID], where: RunFilter, limit: int
) -> Mapping[UUID, Sequence[FailingStep]]:
    """Returns, for each flow, the `limit` steps at which most of its runs failed, in descending order of the number."""
    found: dict[UUID, list[FailingStep]] = {}
    steps = stats.failures(conn, _of(flow_ids, where), clock.now(), None)
    for step in sorted(steps, key=lambda step: (-step.runs, step.step_name)):
        found.setdefault(step.flow_id, []).append(step)
    return {flow_id: of_flow[:limit] for flow_id, of_flow in found.items()}


def errors(
    conn: Connection, steps: Sequence[Failure], where: RunFilter, limit: int
) -> Mapping[Failure, Sequence[StepErrorCount]]:
    """Returns, for each step of a flow, the `limit` errors with which most runs failed at it, in descending order of
    the number."""
    return stats.errors_by_failures(conn, where, clock.now(), steps, limit)


def _of(flow_ids: Sequence[UUID], where: RunFilter) -> RunFilter:
    allowed = where.flow_ids
    return replace(where, flow_ids=[key for key in flow_ids if allowed is None or key in allowed])
