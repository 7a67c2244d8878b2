"""Input requests: questions to people. The first response is accepted, and only while the run waits.

Each change is an event in the log, of the kind INPUT_REQUEST.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import InputRequest
from db.models.types import from_microseconds, table, to_microseconds
from db.row_types import EventRow, InputRequestRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, fetch_first, group_by
from domain import ids
from domain.actor import Actor
from domain.enums import InputRequestStatus
from domain.runs.input_request_filter import AskedRequest
from domain.time import clock

_table = table(InputRequest)
_request = _table.c
_pending = _request.status == InputRequestStatus.PENDING
_CHANGED = (
    _request.id,
    _request.run_id,
    _request.project_id,
    _request.flow_id,
    _request.step_name,
    _request.assignee,
    _request.expires_at,
)


class Response(NamedTuple):
    """A response to an input request."""

    text: str
    """The response as JSON text."""
    by: Actor | None = None
    idempotency_key: str | None = None


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> None:
    """Inserts a PENDING input request."""
    row = {**values, "status": InputRequestStatus.PENDING}
    uow.conn.execute(insert(_table), row)
    names = ("id", "run_id", "project_id", "flow_id", "step_name", "assignee", "expires_at")
    event = _event({name: row.get(name) for name in names}, None, InputRequestStatus.PENDING, row["created_at"])
    event_log.append(uow, [event])


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


def answer(uow: UnitOfWork, request_id: UUID, response: Response) -> bool:
    """Changes the status from PENDING to ANSWERED. Returns False if the request is no longer pending."""
    values = {
        "answer": response.text,
        "answered_at": clock.now(),
        "answered_by_key_id": response.by.id if response.by is not None else None,
        "answered_by": response.by.text if response.by is not None else None,
        "idempotency_key": response.idempotency_key,
    }
    return _end(uow, InputRequestStatus.ANSWERED, _request.id == request_id, values=values) == 1


def expire(uow: UnitOfWork, request_id: UUID) -> bool:
    """Changes the status from PENDING to EXPIRED. Returns False if a response arrived before."""
    return _end(uow, InputRequestStatus.EXPIRED, _request.id == request_id) == 1


def expire_of_step(uow: UnitOfWork, run_id: UUID, position: int) -> None:
    """Expires the pending input request of a step that no longer waits for it."""
    _end(uow, InputRequestStatus.EXPIRED, _request.run_id == run_id, _request.position == position)


def cancel(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Cancels the pending input requests of these runs, which have ended."""
    _end(uow, InputRequestStatus.CANCELLED, any_of(_request.run_id, run_ids))


def pending_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[InputRequestRow]]:
    """Returns the pending input requests of each run, oldest first."""
    query = select(_table).where(_request.run_id.in_(run_ids), _pending).order_by(_request.id)
    return group_by(fetch_all(conn, query), "run_id")


def by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[InputRequestRow]]:
    """Returns all input requests of each run, oldest first."""
    query = select(_table).where(_request.run_id.in_(run_ids)).order_by(_request.id)
    return group_by(fetch_all(conn, query), "run_id")


def asked(event: EventRow) -> AskedRequest:
    """Returns the request of an event of the kind INPUT_REQUEST."""
    assert event.data is not None  # Every such event has data, also below.
    assert event.run_id is not None
    data = orjson.loads(event.data)
    request_id, expires_at = UUID(data["id"]), data["expiresAt"]
    return AskedRequest(
        request_id,
        event.run_id,
        UUID(data["flowId"]),
        UUID(data["projectId"]),
        data["assignee"],
        ids.created_at(request_id),
        None if expires_at is None else from_microseconds(expires_at),
    )


def _end(
    uow: UnitOfWork, status: InputRequestStatus, *which: ColumnElement[bool], values: Mapping[str, Any] | None = None
) -> int:
    """Ends pending requests; returns their number."""
    statement = update(_table).where(*which, _pending).values(status=status, **values or {}).returning(*_CHANGED)
    rows = uow.conn.execute(statement).mappings().all()
    now = clock.now()
    # These events precede the later events of the run, which continues or has ended.
    event_log.prepend(uow, [_event(dict(row), InputRequestStatus.PENDING, status, now) for row in rows])
    return len(rows)


def _event(row: Mapping[str, Any], source: str | None, target: str, at: datetime) -> dict[str, Any]:
    expires_at = row["expires_at"]
    data = {
        "id": row["id"].hex,
        # Readers of the past do not read the columns of the run.
        "flowId": row["flow_id"].hex,
        "projectId": row["project_id"].hex,
        "assignee": row["assignee"],
        "expiresAt": None if expires_at is None else to_microseconds(expires_at),
    }
    return {
        "run_id": row["run_id"],
        "project_id": row["project_id"],
        "flow_id": row["flow_id"],
        "kind": event_log.INPUT_REQUEST,
        "step_name": row["step_name"],
        "from_status": source,
        "to_status": target,
        "data": orjson.dumps(data).decode(),
        "at": at,
    }
