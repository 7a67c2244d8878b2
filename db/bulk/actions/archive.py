"""Archives runs, and unarchives them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, case, null, select, update

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import SUCCEEDED_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.sql.rows import AnyRow
from domain.bulk import BulkKind, BulkReason, BulkResult
from domain.runs.state_machine import FINAL

_run = RUNS.c
_changes = _run.id.in_(SUCCEEDED_IN_CHUNK)
_source_id = bindparam("source_id", type_=_run.archive_operation_id.type)

_SET_ARCHIVED = (
    update(RUNS)
    .where(_changes)
    .values(
        archived_at=bindparam("new_archived_at"),
        archive_operation_id=bindparam("new_operation_id"),
        updated_at=bindparam("now"),
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
    .where(_changes)
    .order_by(_run.id)
)


class ArchiveRuns(BulkAction):
    """Archives final runs."""

    kind = BulkKind.ARCHIVE

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why a run cannot be archived."""
        return case(
            (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
            (_run.archived_at.is_not(None), BulkReason.RUN_ALREADY_ARCHIVED.value),
            else_=None,
        )

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[AnyRow]) -> None:
        """Archives `runs`."""
        _set_archived(uow, chunk, event_log.RUN_ARCHIVED, chunk.now, chunk.operation.id)


class UnarchiveRuns(BulkAction):
    """Takes runs out of the archive.

    An operation with a source undoes that one: runs that another operation archived since then are skipped.
    """

    kind = BulkKind.UNARCHIVE
    takes_over = (BulkKind.ARCHIVE, BulkResult.SUCCEEDED)

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why a run cannot be unarchived."""
        archived_since = and_(_source_id.is_not(None), _run.archive_operation_id.is_distinct_from(_source_id))
        return case(
            (_run.archived_at.is_(None), BulkReason.RUN_NOT_ARCHIVED.value),
            (archived_since, BulkReason.RUN_CHANGED_SINCE.value),
            else_=None,
        )

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[AnyRow]) -> None:
        """Unarchives `runs`."""
        _set_archived(uow, chunk, event_log.RUN_UNARCHIVED, None, None)


def _set_archived(
    uow: UnitOfWork, chunk: Chunk, event_kind: str, archived_at: datetime | None, operation_id: UUID | None
) -> None:
    outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
    values = {"new_archived_at": archived_at, "new_operation_id": operation_id, "now": chunk.now}
    uow.conn.execute(_SET_ARCHIVED, chunk.parameters | values)
    event_log.append_from(uow, _APPEND_EVENTS, chunk.parameters | {"kind": event_kind, "now": chunk.now})
