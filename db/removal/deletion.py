"""Deletes runs with all that belongs to them, and sets the links of the runs that stay.

Counts follow by the triggers of `flow_run`. The audit log and the outcomes of bulk operations keep the IDs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update

from db import text_indexes
from db.core.unit_of_work import UnitOfWork
from db.deliveries import removal as deliveries
from db.events import log as event_log
from db.models import FlowRun, InputRequest, RunEvent, RunLog, StepAttempt, StepResult
from db.models.types import table
from db.runs.output import files
from db.search import switch
from db.sql.any_of import any_of

_runs = table(FlowRun)
_run = _runs.c
_OF_RUNS = tuple(table(model) for model in (StepAttempt, StepResult, InputRequest, RunLog, RunEvent))
"""Tables with a column `run_id` whose rows are deleted with the run."""
_LINK = update(_runs).where(_run.id == bindparam("of_run")).values(retry_of_id=bindparam("earlier"))


def delete_runs(uow: UnitOfWork, run_ids: Sequence[UUID], now: datetime) -> None:
    """Deletes final runs, which the transaction has locked, and appends an event for each.

    `run_ids` must contain all descendants of each run.
    """
    query = select(_run.id, _run.project_id, _run.flow_id, _run.retry_of_id).where(any_of(_run.id, run_ids))
    deleted = uow.conn.execute(query.order_by(_run.id)).all()
    _link_retries(uow, {row.id: row.retry_of_id for row in deleted})
    files.delete_of_runs(uow, run_ids)
    deliveries.delete_of_runs(uow, run_ids)
    for source in _OF_RUNS:
        uow.conn.execute(delete(source).where(any_of(source.c.run_id, run_ids)))
    text_indexes.forget(uow.conn, run_ids)
    switch.forget(uow.conn)
    uow.conn.execute(delete(_runs).where(any_of(_run.id, run_ids)))
    events = [
        {
            "run_id": row.id,
            "project_id": row.project_id,
            "flow_id": row.flow_id,
            "kind": event_log.RUN_DELETED,
            "at": now,
        }
        for row in deleted
    ]
    event_log.append(uow, events)


def _link_retries(uow: UnitOfWork, deleted: Mapping[UUID, UUID | None]) -> None:
    """Makes retries of deleted runs retries of the nearest run of the chain that stays, or of none.

    So a run that has a later retry cannot be retried once more because the one between was deleted.
    """
    run_ids = list(deleted)
    is_later = any_of(_run.retry_of_id, run_ids)
    links = []
    for run_id, earlier in uow.conn.execute(select(_run.id, _run.retry_of_id).where(is_later).order_by(_run.id)):
        if run_id in deleted:
            continue
        while earlier in deleted:
            earlier = deleted[earlier]
        links.append({"of_run": run_id, "earlier": earlier})
    if links:
        uow.conn.execute(_LINK, links)
    uow.conn.execute(update(_runs).where(any_of(_run.rerun_of_id, run_ids)).values(rerun_of_id=None))
