"""The only writer of a run's status.

A change is a guarded UPDATE (`… WHERE id = ? AND status IN (…)`) and an event, in one transaction: of two that race,
the second finds no row and is told so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, insert, update

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


_RESULT = ("output", "duration_ms", "failed_step_name", "error_code", "error_message", "error_fingerprint")
"""What a run has from its end on."""

_CREATE = insert(_table)
_BEGIN = (
    update(_table)
    .where(_run.id.in_(bindparam("run_ids", expanding=True)), _run.status == RunStatus.QUEUED)
    .values(status=RunStatus.RUNNING, started_at=bindparam("now"), updated_at=bindparam("now"))
    .returning(_run.id, _run.project_id, _run.flow_id)
)
_FINISH = (
    update(_table)
    .where(
        _run.id == bindparam("of_run"),
        _run.lease_token == bindparam("token"),
        _run.status == bindparam("was"),
    )
    .values(
        {
            _run.status: bindparam("target"),
            _run.finished_at: bindparam("now"),
            _run.updated_at: bindparam("now"),
            _run.due_at: None,
            _run.lease_token: None,
            # SQLAlchemy keeps the plain names of the columns for itself.
            **{_run[name]: bindparam(f"new_{name}") for name in _RESULT},
        }
    )
    .returning(_run.project_id, _run.flow_id)
)


def create(conn: Connection, values: Mapping[str, Any], message: str) -> None:
    """Insert a QUEUED run, due at once, with its first event."""
    now = values["created_at"]
    conn.execute(_CREATE, {**values, "status": RunStatus.QUEUED, "updated_at": now, "due_at": now, "epoch": 1})
    events.append(conn, [_event(values["id"], values["project_id"], values["flow_id"], None, "QUEUED", message, now)])
    signals.after_commit(conn, signals.RUNS_DUE)


def begin(conn: Connection, run_ids: Sequence[UUID]) -> None:
    """QUEUED → RUNNING, for runs that the transaction under way has claimed."""
    now = clock.now()
    begun = [
        _event(row.id, row.project_id, row.flow_id, RunStatus.QUEUED, RunStatus.RUNNING, "Run started", now)
        for row in conn.execute(_BEGIN, {"run_ids": run_ids, "now": now})
    ]
    if begun:
        events.append(conn, begun)


def finish(
    conn: Connection, lease: Lease, source: RunStatus, target: RunStatus, message: str, values: Mapping[str, Any]
) -> bool:
    """`source` → `target`, a final status, by the worker that holds `lease`; False when it no longer does."""
    if target not in TRANSITIONS[source] or target not in FINAL:
        raise ValueError(f"No run ends by {source} → {target}")
    if unknown := values.keys() - set(_RESULT):
        raise ValueError(f"A run's end sets no {unknown}")
    now = clock.now()
    held = {"of_run": lease.run_id, "token": lease.token, "was": source}
    ended = {"target": target, "now": now, **{f"new_{name}": values.get(name) for name in _RESULT}}
    row = conn.execute(_FINISH, held | ended).first()
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
