"""Erases the payloads of runs: what clients, steps and people wrote. IDs, statuses, times and counts stay.

The rows of step results, attempts and input requests stay without their texts. Log lines and files go, as at the end of
their retention; a file that a retry keeps with the result of a step stays with the retry.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, delete, literal, update

from db import audit_events, text_indexes
from db.core.unit_of_work import UnitOfWork
from db.deliveries import removal as deliveries
from db.events import log as event_log
from db.models import FlowRun, InputRequest, RunEvent, RunLog, StepAttempt, StepResult
from db.models.types import Latest, table
from db.runs.output import files
from db.search import switch
from db.sql.any_of import any_of

ERASED = "Erased."
"""Stands where a message must be."""

_runs = table(FlowRun)
_run = _runs.c
_events = table(RunEvent)
_event = _events.c
_steps = table(StepResult)
_attempts = table(StepAttempt)
_requests = table(InputRequest)
_logs = table(RunLog)

_ERASED_COLUMNS: list[tuple[Table, dict[str, Any]]] = [
    (
        _steps,
        dict.fromkeys(("display_name", "completion_note", "error", "input", "output", "sealed")),
    ),
    (_attempts, {"error": None}),
    (
        _requests,
        {
            **dict.fromkeys(("description", "assignee", "answer", "idempotency_key")),
            "title": ERASED,
            "answer_schema": "{}",
        },
    ),
]
"""Tables with a column `run_id`, and the values that stand in place of their payloads."""


def erase(uow: UnitOfWork, run_ids: Sequence[UUID], now: datetime) -> None:
    """Erases the payloads of final runs, which the transaction has locked.

    Their idempotency keys stay, so that a repeated request starts no second run; it is refused as a conflict, because
    the hash of its arguments is erased.
    """
    for source, values in _ERASED_COLUMNS:
        uow.conn.execute(update(source).where(any_of(source.c.run_id, run_ids)).values(values))
    uow.conn.execute(delete(_logs).where(any_of(_logs.c.run_id, run_ids)))
    files.erase(uow, run_ids)
    deliveries.erase(uow, run_ids)
    of_runs = any_of(_event.run_id, run_ids)
    # They name the person or group that was asked.
    uow.conn.execute(delete(_events).where(of_runs, _event.kind == event_log.INPUT_REQUEST))
    uow.conn.execute(update(_events).where(of_runs, _event.message.is_not(None)).values(message=ERASED))
    # They have tags and metadata, before and after.
    changes = (of_runs, _event.kind == event_log.RUN_CHANGED, _event.data.is_not(None))
    uow.conn.execute(update(_events).where(*changes).values(data="{}"))
    audit_events.erase(uow, run_ids)
    text_indexes.forget(uow.conn, run_ids)
    switch.forget(uow.conn)
    is_erased = any_of(_run.id, run_ids)
    hashed = (is_erased, _run.request_hash.is_not(None))
    uow.conn.execute(update(_runs).where(*hashed).values(request_hash=""))
    failed = (is_erased, _run.error_message.is_not(None))
    uow.conn.execute(update(_runs).where(*failed).values(error_message=ERASED, error_folded=None))
    uow.conn.execute(
        update(_runs)
        .where(is_erased)
        .values(
            {
                _run.input: "{}",
                _run.input_secrets: None,
                _run.output: None,
                _run.metadata: "{}",
                _run.tags: [],
                _run.note: None,
                _run.summary: None,
                _run.error_fingerprint: None,
                _run.steps_purged_at: now,
                _run.erased_at: now,
                _run.updated_at: Latest(literal(now, _run.updated_at.type), _run.updated_at),
            }
        )
    )
