"""The event log: a row for each change, written in the transaction of the change."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select

from db.models import RunEvent
from db.models.types import table
from db.rows import AnyRow, grouped

_table = table(RunEvent)
_event = _table.c

RUN_STATUS = "RUN_STATUS"
"""Kind of event: a run changed its status, or was created."""


def append(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` at the end of the log."""
    conn.execute(insert(_table), rows)


def status_changes_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, list[AnyRow]]:
    """The status changes of each run, oldest first."""
    query = (
        select(_event.run_id, _event.from_status, _event.to_status, _event.message, _event.at)
        .where(_event.run_id.in_(run_ids), _event.kind == RUN_STATUS)
        .order_by(_event.run_id, _event.seq)
    )
    return grouped(conn.execute(query), "run_id")
