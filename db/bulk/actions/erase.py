"""Erases the payloads of runs."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, case, literal, null, select

from db.bulk import outcomes
from db.bulk.actions.action import RUNS
from db.bulk.actions.removal import RemovalAction
from db.bulk.outcomes import Chunk
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.removal import eligibility, erasure
from db.row_types import RunRow
from db.sql.any_of import any_of
from domain.bulk import BulkKind, BulkReason, BulkResult

_run = RUNS.c


class EraseRuns(RemovalAction):
    """Erases the payloads of final runs, and of each run below them."""

    kind = BulkKind.ERASE

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why a run cannot be erased."""
        is_erased = (_run.erased_at.is_not(None), BulkReason.RUN_ALREADY_ERASED.value)
        return case(is_erased, else_=super().refusal())

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Erases `runs`."""
        outcomes.record(uow, chunk, BulkResult.SUCCEEDED)
        erased = eligibility.with_descendants(uow.conn, [run.id for run in runs])
        erasure.erase(uow, erased, chunk.now)
        event_log.append_from(uow, _APPEND_EVENTS, {"run_ids": erased})
        outcomes.record_related(uow, chunk, erased)


_APPEND_EVENTS = event_log.insert_from_select(
    select(
        *(_run.id.label("run_id"), _run.project_id, _run.flow_id),
        literal(event_log.RUN_ERASED).label("kind"),
        null().label("from_status"),
        null().label("to_status"),
        _run.erased_at.label("at"),
    )
    .where(any_of(_run.id, "run_ids"))
    .order_by(_run.id)
)
