"""Input requests: questions to people. The first response is accepted, and only while the run waits."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import InputRequest
from db.models.types import table
from db.row_types import InputRequestRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, fetch_first, group_by
from domain.actor import Actor
from domain.enums import InputRequestStatus
from domain.time import clock

_table = table(InputRequest)
_request = _table.c
_pending = _request.status == InputRequestStatus.PENDING


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Inserts a PENDING input request."""
    uow.conn.execute(insert(_table), {**values, "status": InputRequestStatus.PENDING})


def get(conn: Connection, run_id: UUID, request_id: UUID) -> InputRequestRow | None:
    """Returns the input request `request_id` of a run, in any status."""
    query = select(_table).where(_request.id == request_id, _request.run_id == run_id)
    row: InputRequestRow | None = fetch_first(conn, query)
    return row


def of_step(conn: Connection, run_id: UUID, position: int) -> InputRequestRow:
    """Returns the latest input request of a step."""
    query = select(_table).where(_request.run_id == run_id, _request.position == position)
    row: InputRequestRow = conn.execute(query.order_by(_request.id.desc()).limit(1)).one()
    return row


def answer(
    uow: UnitOfWork, request_id: UUID, text: str, by: Actor | None = None, idempotency_key: str | None = None
) -> bool:
    """PENDING → ANSWERED. Returns False if the request is no longer pending."""
    values = {
        "status": InputRequestStatus.ANSWERED,
        "answer": text,
        "answered_at": clock.now(),
        "answered_by_key_id": by.id if by is not None else None,
        "answered_by": by.text if by is not None else None,
        "idempotency_key": idempotency_key,
    }
    return uow.conn.execute(update(_table).where(_request.id == request_id, _pending).values(values)).rowcount == 1


def expire(uow: UnitOfWork, request_id: UUID) -> bool:
    """PENDING → EXPIRED. Returns False if a response arrived before."""
    values = {"status": InputRequestStatus.EXPIRED}
    return uow.conn.execute(update(_table).where(_request.id == request_id, _pending).values(values)).rowcount == 1


def expire_of_step(uow: UnitOfWork, run_id: UUID, position: int) -> None:
    """PENDING → EXPIRED, for the input request of a step that no longer waits for it."""
    values = {"status": InputRequestStatus.EXPIRED}
    of_step = (_request.run_id == run_id, _request.position == position)
    uow.conn.execute(update(_table).where(*of_step, _pending).values(values))


def cancel(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """PENDING → CANCELLED, for the input requests of these runs."""
    values = {"status": InputRequestStatus.CANCELLED}
    uow.conn.execute(update(_table).where(any_of(_request.run_id, run_ids), _pending).values(values))


def pending_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[InputRequestRow]]:
    """Returns the pending input requests of each run, oldest first."""
    query = select(_table).where(_request.run_id.in_(run_ids), _pending).order_by(_request.id)
    return group_by(fetch_all(conn, query), "run_id")


def by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[InputRequestRow]]:
    """Returns all input requests of each run, oldest first."""
    query = select(_table).where(_request.run_id.in_(run_ids)).order_by(_request.id)
    return group_by(fetch_all(conn, query), "run_id")
