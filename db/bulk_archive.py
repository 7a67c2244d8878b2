"""Archiving many runs, and taking them out of the archive."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, case, literal, null, select, update

from db import events
from db.bulk_chunk import Chunk
from db.models import FlowRun
from db.models.types import table
from db.rows import AnyRow
from domain.bulk import BulkReason
from domain.states import FINAL

_runs = table(FlowRun)
_run = _runs.c


def archive_refusal(_: AnyRow) -> ColumnElement[str | None]:
    """Why a run cannot be archived; null when it can."""
    return case(
        (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
        (_run.archived_at.is_not(None), BulkReason.RUN_ALREADY_ARCHIVED.value),
        else_=None,
    )


def archive(conn: Connection, chunk: Chunk) -> None:
    """Archive the runs accepted."""
    _set(conn, chunk, events.RUN_ARCHIVED, archived_at=chunk.now, archive_operation_id=chunk.operation.id)


def unarchive_refusal(operation: AnyRow) -> ColumnElement[str | None]:
    """Why a run cannot be taken out of the archive; null when it can.

    An operation with a source undoes that one: what was archived by another since then stays as it is.
    """
    if operation.source_id is None:
        changed: Any = literal(False)
    else:
        changed = _run.archive_operation_id.is_distinct_from(operation.source_id)
    return case(
        (_run.archived_at.is_(None), BulkReason.RUN_NOT_ARCHIVED.value),
        (changed, BulkReason.RUN_CHANGED_SINCE.value),
        else_=None,
    )


def unarchive(conn: Connection, chunk: Chunk) -> None:
    """Take the runs accepted out of the archive."""
    _set(conn, chunk, events.RUN_UNARCHIVED, archived_at=None, archive_operation_id=None)


def _set(conn: Connection, chunk: Chunk, kind: str, **values: Any) -> None:
    accepted = _run.id.in_(chunk.accepted)
    conn.execute(update(_runs).where(accepted).values(**values, updated_at=chunk.now))
    told = {
        "kind": literal(kind),
        "from_status": null(),
        "to_status": null(),
        "at": literal(chunk.now, _run.updated_at.type),
    }
    columns: list[ColumnElement[Any]] = [column.label(name) for name, column in told.items()]
    rows = select(_run.id.label("run_id"), _run.project_id, _run.flow_id, *columns).where(accepted)
    events.append_from(conn, rows.order_by(_run.id))
