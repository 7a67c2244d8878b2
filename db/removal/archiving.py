"""Archives runs, and unarchives them: one statement for the runs, and one for their events."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, null, select, update

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import table
from db.sql.any_of import any_of
from domain.actor import Actor

_runs = table(FlowRun)
_run = _runs.c

# No indexed column is set, not even `updated_at`: PostgreSQL then leaves the run in its page and every index as it is.
_SET_ARCHIVED = (
    update(_runs)
    .where(any_of(_run.id, "run_ids"))
    .values(
        archived_at=bindparam("new_archived_at"),
        archive_operation_id=bindparam("new_operation_id"),
        archived_by=bindparam("new_archived_by"),
    )
)
_APPEND_EVENTS = event_log.insert_from_select(
    select(
        *(_run.id.label("run_id"), _run.project_id, _run.flow_id),
        bindparam("kind", type_=_run.status.type).label("kind"),
        null().label("from_status"),
        null().label("to_status"),
        bindparam("now", type_=_run.updated_at.type).label("at"),
    )
    .where(any_of(_run.id, "run_ids"))
    .order_by(_run.id)
)


def archive(
    uow: UnitOfWork, run_ids: Collection[UUID], now: datetime, by: Actor, operation_id: UUID | None = None
) -> None:
    """Archives locked runs."""
    values = {"new_archived_at": now, "new_operation_id": operation_id, "new_archived_by": by.text}
    _set(uow, run_ids, now, event_log.RUN_ARCHIVED, values)


def unarchive(uow: UnitOfWork, run_ids: Collection[UUID], now: datetime) -> None:
    """Unarchives locked runs."""
    values = dict.fromkeys(("new_archived_at", "new_operation_id", "new_archived_by"))
    _set(uow, run_ids, now, event_log.RUN_UNARCHIVED, values)


def _set(uow: UnitOfWork, run_ids: Collection[UUID], now: datetime, kind: str, values: Mapping[str, object]) -> None:
    changed = {"run_ids": list(run_ids), "now": now}
    uow.conn.execute(_SET_ARCHIVED, {**changed, **values})
    event_log.append_from(uow, _APPEND_EVENTS, changed | {"kind": kind})
