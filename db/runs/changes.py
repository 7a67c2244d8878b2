"""Changes the data about a run that clients and its flow give: tags, metadata, note and summary."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

import orjson
from sqlalchemy import literal, select, update

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import Latest, table
from db.runs import claims
from db.runs.transitions import Lease
from db.sql.rows import fetch_first
from domain.time import clock

_table = table(FlowRun)
_run = _table.c
_LOCK = select(
    _run.id, _run.project_id, _run.flow_id, _run.status, _run.tags, _run.metadata, _run.note
).with_for_update(key_share=True)

_NOT_FILTERED = frozenset({"note", "summary"})
"""Columns on which no filter has a condition."""


class ChangeableRun(Protocol):
    """The columns of a run that can be changed."""

    id: UUID
    project_id: UUID
    flow_id: UUID
    status: str
    tags: list[str]
    metadata: str
    note: str | None


def lock(uow: UnitOfWork, run_id: UUID) -> ChangeableRun | None:
    """Returns the run, locked against other changes; None if it does not exist."""
    row: ChangeableRun | None = fetch_first(uow.conn, _LOCK.where(_run.id == run_id))
    return row


def change(uow: UnitOfWork, run: ChangeableRun, values: Mapping[str, Any]) -> None:
    """Sets the columns `values` of a run that `lock` has returned: `tags`, `metadata`, `note`, `summary`."""
    now = clock.now()
    changed_at = Latest(literal(now, _run.updated_at.type), _run.updated_at)
    uow.conn.execute(
        update(_table)
        .where(_run.id == run.id)
        .values({**{_run[name]: value for name, value in values.items()}, _run.updated_at: changed_at})
    )
    # Both values are recorded, so that a stream can decide whether the run matched before and after, whatever follows.
    data = {name: [getattr(run, name), value] for name, value in values.items() if name not in _NOT_FILTERED}
    event = {
        "run_id": run.id,
        "project_id": run.project_id,
        "flow_id": run.flow_id,
        "kind": event_log.RUN_CHANGED,
        "from_status": run.status,
        "to_status": run.status,
        "data": orjson.dumps(data).decode(),
        "at": now,
    }
    event_log.append(uow, [event])


def set_summary(uow: UnitOfWork, lease: Lease, summary: str) -> None:
    """Sets the summary of a run that a worker executes.

    Raises:
        LeaseLostError: the lease is no longer valid.
    """
    claims.lock_lease(uow, lease)
    run = lock(uow, lease.run_id)
    assert run is not None  # The lease keeps it.
    change(uow, run, {"summary": summary})
