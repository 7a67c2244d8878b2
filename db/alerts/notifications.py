"""Notifications: lists, claims, ends of attempts, retention."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, true, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Notification
from db.models.types import table
from db.outbound_row_types import NotificationRow
from db.sql.any_of import any_of
from db.sql.listing import Listing
from db.sql.rows import fetch_all, select_columns
from domain.ids import first_uuid_at
from domain.outbound.alert import NotificationStatus
from domain.outbound.delivery import MAX_AGE, delay_after

_table = table(Notification)
_notification = _table.c


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """A filter of notifications. A field that is None restricts nothing; an empty list matches no notification."""

    project_ids: Sequence[UUID] | None = None
    alert_ids: Sequence[UUID] | None = None


def _matches(where: NotificationFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    for column, values in ((_notification.project_id, where.project_ids), (_notification.alert_id, where.alert_ids)):
        if values is not None:
            conditions.append(column.in_(values))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The notifications of all projects."""


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts a notification."""
    uow.conn.execute(insert(_table), dict(row))
    uow.publish_after_commit(pubsub.ALERTS_DUE)


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, NotificationRow]:
    """Returns the notifications `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_notification.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def next_due(conn: Connection) -> datetime | None:
    """Returns the instant at which the next attempt is due, which may have passed; None if none is."""
    due = select(_notification.due_at).where(_notification.due_at.is_not(None))
    found: datetime | None = conn.execute(due.order_by(_notification.due_at).limit(1)).scalar()
    return found


def claim(uow: UnitOfWork, token: UUID, now: datetime, lease: timedelta, limit: int) -> Sequence[NotificationRow]:
    """Claims up to `limit` notifications that are due."""
    due = select(_notification.id).where(_notification.due_at <= now).order_by(_notification.due_at).limit(limit)
    claimed = list(uow.conn.execute(due.with_for_update(skip_locked=True)).scalars())
    if not claimed:
        return ()
    taken = update(_table).where(any_of(_notification.id, claimed)).values(lease_token=token, due_at=now + lease)
    rows: Sequence[NotificationRow] = fetch_all(uow.conn, taken.returning(*_notification))
    return rows


def end_attempt(uow: UnitOfWork, claimed: NotificationRow, problem: str | None, now: datetime) -> None:
    """Records an attempt at a claimed notification: `problem` says why it failed; None: it succeeded."""
    attempts = claimed.attempts + 1
    # A person waits for the result of a test: it is not repeated.
    delay = None if problem is None or claimed.is_test else delay_after(attempts)
    next_at = None if delay is None or now + delay > claimed.created_at + MAX_AGE else now + delay
    if problem is None:
        status = NotificationStatus.SENT
    else:
        status = NotificationStatus.FAILED if next_at is None else NotificationStatus.PENDING
    is_held = (_notification.id == claimed.id, _notification.lease_token == claimed.lease_token)
    values: dict[str, Any] = {"status": status, "attempts": attempts, "message": problem, "due_at": next_at}
    ended = {"lease_token": None, "ended_at": now if next_at is None else None}
    uow.conn.execute(update(_table).where(*is_held).values({**values, **ended}))


def release(uow: UnitOfWork, token: UUID | None, now: datetime) -> None:
    """Makes claimed notifications due at once: those of one claim, or with None all of them."""
    is_held = _notification.lease_token.is_not(None) if token is None else _notification.lease_token == token
    uow.conn.execute(update(_table).where(is_held).values(lease_token=None, due_at=now))


def prune(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Deletes up to `limit` notifications that were created before `before`; returns their number."""
    old = select(_notification.id).where(_notification.id < first_uuid_at(before)).order_by(_notification.id)
    found = list(uow.conn.execute(old.limit(limit)).scalars())
    if found:
        uow.conn.execute(delete(_table).where(any_of(_notification.id, found)))
    return len(found)
