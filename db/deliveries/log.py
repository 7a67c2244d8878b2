"""The log of deliveries: lists, attempts, redelivery, retention, and what goes with a run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, true, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Delivery, DeliveryAttempt, Endpoint
from db.models.types import table
from db.outbound_row_types import DeliveryAttemptRow, DeliveryRow
from db.sql.any_of import any_of
from db.sql.listing import Listing
from db.sql.rows import fetch_all, group_by, select_columns
from domain.ids import first_uuid_at
from domain.outbound.delivery import MAX_AGE, DeliveryStatus, EventKind

_table = table(Delivery)
_delivery = _table.c
_attempts = table(DeliveryAttempt)
_attempt = _attempts.c


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """A filter of deliveries. A field that is None restricts nothing; an empty list matches no delivery."""

    ids: Sequence[UUID] | None = None
    project_ids: Sequence[UUID] | None = None
    endpoint_ids: Sequence[UUID] | None = None
    run_ids: Sequence[UUID] | None = None
    statuses: Sequence[DeliveryStatus] | None = None
    kinds: Sequence[EventKind] | None = None
    created_after: datetime | None = None
    """Includes the instant."""
    created_before: datetime | None = None
    """Excludes the instant."""


def _matches(where: DeliveryFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    for column, values in (
        (_delivery.id, where.ids),
        (_delivery.project_id, where.project_ids),
        (_delivery.endpoint_id, where.endpoint_ids),
        (_delivery.run_id, where.run_ids),
        (_delivery.status, where.statuses),
        (_delivery.kind, where.kinds),
    ):
        if values is not None:
            conditions.append(column.in_(values))
    if where.created_after is not None:
        conditions.append(_delivery.id >= first_uuid_at(where.created_after))
    if where.created_before is not None:
        conditions.append(_delivery.id < first_uuid_at(where.created_before))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The deliveries of all projects."""


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts a delivery."""
    uow.conn.execute(insert(_table), dict(row))
    uow.publish_after_commit(pubsub.DELIVERIES_DUE)


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, DeliveryRow]:
    """Returns the deliveries `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_delivery.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def attempts_of(
    conn: Connection, delivery_ids: Sequence[UUID], columns: Collection[str]
) -> Mapping[UUID, list[DeliveryAttemptRow]]:
    """Returns the attempts of each delivery, the first one first, with `delivery_id` and `number`."""
    query = (
        select(*select_columns(_attempts, columns, always=("delivery_id", "number")))
        .where(_attempt.delivery_id.in_(delivery_ids))
        .order_by(_attempt.delivery_id, _attempt.number)
    )
    return group_by(fetch_all(conn, query), "delivery_id")


def redeliver(uow: UnitOfWork, where: DeliveryFilter, before: UUID, now: datetime, limit: int) -> list[UUID]:
    """Makes up to `limit` ended deliveries with a lower ID than `before` due again, the newest first.

    Returns their IDs. Deliveries that are pending, were cancelled, or whose endpoint was deleted stay as they are.
    """
    ended = and_(
        _delivery.status.in_([DeliveryStatus.DELIVERED, DeliveryStatus.FAILED]),
        _delivery.endpoint_id.in_(select(table(Endpoint).c.id)),
    )
    query = select(_delivery.id).where(_matches(where, now), ended, _delivery.id < before).order_by(_delivery.id.desc())
    found = list(uow.conn.execute(query.limit(limit)).scalars())
    if found:
        values = {"status": DeliveryStatus.PENDING, "due_at": now, "try_until": now + MAX_AGE, "failures": 0}
        again = (any_of(_delivery.id, found), ended)
        uow.conn.execute(update(_table).where(*again).values({**values, "ended_at": None}))
        uow.publish_after_commit(pubsub.DELIVERIES_DUE)
    return found


def prune(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Deletes up to `limit` deliveries that were created before `before`, with their attempts; returns their number."""
    old = select(_delivery.id).where(_delivery.id < first_uuid_at(before)).order_by(_delivery.id).limit(limit)
    found = list(uow.conn.execute(old).scalars())
    if found:
        uow.conn.execute(delete(_attempts).where(any_of(_attempt.delivery_id, found)))
        uow.conn.execute(delete(_table).where(any_of(_delivery.id, found)))
    return len(found)
