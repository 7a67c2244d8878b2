"""Statistics over runs in groups: by flow, tag, trigger, version or error.

Groups that the kept counts distinguish are answered by these (`db.rollups.answers`); for others, runs are read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, Uuid, case, func, select, true
from sqlalchemy.sql.functions import FunctionElement

from db.models import FlowRun
from db.models.types import Unindexed, table
from db.narrowing.narrow import narrowed
from db.rollups import answers
from db.rollups.levels import FLOW, TRIGGER
from db.runs.statistics.stats import bucket
from db.sql.templates import write_by_templates
from domain import ids
from domain.runs.run_filter import RunFilter
from domain.runs.run_group import RunGroup

_table = table(FlowRun)
_run = _table.c
_first_table = _table.alias("first_run")
_first = _first_table.c

_COLUMNS: Mapping[RunGroup, ColumnElement[Any]] = {
    # SQLite would read all runs in the order of an index by flow, each from another page, to sort none.
    RunGroup.FLOW: Unindexed(_run.flow_id),
    RunGroup.VERSION: _run.flow_version_id,
    RunGroup.TRIGGER: _run.trigger_method,
    RunGroup.ERROR: _run.error_fingerprint,
}
_COUNTED = {RunGroup.FLOW: FLOW, RunGroup.TRIGGER: TRIGGER}
"""Groups that the kept counts distinguish, with the column."""


class GreatestId(FunctionElement[UUID]):
    """SQL aggregate: the greatest ID, that of the newest run. PostgreSQL has none for UUIDs before version 18."""

    inherit_cache = True
    name = "greatest_id"
    type = Uuid()


write_by_templates(GreatestId, postgresql='CAST(max(CAST({0} AS TEXT) COLLATE "C") AS UUID)', sqlite="max({0})")


class GroupCounts(NamedTuple):
    """The runs of one group."""

    key: Any
    """The ID of a flow or a version, a trigger method, a tag or a fingerprint."""
    by_status: Mapping[str, int]

    @property
    def total(self) -> int:
        """The number of runs."""
        return sum(self.by_status.values())


class FailureGroup(NamedTuple):
    """The runs that failed with one error."""

    fingerprint: str
    runs: int
    unrecovered: int
    """Number of runs without a successful retry."""
    last_at: datetime
    """The latest finish time of these runs."""
    run_id: UUID
    """The newest of these runs."""
    code: str | None
    message: str | None
    """The error of the newest run."""
    step_name: str | None
    first_run_id: UUID
    """The oldest run of the project with this error, whether it matches the filter or not."""
    first_at: datetime
    """The finish time of that run."""


def counts(conn: Connection, where: RunFilter, now: datetime, group: RunGroup, limit: int) -> Sequence[GroupCounts]:
    """Returns the `limit` groups with the most runs, the largest first. Runs outside of all groups are left out."""
    counted = answers.counts_by_group(conn, where, now, _COUNTED[group]) if group in _COUNTED else None
    found = _read_counts(conn, where, now, group, limit) if counted is None else counted
    groups = [GroupCounts(key, by_status) for key, by_status in found.items()]
    return sorted(groups, key=lambda each: (-each.total, str(each.key)))[:limit]


def _read_counts(
    conn: Connection, where: RunFilter, now: datetime, group: RunGroup, limit: int
) -> Mapping[Any, Mapping[str, int]]:
    source, key = keyed(conn.dialect.name, group)
    runs = func.count().label("runs")
    by_status = (
        select(key.label("key"), _run.status.label("status"), runs)
        .select_from(source)
        .where(key.is_not(None), narrowed(conn, where, now))
        .group_by(key, _run.status)
        .cte("by_status")
    )
    total = func.sum(by_status.c.runs)
    largest = select(by_status.c.key).group_by(by_status.c.key).order_by(total.desc(), by_status.c.key).limit(limit)
    groups: dict[Any, dict[str, int]] = {}
    for row in conn.execute(select(by_status).where(by_status.c.key.in_(largest))):
        groups.setdefault(row.key, {})[row.status] = row.runs
    return groups


def keyed(dialect: str, group: RunGroup) -> tuple[FromClause, ColumnElement[Any]]:
    """Returns the runs, once for each group that they belong to, and the key of the group."""
    if group is not RunGroup.TAG:
        return _table, _COLUMNS[group]
    if dialect == "sqlite":
        tag = func.json_each(_run.tags).table_valued("value", joins_implicitly=True)
        return _table.join(tag, true()), tag.c.value
    unnested = func.unnest(_run.tags).table_valued("value", joins_implicitly=True).render_derived()
    return _table.join(unnested, true()), unnested.c.value


def failures(conn: Connection, where: RunFilter, now: datetime, limit: int) -> Sequence[FailureGroup]:
    """Returns the `limit` errors with which most runs failed, in descending order of the number."""
    fingerprint, runs = _run.error_fingerprint, func.count().label("runs")
    found = (
        select(
            fingerprint.label("fingerprint"),
            runs,
            func.sum(case((_run.recovered_by_id.is_(None), 1), else_=0)).label("unrecovered"),
            func.max(_run.finished_at).label("last_at"),
            GreatestId(_run.id).label("run_id"),
        )
        .where(fingerprint.is_not(None), narrowed(conn, where, now))
        .group_by(fingerprint)
        .order_by(runs.desc(), fingerprint)
        .limit(limit)
        .subquery("found")
    )
    oldest = (
        select(_first.id)
        .where(_first.project_id == _run.project_id, _first.error_fingerprint == _run.error_fingerprint)
        .order_by(_first.id)
        .limit(1)
    )
    with_first = (
        select(*found.c, _run.error_code, _run.error_message, _run.failed_step_name, oldest.label("first_run_id"))
        .join_from(found, _table, _run.id == found.c.run_id)
        .subquery("with_first")
    )
    query = (
        select(*with_first.c, _first.finished_at.label("first_at"))
        .join_from(with_first, _first_table, _first.id == with_first.c.first_run_id)
        .order_by(with_first.c.runs.desc(), with_first.c.fingerprint)
    )
    return [FailureGroup._make(row) for row in conn.execute(query)]


def flows_by_failures(
    conn: Connection, where: RunFilter, now: datetime, fingerprints: Sequence[str]
) -> Mapping[str, Sequence[tuple[UUID, int]]]:
    """Returns, for each error, the flows whose runs failed with it and the number of runs, in descending order of the
    number."""
    fingerprint, runs = _run.error_fingerprint, func.count().label("runs")
    query = select(fingerprint, _run.flow_id, runs).where(fingerprint.in_(fingerprints), narrowed(conn, where, now))
    flows: dict[str, list[tuple[UUID, int]]] = {}
    for key, flow_id, number in conn.execute(
        query.group_by(fingerprint, _run.flow_id).order_by(runs.desc(), _run.flow_id)
    ):
        flows.setdefault(key, []).append((flow_id, number))
    return flows


def failures_by_time(
    conn: Connection, where: RunFilter, now: datetime, fingerprints: Sequence[str], bounds: Sequence[datetime]
) -> Mapping[str, Mapping[int, int]]:
    """Returns, for each error, the number of runs that were created in each time bucket, by the index of the bucket."""
    edges = [ids.first_uuid_at(bound) for bound in bounds]
    fingerprint = _run.error_fingerprint
    runs = (
        select(fingerprint.label("fingerprint"), bucket(edges[1:-1]).label("bucket"))
        .where(fingerprint.in_(fingerprints), _run.id >= edges[0], _run.id < edges[-1], narrowed(conn, where, now))
        .subquery("runs")
    )
    query = select(runs.c.fingerprint, runs.c.bucket, func.count()).group_by(runs.c.fingerprint, runs.c.bucket)
    series: dict[str, dict[int, int]] = {}
    for key, number, count in conn.execute(query):
        series.setdefault(key, {})[number] = count
    return series
