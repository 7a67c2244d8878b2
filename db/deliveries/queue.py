"""The queue of deliveries: claims, ends of attempts, leases.

A lane never has more claimed deliveries than its bound, in all workers together: claims are serialised by a lock, which
is held for milliseconds. A lane that is full, or that waits, hides no other one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.deliveries import endpoints
from db.models import Delivery, DeliveryAttempt, Endpoint, FlowRun
from db.models.types import table
from db.outbound_row_types import DeliveryRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_all
from domain.outbound.delivery import MAX_AGE, Attempt, DeliveryStatus, delay_after

_table = table(Delivery)
_delivery = _table.c
_endpoints = table(Endpoint)
_endpoint = _endpoints.c
_run = table(FlowRun).c
MAX_COUNTED = 100_000
"""Deliveries that `backlog` counts. More are not told apart: to count a million index entries takes 100 ms."""
FAILING_AGE = timedelta(minutes=1)
"""Time for which an endpoint has taken nothing, after which few attempts are made: thousands of pending deliveries
would be sent to it in vain, each with several writes."""
_CLAIM_LOCK = 0x46_52_44_4C
"""The advisory lock on PostgreSQL that serialises claims."""
_ATTEMPT = insert(table(DeliveryAttempt))
_END = (
    update(_table)
    .where(_delivery.id == bindparam("of_delivery"), _delivery.lease_token == bindparam("token"))
    .values(
        status=bindparam("new_status"),
        attempts=_delivery.attempts + 1,
        failures=bindparam("new_failures"),
        due_at=bindparam("next_at"),
        ended_at=bindparam("end"),
        response_status=bindparam("response"),
        lease_token=None,
    )
)


class HasFailures(Protocol):
    """What an endpoint knows of its last attempts."""

    url: str | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt of a claimed delivery that has ended."""

    delivery: DeliveryRow
    started_at: datetime
    ended_at: datetime
    attempt: Attempt
    is_final: bool = False
    """True if a further attempt makes no sense: the receiver of a callback is gone."""


def _lanes() -> Select[Any]:
    """Returns the lanes that have a due delivery to an enabled endpoint, the one that has waited longest first.

    It walks from lane to lane in the index, whatever the number of deliveries in each.
    """
    due = _delivery.due_at.is_not(None)
    first = select(_delivery.lane.label("lane")).where(due).order_by(_delivery.lane).limit(1)
    lanes = select(first.subquery().c.lane).cte("lanes", recursive=True)
    following = select(_delivery.lane).where(due, _delivery.lane > lanes.c.lane).order_by(_delivery.lane).limit(1)
    lanes = lanes.union_all(select(following.scalar_subquery()).where(lanes.c.lane.is_not(None)))

    def of_head(column: ColumnElement[Any]) -> Any:
        head = select(column).where(due, _delivery.lane == lanes.c.lane).order_by(_delivery.due_at).limit(1)
        return head.scalar_subquery()

    heads = (
        select(
            lanes.c.lane,
            of_head(_delivery.due_at).label("due_at"),
            of_head(_delivery.endpoint_id).label("endpoint_id"),
        )
        .where(lanes.c.lane.is_not(None))
        .subquery("heads")
    )
    return (
        select(heads.c.lane, heads.c.due_at, _endpoint.url, _endpoint.failing_since)
        .join_from(heads, _endpoints, _endpoint.id == heads.c.endpoint_id)
        .where(_endpoint.enabled)
        .order_by(heads.c.due_at)
    )


_LANES = _lanes()
"""Built once: building it takes longer than executing it."""
_NEXT = _LANES.limit(1)


def next_due(conn: Connection) -> datetime | None:
    """Returns the instant at which the next delivery is due, which may have passed; None if none waits."""
    row = conn.execute(_NEXT).first()
    return None if row is None else row.due_at


class Backlog(NamedTuple):
    """The deliveries that have not ended."""

    pending: int
    """Their number, at most `MAX_COUNTED`."""
    due_since: datetime | None
    """The instant at which the first one to an enabled endpoint is due, which may lie ahead; None: there is none."""


def backlog(conn: Connection) -> Backlog:
    """Returns how many deliveries have not ended, and since when one of them is due."""
    pending = select(_delivery.id).where(_delivery.due_at.is_not(None)).limit(MAX_COUNTED).subquery()
    return Backlog(conn.execute(select(func.count()).select_from(pending)).scalar_one(), next_due(conn))


def is_failing(endpoint: HasFailures, now: datetime) -> bool:
    """Returns True if an endpoint has taken nothing for `FAILING_AGE`. The servers of callbacks fail one by one."""
    return (
        endpoint.url is not None and endpoint.failing_since is not None and endpoint.failing_since <= now - FAILING_AGE
    )


def claim(
    uow: UnitOfWork,
    token: UUID,
    now: datetime,
    lease: timedelta,
    limit: int,
    per_lane: int,
    resting: Collection[UUID] = (),
) -> Sequence[DeliveryRow]:
    """Claims up to `limit` due deliveries, so that each lane has at most `per_lane` claimed ones.

    A lane of which more than half is under way gets no more yet: a few deliveries at a time would cost as much as many.
    A lane whose endpoint is failing gets one delivery at a time, and none while it is in `resting`. It is the one that
    became due last, so that a test is not behind thousands of others.
    """
    if uow.conn.dialect.name != "sqlite":
        uow.conn.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK)))
    claimed: list[UUID] = []
    lanes = [row for row in uow.conn.execute(_LANES) if row.due_at <= now]
    busy = _busy(uow.conn, now) if lanes else {}
    for row in lanes:
        fails = is_failing(row, now)
        bound = (0 if row.lane in resting else 1) if fails else per_lane
        under_way = busy.get(row.lane, 0)
        free = min(bound - under_way, limit - len(claimed))
        if under_way <= bound // 2 and free > 0:
            query = select(_delivery.id).where(_delivery.lane == row.lane, _delivery.due_at <= now)
            order = (_delivery.due_at.desc(), _delivery.id.desc()) if fails else (_delivery.due_at, _delivery.id)
            claimed += uow.conn.execute(query.order_by(*order).limit(free)).scalars()
        if len(claimed) >= limit:
            break
    if not claimed:
        return ()
    taken = update(_table).where(any_of(_delivery.id, claimed)).values(lease_token=token, due_at=now + lease)
    rows: Sequence[DeliveryRow] = fetch_all(uow.conn, taken.returning(*_delivery))
    return rows


def _busy(conn: Connection, now: datetime) -> dict[UUID, int]:
    """Returns the number of claimed deliveries of each lane. A lease that has run out does not count."""
    claimed = (_delivery.lease_token.is_not(None), _delivery.due_at > now)
    query = select(_delivery.lane, func.count().label("number")).where(*claimed).group_by(_delivery.lane)
    return {row.lane: row.number for row in conn.execute(query)}


def end_attempts(uow: UnitOfWork, ended: Sequence[EndedAttempt]) -> Collection[UUID]:
    """Records attempts with what follows from them; returns the IDs of the deliveries whose lease was still valid."""
    by_id = {one.delivery.id: one for one in ended}
    query = (
        select(_delivery.id, _delivery.lease_token).where(any_of(_delivery.id, sorted(by_id))).order_by(_delivery.id)
    )
    held = [
        row.id
        for row in uow.conn.execute(query.with_for_update())
        if row.lease_token == by_id[row.id].delivery.lease_token
    ]
    if not held:
        return ()
    uow.conn.execute(_END, [_changes(by_id[key]) for key in held])
    erased = _erased(uow.conn, [by_id[key] for key in held])
    rows = [_attempt_row(by_id[key]) for key in held]
    withheld = {"excerpt": None, "message": None}
    uow.conn.execute(_ATTEMPT, [{**row, **withheld} if row["delivery_id"] in erased else row for row in rows])
    taken = {by_id[key].delivery.endpoint_id for key in held if by_id[key].attempt.is_delivered}
    failed = [by_id[key] for key in held if not by_id[key].attempt.is_delivered]
    if taken:
        endpoints.note_success(uow, taken)
    if others := {one.delivery.endpoint_id for one in failed} - taken:
        endpoints.note_failure(uow, others, min(one.ended_at for one in failed))
    return held


def _erased(conn: Connection, ended: Sequence[EndedAttempt]) -> set[UUID]:
    """Returns the deliveries whose run was erased while they were sent: the response may repeat its values."""
    shown = {
        one.delivery.id: one.delivery.run_id
        for one in ended
        if (one.attempt.excerpt or one.attempt.message) and one.delivery.run_id
    }
    if not shown:
        return set()
    query = select(_run.id).where(any_of(_run.id, sorted(set(shown.values()))), _run.erased_at.is_not(None))
    erased = set(conn.execute(query).scalars())
    return {delivery_id for delivery_id, run_id in shown.items() if run_id in erased}


def cancel(uow: UnitOfWork, delivery: DeliveryRow, now: datetime) -> None:
    """Ends a claimed delivery whose endpoint or run was deleted."""
    held = (_delivery.id == delivery.id, _delivery.lease_token == delivery.lease_token)
    ended = {"status": DeliveryStatus.CANCELLED, "due_at": None, "lease_token": None, "ended_at": now}
    uow.conn.execute(update(_table).where(*held).values(ended))


def release(uow: UnitOfWork, token: UUID | None, now: datetime) -> None:
    """Makes claimed deliveries due at once: those of one claim, or with None of all."""
    held = _delivery.lease_token.is_not(None) if token is None else _delivery.lease_token == token
    uow.conn.execute(update(_table).where(held).values(lease_token=None, due_at=now))


def _changes(one: EndedAttempt) -> dict[str, Any]:
    delivery, now = one.delivery, one.ended_at
    failures = delivery.failures + (not one.attempt.is_delivered)
    status, next_at = DeliveryStatus.DELIVERED, None
    if not one.attempt.is_delivered:
        delay = None if one.is_final else delay_after(failures)
        if delay is not None and one.attempt.retry_after is not None:
            delay = max(delay, min(timedelta(seconds=one.attempt.retry_after), MAX_AGE))
        next_at = None if delay is None or now + delay > delivery.try_until else now + delay
        status = DeliveryStatus.FAILED if next_at is None else DeliveryStatus.PENDING
    return {
        "of_delivery": delivery.id,
        "token": delivery.lease_token,
        "new_status": status,
        "new_failures": failures,
        "next_at": next_at,
        "end": now if next_at is None else None,
        "response": one.attempt.status,
    }


def _attempt_row(one: EndedAttempt) -> dict[str, Any]:
    attempt = one.attempt
    return {
        "delivery_id": one.delivery.id,
        "number": one.delivery.attempts + 1,
        "started_at": one.started_at,
        "duration_ms": attempt.duration_ms,
        "response_status": attempt.status,
        "error": attempt.error,
        "message": attempt.message,
        "excerpt": attempt.excerpt,
    }
