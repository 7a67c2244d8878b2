"""Deletes flows and projects.

The deletion of a flow or project begins in one transaction: from its commit on, nothing starts runs there, and
schedules, webhooks, endpoints, alerts, secrets and keys are gone. Their runs are deleted in chunks after that, and
their own rows at last.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Table, delete, func, select, update

from db.bulk import operations
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.deliveries import removal as deliveries
from db.models import (
    Alert,
    ApiKey,
    BulkOperation,
    Endpoint,
    Flow,
    FlowRun,
    FlowVersion,
    Project,
    QuotaUse,
    RetiredSecret,
    SavedView,
    Schedule,
    Secret,
    StartHold,
    Webhook,
)
from db.models.types import table
from db.removal import sweep
from db.removal.sweep import Swept
from db.runs import cancellation
from db.runs.statistics import stats
from domain.actor import SYSTEM
from domain.bulk import ENDED
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import LIVE
from domain.time import clock

GRACE = timedelta(minutes=1)
"""How long the rows of a flow or project stay at least after its deletion has begun: a request that read it before has
started its run by then."""
_STOPPED = 1_000
"""Runs that one transaction stops."""

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c
_versions = table(FlowVersion)
_schedules = table(Schedule)
_webhooks = table(Webhook)
_keys = table(ApiKey)
_operations = table(BulkOperation)
_holds = table(StartHold)
_secrets = (table(Secret), table(RetiredSecret))
_AT_ONCE_OF_FLOW = {"schedules": _schedules, "webhooks": _webhooks}
_OF_FLOW = {"flow_versions": _versions, **_AT_ONCE_OF_FLOW}
_OF_PROJECT = {
    "flows": _flows,
    **_OF_FLOW,
    "endpoints": table(Endpoint),
    "alerts": table(Alert),
    "secrets": _secrets[0],
    "api_keys": _keys,
    "bulk_operations": _operations,
}
_AT_LAST_OF_PROJECT = (*_secrets, table(QuotaUse), table(SavedView), _holds, _keys)
"""Tables whose rows are deleted with the project: see also `_AT_ONCE_OF_FLOW`."""


def begin_flow(uow: UnitOfWork, flow_id: UUID) -> bool:
    """Begins to delete a flow. Returns False if that was begun before, or if there is no such flow."""
    is_open = (_flow.id == flow_id, _flow.deleting_since.is_(None))
    values = {"deleting_since": clock.now(), "enabled": False}
    if uow.conn.execute(update(_flows).where(*is_open).values(values)).rowcount == 0:
        return False
    _delete(uow, _AT_ONCE_OF_FLOW.values(), "flow_id", flow_id)
    uow.publish_after_commit(pubsub.SCHEDULES_CHANGED)
    return True


def begin_project(uow: UnitOfWork, project_id: UUID) -> bool:
    """Begins to delete a project. Returns False if that was begun before, or if there is no such project."""
    now = clock.now()
    is_open = (_project.id == project_id, _project.deleting_since.is_(None))
    if uow.conn.execute(update(_projects).where(*is_open).values(deleting_since=now)).rowcount == 0:
        return False
    _mark_flows(uow, project_id, now)
    _delete(uow, (*_AT_ONCE_OF_FLOW.values(), *_secrets), "project_id", project_id)
    deliveries.stop_of_project(uow, project_id, now)
    is_valid = (_keys.c.project_id == project_id, _keys.c.revoked_at.is_(None))
    uow.conn.execute(update(_keys).where(*is_valid).values(revoked_at=now))
    for operation_id in _open_operations(uow.conn, project_id):
        operations.cancel(uow, operation_id)
    for topic in (pubsub.SCHEDULES_CHANGED, pubsub.KEY_REVOKED, pubsub.SECRETS_CHANGED):
        uow.publish_after_commit(topic)
    return True


def deleting_flows(conn: Connection) -> Sequence[UUID]:
    """Returns the flows that are being deleted, alone or with their project."""
    return conn.execute(select(_flow.id).where(_flow.deleting_since.is_not(None)).order_by(_flow.id)).scalars().all()


def deleting_projects(conn: Connection) -> Sequence[UUID]:
    """Returns the projects that are being deleted."""
    query = select(_project.id).where(_project.deleting_since.is_not(None))
    return conn.execute(query.order_by(_project.id)).scalars().all()


def stop_runs(uow: UnitOfWork, flow_id: UUID) -> int:
    """Stops runs of a flow that is being deleted, which were started at the moment of that; returns their number."""
    project_id = uow.conn.execute(select(_flow.project_id).where(_flow.id == flow_id)).scalar()
    run_ids = live_runs(uow.conn, project_id, flow_id, _STOPPED) if project_id is not None else ()
    return len(cancellation.stop_all(uow, run_ids, "Its flow is being deleted", SYSTEM))


def delete_runs(uow: UnitOfWork, flow_id: UUID, after: UUID, limit: int) -> Swept | None:
    """Deletes the next runs of a flow that is being deleted; None if there are no more, or another process does it."""
    if not sweep.is_first(uow):
        return None
    return sweep.delete_chunk(uow, (_run.flow_id == flow_id,), after, limit, clock.now())


def finish_flow(uow: UnitOfWork, flow_id: UUID) -> bool:
    """Deletes the rows of a flow that has no runs any more, some time after its deletion was begun.

    Returns False if it is too early.
    """
    is_due = (_flow.id == flow_id, _flow.deleting_since <= clock.now() - GRACE)
    if uow.conn.execute(select(_flow.id).where(*is_due).with_for_update()).first() is None:
        return False
    if uow.conn.execute(select(_run.id).where(_run.flow_id == flow_id).limit(1)).first() is not None:
        return False
    _delete(uow, (*_OF_FLOW.values(), _holds), "flow_id", flow_id)
    uow.conn.execute(delete(_flows).where(_flow.id == flow_id))
    return True


def finish_project(uow: UnitOfWork, project_id: UUID, limit: int) -> bool:
    """Deletes a bulk operation of a project that is being deleted, or up to `limit` of its outcomes, and the rows of
    the project once it has neither flows nor operations.

    Returns False if there is nothing to be done for now.
    """
    is_due = (_project.id == project_id, _project.deleting_since <= clock.now() - GRACE)
    if uow.conn.execute(select(_project.id).where(*is_due).with_for_update()).first() is None:
        return False
    for operation_id in _open_operations(uow.conn, project_id):
        operations.cancel(uow, operation_id)
    ended = uow.conn.execute(select(_operations.c.id).where(_operations.c.project_id == project_id).limit(1)).scalar()
    if ended is not None:
        operations.delete_part(uow, ended, limit)
        return True
    if uow.conn.execute(select(_flow.id).where(_flow.project_id == project_id).limit(1)).first() is not None:
        # One that was created at the moment of the deletion is deleted, too.
        _mark_flows(uow, project_id, clock.now())
        return False
    deliveries.delete_of_project(uow, project_id)
    _delete(uow, _AT_LAST_OF_PROJECT, "project_id", project_id)
    uow.conn.execute(delete(_projects).where(_project.id == project_id))
    return True


def live_runs(conn: Connection, project_id: UUID, flow_id: UUID | None, limit: int) -> Sequence[UUID]:
    """Returns up to `limit` live runs of a flow, or of a project if `flow_id` is None."""
    # The index by project and status has few live runs; those of a flow are read from it, too.
    live = select(_run.id).where(_run.project_id == project_id, _run.status.in_(sorted(LIVE)))
    if flow_id is not None:
        live = live.where(_run.flow_id == flow_id)
    return conn.execute(live.limit(limit)).scalars().all()


def contents_of_flow(conn: Connection, flow_id: UUID) -> Mapping[str, int]:
    """Returns the number of the objects that are deleted with a flow, by the names of the fields of the result."""
    runs = RunFilter(flow_ids=(flow_id,), archived=Archived.INCLUDE)
    return _count_runs(conn, runs) | _count(conn, _OF_FLOW, "flow_id", flow_id)


def contents_of_project(conn: Connection, project_id: UUID) -> Mapping[str, int]:
    """Returns the number of the objects that are deleted with a project, by the names of the fields of the result."""
    runs = RunFilter(project_ids=(project_id,), archived=Archived.INCLUDE)
    return _count_runs(conn, runs) | _count(conn, _OF_PROJECT, "project_id", project_id)


def _count_runs(conn: Connection, where: RunFilter) -> dict[str, int]:
    by_status = stats.counts(conn, where, clock.now())
    live = sum(count for status, count in by_status.items() if status in LIVE)
    return {"runs": sum(by_status.values()), "live_runs": live}


def _count(conn: Connection, tables: Mapping[str, Table], column: str, key: UUID) -> dict[str, int]:
    return {
        name: conn.execute(select(func.count()).select_from(source).where(source.c[column] == key)).scalar_one()
        for name, source in tables.items()
    }


def _mark_flows(uow: UnitOfWork, project_id: UUID, now: datetime) -> None:
    is_open = (_flow.project_id == project_id, _flow.deleting_since.is_(None))
    uow.conn.execute(update(_flows).where(*is_open).values(deleting_since=now, enabled=False))


def _delete(uow: UnitOfWork, tables: Iterable[Table], column: str, key: UUID) -> None:
    for source in tables:
        uow.conn.execute(delete(source).where(source.c[column] == key))


def _open_operations(conn: Connection, project_id: UUID) -> Sequence[UUID]:
    is_open = (_operations.c.project_id == project_id, _operations.c.status.not_in(sorted(ENDED)))
    return conn.execute(select(_operations.c.id).where(*is_open)).scalars().all()
