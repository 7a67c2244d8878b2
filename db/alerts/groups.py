"""The groups of equal events that alerts count, and the notifications that they become.

Events are counted in the transaction that moves the position of the relay, so each counts once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, exists, insert, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Alert, AlertGroup, FlowRun, Notification
from db.models.types import table
from db.sql.any_of import any_of
from domain import ids
from domain.outbound.alert import COLLECTED_FOR, AlertCondition, Hit, NotificationStatus
from domain.time import clock

_table = table(AlertGroup)
_group = _table.c
_alert = table(Alert).c
_run = table(FlowRun).c
_KEPT = timedelta(days=30)
"""How long a group without a message to come is kept. Later, a NEW_ERROR alert searches the runs once more."""
_SKEW = timedelta(seconds=10)
"""Largest difference of the clocks of two workers: runs that failed so shortly before belong to the same incident."""


def add(uow: UnitOfWork, hits: Sequence[Hit]) -> None:
    """Counts events of alerts that are enabled. The caller has locked the state of the relay, which serialises this
    with changes of alerts."""
    hits = _of_enabled(uow.conn, hits)
    if not hits:
        return
    now = clock.now()
    known = _known(uow.conn, hits)
    changed: dict[tuple[UUID, str], dict[str, Any]] = {}
    for hit in hits:
        key = (hit.alert_id, hit.group)
        group = changed.get(key) or known.get(key)
        if group is None:
            if hit.ends_row:
                continue
            group = _new(uow.conn, hit)
        changed[key] = group
        _count(group, hit, now)
    new = [group for key, group in changed.items() if key not in known]
    for key in changed.keys() & known.keys():
        same = (_group.alert_id == key[0], _group.group_key == key[1])
        uow.conn.execute(update(_table).where(*same).values(changed[key]))
    if new:
        uow.conn.execute(insert(_table), new)
    if any(group["notify_at"] is not None for group in changed.values()):
        uow.publish_after_commit(pubsub.ALERTS_DUE)


def _of_enabled(conn: Connection, hits: Sequence[Hit]) -> Sequence[Hit]:
    """Returns the events of alerts that were neither disabled nor deleted since the relay has read them."""
    if not hits:
        return ()
    alert_ids = sorted({hit.alert_id for hit in hits})
    enabled = set(conn.execute(select(_alert.id).where(any_of(_alert.id, alert_ids), _alert.enabled)).scalars())
    return [hit for hit in hits if hit.alert_id in enabled]


def _known(conn: Connection, hits: Iterable[Hit]) -> dict[tuple[UUID, str], dict[str, Any]]:
    """Returns the stored groups of events, locked."""
    keys = {(hit.alert_id, hit.group) for hit in hits}
    query = select(_table).where(
        any_of(_group.alert_id, sorted({alert_id for alert_id, _ in keys})),
        _group.group_key.in_(sorted({group for _, group in keys})),
    )
    rows = conn.execute(query.order_by(_group.alert_id, _group.group_key).with_for_update()).mappings()
    return {(row["alert_id"], row["group_key"]): dict(row) for row in rows}


def _new(conn: Connection, hit: Hit) -> dict[str, Any]:
    """Returns the columns of a group that has counted nothing yet."""
    is_old = hit.condition is AlertCondition.NEW_ERROR and _has_earlier(conn, hit)
    return {
        "alert_id": hit.alert_id,
        "group_key": hit.group,
        "project_id": hit.project_id,
        "flow_id": hit.flow_id,
        "run_id": hit.run_id,
        "count": 0,
        # Of an error that is not new, the row says so: its first failure was counted long ago.
        "streak": 1 if is_old else 0,
        "first_at": hit.at,
        "last_at": hit.at,
        "quiet_until": None,
        "notify_at": None,
    }


def _has_earlier(conn: Connection, hit: Hit) -> bool:
    """True if a run of the project failed with the same error before."""
    same = (_run.project_id == hit.project_id, _run.error_fingerprint == hit.group)
    earlier = exists().where(*same, _run.id != hit.run_id, _run.finished_at < hit.at - _SKEW)
    return bool(conn.execute(select(earlier)).scalar_one())


def _count(group: dict[str, Any], hit: Hit, now: datetime) -> None:
    if hit.ends_row:
        group["streak"] = 0
        if group["notify_at"] is None:
            group["count"] = 0
        return
    group["streak"] += 1
    if group["count"] == 0:
        group["first_at"] = hit.at
    group["count"] += 1
    group |= {"last_at": hit.at, "run_id": hit.run_id, "flow_id": hit.flow_id}
    if group["notify_at"] is None and _is_due(group, hit):
        collected = now + COLLECTED_FOR
        group["notify_at"] = max(collected, group["quiet_until"] or collected)


def _is_due(group: dict[str, Any], hit: Hit) -> bool:
    match hit.condition:
        case AlertCondition.NEW_ERROR:
            return bool(group["streak"] == 1)
        case AlertCondition.CONSECUTIVE_FAILURES:
            return bool(group["streak"] >= (hit.threshold or 1))
        case _:
            return True


def next_due(conn: Connection) -> datetime | None:
    """Returns the instant at which the next group becomes a notification, which may have passed; None if none does."""
    query = select(_group.notify_at).where(_group.notify_at.is_not(None)).order_by(_group.notify_at).limit(1)
    found: datetime | None = conn.execute(query).scalar()
    return found


def notify(uow: UnitOfWork, now: datetime, limit: int) -> int:
    """Turns up to `limit` groups that are due into notifications, and begins their quiet periods; returns the number
    of groups that were due."""
    query = (
        select(_table, _alert.quiet_seconds, _alert.condition)
        .join_from(_table, table(Alert), _alert.id == _group.alert_id)
        .where(_group.notify_at <= now)
        .order_by(_group.notify_at)
        .limit(limit)
        .with_for_update(of=_table, skip_locked=True)
    )
    found = uow.conn.execute(query).all()
    for row in found:
        same = (_group.alert_id == row.alert_id, _group.group_key == row.group_key)
        quiet = {"count": 0, "notify_at": None, "quiet_until": now + timedelta(seconds=row.quiet_seconds)}
        uow.conn.execute(update(_table).where(*same).values(quiet))
    if found:
        uow.conn.execute(insert(table(Notification)), [_notification(row, now) for row in found])
    return len(found)


def _notification(row: Any, now: datetime) -> dict[str, Any]:
    is_endpoint = row.condition == AlertCondition.ENDPOINT_DISABLED
    return new_notification(row.project_id, row.alert_id, now) | {
        "flow_id": row.flow_id,
        "run_id": row.run_id,
        "endpoint_id": UUID(row.group_key) if is_endpoint else None,
        "count": row.count,
        "first_at": row.first_at,
        "last_at": row.last_at,
    }


def new_notification(project_id: UUID, alert_id: UUID, now: datetime, *, is_test: bool = False) -> dict[str, Any]:
    """Returns the columns of a notification of no event that is due at once."""
    return {
        "id": ids.new_uuid(),
        "project_id": project_id,
        "alert_id": alert_id,
        "is_test": is_test,
        "flow_id": None,
        "run_id": None,
        "endpoint_id": None,
        "count": 0,
        "first_at": now,
        "last_at": now,
        "status": NotificationStatus.PENDING,
        "attempts": 0,
        "message": None,
        "due_at": now,
        "lease_token": None,
        "created_at": now,
        "ended_at": None,
    }


def remove(uow: UnitOfWork, alert_id: UUID) -> None:
    """Forgets what an alert has counted."""
    uow.conn.execute(delete(_table).where(_group.alert_id == alert_id))


def prune(uow: UnitOfWork, now: datetime, limit: int) -> int:
    """Deletes up to `limit` groups without an event for 30 days; returns their number."""
    old = (_group.notify_at.is_(None), _group.last_at < now - _KEPT)
    found = uow.conn.execute(select(_group.alert_id, _group.group_key).where(*old).limit(limit)).all()
    for row in found:
        # An event that was counted since keeps its group.
        same = (_group.alert_id == row.alert_id, _group.group_key == row.group_key)
        uow.conn.execute(delete(_table).where(*same, *old))
    return len(found)
