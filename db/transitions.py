"""The only writer of a run's status.

A change is a guarded UPDATE (`… WHERE id = ? AND status IN (…)`) and an event, in one transaction: of two that race,
the second finds no row and is told so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, update

from db import events, signals
from db.models import FlowRun
from db.models.types import table
from domain import clock
from domain.states import FINAL, TRANSITIONS, RunStatus

_table = table(FlowRun)
_run = _table.c


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to write to a run, until another worker claims it."""

    run_id: UUID
    token: UUID


def create(conn: Connection, values: Mapping[str, Any], message: str) -> None:
    """Insert a QUEUED run, due at once, with its first event."""
    now = values["created_at"]
    conn.execute(insert(_table).values(**values, status=RunStatus.QUEUED, updated_at=now, due_at=now, epoch=1))
    events.append(conn, [_event(values["id"], values["project_id"], values["flow_id"], None, "QUEUED", message, now)])
    signals.after_commit(conn, signals.RUNS_DUE)


def begin(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """QUEUED → RUNNING, for runs that the transaction under way has claimed."""
    now = clock.now()
    statement = (
        update(_table)
        .where(_run.id.in_(run_ids), _run.status == RunStatus.QUEUED)
        .values(status=RunStatus.RUNNING, started_at=now, updated_at=now)
        .returning(_run.id, _run.project_id, _run.flow_id)
    )
    begun = [
        _event(row.id, row.project_id, row.flow_id, RunStatus.QUEUED, RunStatus.RUNNING, "Run started", now)
        for row in conn.execute(statement)
    ]
    if begun:
        events.append(conn, begun)


def finish(
    conn: Connection, lease: Lease, source: RunStatus, target: RunStatus, message: str, values: Mapping[str, Any]
) -> bool:
    """`source` → `target`, a final status, by the worker that holds `lease`; False when it no longer does."""
    if target not in TRANSITIONS[source] or target not in FINAL:
        raise ValueError(f"No run ends by {source} → {target}")
    now = clock.now()
    statement = (
        update(_table)
        .where(_run.id == lease.run_id, _run.lease_token == lease.token, _run.status == source)
        .values(status=target, finished_at=now, updated_at=now, due_at=None, lease_token=None, **values)
        .returning(_run.project_id, _run.flow_id)
    )
    row = conn.execute(statement).first()
    if row is None:
        return False
    events.append(conn, [_event(lease.run_id, row.project_id, row.flow_id, source, target, message, now)])
    signals.after_commit(conn, signals.run_changed(lease.run_id))
    return True


def _event(
    run_id: UUID, project_id: UUID, flow_id: UUID, source: str | None, target: str, message: str, at: Any
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "project_id": project_id,
        "flow_id": flow_id,
        "kind": events.RUN_STATUS,
        "from_status": source,
        "to_status": target,
        "message": message,
        "at": at,
    }
