"""Archiving many runs, and taking them out of the archive."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, null, select, update

from db.bulk.chunks import ACCEPTED, Chunk, record_outcomes
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import table
from db.sql.rows import AnyRow
from domain.bulk import BulkReason, BulkResult
from domain.enums import RetryStrategy
from domain.state_machine import FINAL

_runs = table(FlowRun)
_run = _runs.c
_accepted = _run.id.in_(ACCEPTED)
_source = bindparam("source_id", type_=_run.archive_operation_id.type)

_SET = (
    update(_runs)
    .where(_accepted)
    .values(
        archived_at=bindparam("since"),
        archive_operation_id=bindparam("operation_id"),
        updated_at=bindparam("now"),
    )
)
_TELL = event_log.insert_from_select(
    select(
        *(_run.id.label("run_id"), _run.project_id, _run.flow_id),
        bindparam("kind", type_=_run.status.type).label("kind"),
        null().label("from_status"),
        null().label("to_status"),
        bindparam("now", type_=_run.updated_at.type).label("at"),
    )
    .where(_accepted)
    .order_by(_run.id)
)


def archive_refusal(_: RetryStrategy | None) -> ColumnElement[str | None]:
    """Why a run cannot be archived; null when it can."""
    return case(
        (_run.status.not_in(sorted(FINAL)), BulkReason.RUN_NOT_FINAL.value),
        (_run.archived_at.is_not(None), BulkReason.RUN_ALREADY_ARCHIVED.value),
        else_=None,
    )


def archive(uow: UnitOfWork, chunk: Chunk, _: Sequence[AnyRow]) -> None:
    """Archive the runs accepted."""
    _set(uow, chunk, event_log.RUN_ARCHIVED, chunk.now, chunk.operation.id)


def unarchive_refusal(_: RetryStrategy | None) -> ColumnElement[str | None]:
    """Why a run cannot be taken out of the archive; null when it can.

    An operation with a source, which is the parameter `source_id`, undoes that one: what was archived by another since
    then stays as it is.
    """
    changed = and_(_source.is_not(None), _run.archive_operation_id.is_distinct_from(_source))
    return case(
        (_run.archived_at.is_(None), BulkReason.RUN_NOT_ARCHIVED.value),
        (changed, BulkReason.RUN_CHANGED_SINCE.value),
        else_=None,
    )


def unarchive(uow: UnitOfWork, chunk: Chunk, _: Sequence[AnyRow]) -> None:
    """Take the runs accepted out of the archive."""
    _set(uow, chunk, event_log.RUN_UNARCHIVED, None, None)


def can_pipeline(_: Connection, __: Chunk, ___: Sequence[AnyRow]) -> bool:
    """Whether it concerns no other runs than those of the chunk: it never does."""
    return True


def _set(uow: UnitOfWork, chunk: Chunk, kind: str, since: datetime | None, operation_id: UUID | None) -> None:
    record_outcomes(uow, chunk, BulkResult.SUCCEEDED)
    uow.conn.execute(_SET, chunk.named | {"since": since, "operation_id": operation_id, "now": chunk.now})
    event_log.append_from(uow, _TELL, chunk.named | {"kind": kind, "now": chunk.now})
