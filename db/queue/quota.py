"""Quotas: how many runs a project may start in a period.

A row counts the runs that a project started in the current period. The transaction that creates runs adds to it, as
late as possible: the row is locked from then until the commit, and a rollback undoes the count. A run beyond the quota
is created, too; it ends as QUOTA_EXCEEDED and is not counted.

Runs that `transitions.create` creates are charged at the end of the unit of work. A statement that creates many runs
must be preceded by `take`, which returns how many of them are within the quota.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import Project, QuotaUse
from db.models.types import table
from db.sql.insert_if_missing import InsertIfMissing
from domain.quota import ProjectQuota, QuotaPeriod
from domain.time import clock

_project = table(Project).c
_table = table(QuotaUse)
_use = _table.c

_QUOTA = select(_project.quota_runs, _project.quota_period).where(
    _project.id == bindparam("of_project_id"), _project.quota_runs.is_not(None)
)
_KEY = ("project_id", "period", "began_at")
_SAME_PERIOD = tuple(_use[name] == bindparam(f"of_{name}") for name in _KEY)
_ADD = bindparam("runs", type_=_use.used.type)

_TAKE = (
    update(_table)
    .where(*_SAME_PERIOD, _use.used + _ADD <= bindparam("quota", type_=_use.used.type))
    .values(used=_use.used + _ADD)
    .returning(_use.used)
)
_ADD_TO = update(_table).where(*_SAME_PERIOD).values(used=_use.used + _ADD)
_USED = select(_use.used).where(*_SAME_PERIOD).with_for_update()
_DELETE_OLD = delete(_table).where(_SAME_PERIOD[0], _SAME_PERIOD[1], _use.began_at < bindparam("of_began_at"))
_INSERT = InsertIfMissing(_table)


def quota_of(project_id: UUID, runs: int | None, period: str | None) -> ProjectQuota | None:
    """Returns the quota of a project with these columns; None if it has no quota."""
    return None if runs is None or period is None else ProjectQuota(project_id, QuotaPeriod(period), runs)


def charge(uow: UnitOfWork) -> list[UUID]:
    """Charges the runs created since the last call; returns the runs beyond their projects' quotas."""
    if not uow.charges:
        return []
    charges, uow.charges = uow.charges, {}
    now = clock.now()
    # Projects are charged in one order. Otherwise two transactions that create runs in the same projects would
    # deadlock.
    return [
        run_id
        for quota, run_ids in sorted(charges.items())
        for run_id in run_ids[_taken(uow, quota.project_id, quota.period, now, quota.runs, len(run_ids)) :]
    ]


def limits_any(conn: Connection, project_ids: Collection[UUID]) -> bool:
    """Returns True if one of these projects has a quota."""
    return any(conn.execute(_QUOTA, {"of_project_id": key}).first() is not None for key in project_ids)


def is_left(conn: Connection, project_id: UUID) -> bool:
    """Returns True if the project can start a run now, as far as other transactions have committed."""
    quota = conn.execute(_QUOTA, {"of_project_id": project_id}).first()
    return quota is None or used_by_projects(conn, [project_id]).get(project_id, 0) < quota.quota_runs


def take(uow: UnitOfWork, project_id: UUID, requested: int) -> int:
    """Charges `requested` new runs to the quota of a project; returns how many of them are within it.

    For set-based inserts (INSERT … SELECT), which bypass `transitions.create`. Write the first runs as QUEUED. The
    others must not be QUEUED: omit them, or write them as QUOTA_EXCEEDED with `finished_at`, without `due_at`, and with
    an event. Without a quota this returns `requested` and reads one row. With a quota, other transactions that start
    runs in the project wait from here until the commit, so call this just before the insert.
    """
    quota = uow.conn.execute(_QUOTA, {"of_project_id": project_id}).first()
    if quota is None:
        return requested
    return _taken(uow, project_id, QuotaPeriod(quota.quota_period), clock.now(), quota.quota_runs, requested)


def _taken(uow: UnitOfWork, project_id: UUID, period: QuotaPeriod, now: datetime, quota: int, requested: int) -> int:
    """Charges up to `requested` runs; returns how many of them are within the quota."""
    period_key = {"of_project_id": project_id, "of_period": period, "of_began_at": period.began_at(now)}
    if uow.conn.execute(_TAKE, {**period_key, "runs": requested, "quota": quota}).first() is not None:
        return requested
    # This is the first run of the period, or the quota is nearly used up.
    _INSERT.execute(uow.conn, {**{name: period_key[f"of_{name}"] for name in _KEY}, "used": 0})
    used: int = uow.conn.execute(_USED, period_key).scalar_one()
    taken = min(requested, max(0, quota - used))
    uow.conn.execute(_ADD_TO, {**period_key, "runs": taken})
    uow.conn.execute(_DELETE_OLD, period_key)
    return taken


def used_by_projects(conn: Connection, keys: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of runs that each project has started in the current period of its quota; 0 is omitted."""
    now = clock.now()
    query = select(_use.project_id, _use.period, _use.began_at, _use.used).join(
        table(Project), (_project.id == _use.project_id) & (_project.quota_period == _use.period)
    )
    rows = conn.execute(query.where(_use.project_id.in_(keys)))
    return {row.project_id: row.used for row in rows if row.began_at == QuotaPeriod(row.period).began_at(now)}
