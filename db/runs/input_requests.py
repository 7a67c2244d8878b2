"""Questions to people: who answers first wins, and only while the run waits."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import InputRequest
from db.models.types import table
from db.sql.any_of import any_of
from db.sql.rows import AnyRow, group_by
from domain.enums import InputRequestStatus
from domain.time import clock

_table = table(InputRequest)
_request = _table.c
_pending = _request.status == InputRequestStatus.PENDING


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Insert a PENDING question."""
    uow.conn.execute(insert(_table), {**values, "status": InputRequestStatus.PENDING})


def get(conn: Connection, run_id: UUID, request_id: UUID) -> AnyRow | None:
    """The question `request_id` of a run, whatever became of it."""
    return conn.execute(select(_table).where(_request.id == request_id, _request.run_id == run_id)).first()


def of_step(conn: Connection, run_id: UUID, position: int) -> AnyRow:
    """The latest question that a step asked."""
    query = select(_table).where(_request.run_id == run_id, _request.position == position)
    return conn.execute(query.order_by(_request.id.desc()).limit(1)).one()


def answer(uow: UnitOfWork, request_id: UUID, text: str) -> bool:
    """PENDING → ANSWERED; False when it is not pending any more."""
    values = {"status": InputRequestStatus.ANSWERED, "answer": text, "answered_at": clock.now()}
    return uow.conn.execute(update(_table).where(_request.id == request_id, _pending).values(values)).rowcount == 1


def expire(uow: UnitOfWork, request_id: UUID) -> bool:
    """PENDING → EXPIRED; False when an answer came before."""
    values = {"status": InputRequestStatus.EXPIRED}
    return uow.conn.execute(update(_table).where(_request.id == request_id, _pending).values(values)).rowcount == 1


def cancel(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """PENDING → CANCELLED, for the questions of these runs."""
    values = {"status": InputRequestStatus.CANCELLED}
    uow.conn.execute(update(_table).where(any_of(_request.run_id, run_ids), _pending).values(values))


def pending_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[AnyRow]]:
    """The pending questions of each run, oldest first."""
    query = select(_table).where(_request.run_id.in_(run_ids), _pending).order_by(_request.id)
    return group_by(conn.execute(query), "run_id")
