"""Quotas: how many runs a project may start in a period.

A row counts the runs that a project started in the present period. The transaction that creates runs adds to it, as
late as it can: the row is locked from then until the commit, and what is rolled back was never counted. A run beyond
the quota is written all the same, ends as QUOTA_EXCEEDED, and is not counted.

Runs created by `transitions.create` are counted by themselves, at the end of the unit of work. Whoever writes many with
a statement of its own asks `take` how many may go.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.core.unit_of_work import UnitOfWork
from db.models import Project, QuotaUse
from db.models.types import table
from domain.quota import ProjectQuota, QuotaPeriod
from domain.time import clock

_project = table(Project).c
_table = table(QuotaUse)
_use = _table.c

_QUOTA = select(_project.quota_runs, _project.quota_period).where(
    _project.id == bindparam("of_project_id"), _project.quota_runs.is_not(None)
)
_KEY = ("project_id", "period", "began_at")
_THIS = tuple(_use[name] == bindparam(f"of_{name}") for name in _KEY)
_ADD = bindparam("runs", type_=_use.used.type)

_TAKE = (
    update(_table)
    .where(*_THIS, _use.used + _ADD <= bindparam("quota", type_=_use.used.type))
    .values(used=_use.used + _ADD)
    .returning(_use.used)
)
_ADD_TO = update(_table).where(*_THIS).values(used=_use.used + _ADD)
_USED = select(_use.used).where(*_THIS).with_for_update()
_FORGET = delete(_table).where(_THIS[0], _THIS[1], _use.began_at < bindparam("of_began_at"))
_INSERT: Mapping[str, Any] = {
    "sqlite": sqlite.insert(_table).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(_table).on_conflict_do_nothing(),
}


def quota_of(project_id: UUID, runs: int | None, period: str | None) -> ProjectQuota | None:
    """The quota of a project with these columns, if it has one."""
    return None if runs is None or period is None else ProjectQuota(project_id, QuotaPeriod(period), runs)


def charge(uow: UnitOfWork) -> list[UUID]:
    """Counts the runs created since the last call; returns those that are beyond their projects' quotas."""
    if not uow.charges:
        return []
    charges, uow.charges = uow.charges, {}
    now = clock.now()
    # In one order, or two transactions that create runs in the same projects would lock each other out.
    return [
        run_id
        for quota, run_ids in sorted(charges.items())
        for run_id in run_ids[_taken(uow, quota.project_id, quota.period, now, quota.runs, len(run_ids)) :]
    ]


def limits_any(conn: Connection, project_ids: Collection[UUID]) -> bool:
    """Whether one of these projects has a quota."""
    return any(conn.execute(_QUOTA, {"of_project_id": key}).first() is not None for key in project_ids)


def take(uow: UnitOfWork, project_id: UUID, requested: int) -> int:
    """How many of `requested` new runs of a project are within its quota; these are counted, with the transaction.

    For set-based inserts (INSERT … SELECT), which bypass `transitions.create`: write the first so many as QUEUED. The
    others must not be QUEUED: leave them unwritten, or write them as QUOTA_EXCEEDED with `finished_at`, without
    `due_at`, and with an event. Without a quota this is `requested`, and costs the read of a row. With one, all who
    start runs in the project wait from here until the commit, so ask just before the insert.
    """
    quota = uow.conn.execute(_QUOTA, {"of_project_id": project_id}).first()
    if quota is None:
        return requested
    return _taken(uow, project_id, QuotaPeriod(quota.quota_period), clock.now(), quota.quota_runs, requested)


def _taken(uow: UnitOfWork, project_id: UUID, period: QuotaPeriod, now: datetime, quota: int, requested: int) -> int:
    """How many of the runs wanted are within the quota; these are counted."""
    this = {"of_project_id": project_id, "of_period": period, "of_began_at": period.began_at(now)}
    if uow.conn.execute(_TAKE, {**this, "runs": requested, "quota": quota}).first() is not None:
        return requested
    # The first run of the period, or the quota is nearly used up.
    uow.conn.execute(_INSERT[uow.conn.dialect.name], {**{name: this[f"of_{name}"] for name in _KEY}, "used": 0})
    used: int = uow.conn.execute(_USED, this).scalar_one()
    taken = min(requested, max(0, quota - used))
    uow.conn.execute(_ADD_TO, {**this, "runs": taken})
    uow.conn.execute(_FORGET, this)
    return taken


def used_by_projects(conn: Connection, keys: Sequence[UUID]) -> Mapping[UUID, int]:
    """How many runs each project has started in the present period of its quota; 0 is left out."""
    now = clock.now()
    query = select(_use.project_id, _use.period, _use.began_at, _use.used).join(
        table(Project), (_project.id == _use.project_id) & (_project.quota_period == _use.period)
    )
    rows = conn.execute(query.where(_use.project_id.in_(keys)))
    return {row.project_id: row.used for row in rows if row.began_at == QuotaPeriod(row.period).began_at(now)}
