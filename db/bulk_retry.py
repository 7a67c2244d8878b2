"""Retrying many runs: the new runs, their events and the steps that they keep are written by one statement each."""

import random
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, bindparam, literal, select, update

from db import quota, retries, steps, transitions
from db.among import among
from db.bulk_chunk import OUTCOMES, Chunk
from db.models import BulkOperation, FlowRun
from db.models.types import table
from db.rows import AnyRow, grouped
from domain import ids
from domain.bulk import BulkReason, BulkResult
from domain.ids import IdKind
from domain.states import RetryStrategy, TriggerMethod

_runs = table(FlowRun)
_run = _runs.c
_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_NAME = (
    update(OUTCOMES)
    .where(_outcome.operation_id == bindparam("of_operation"), _outcome.run_id == bindparam("of_run"))
    .values(new_run_id=bindparam("new_id"), at=bindparam("created"), due_at=bindparam("due"))
)


def refusal(operation: AnyRow) -> ColumnElement[str | None]:
    """Why a row of `retries.WITH_FLOWS` cannot be retried; null when it can."""
    return retries.refusal(RetryStrategy(operation.strategy))


def apply(conn: Connection, chunk: Chunk) -> None:
    """Write a retry of each run accepted, due when the operation's pace says."""
    operation = chunk.operation
    strategy = RetryStrategy(operation.strategy)
    _leave_beyond_quota(conn, chunk)
    old_ids = conn.execute(chunk.accepted.order_by(_outcome.run_id)).scalars().all()
    if not old_ids:
        return
    new_ids = [ids.new_uuid() for _ in old_ids]
    named = [
        {"of_operation": operation.id, "of_run": old, "new_id": new, "created": ids.created_at(new), "due": due}
        for old, new, due in zip(old_ids, new_ids, _places(conn, chunk, len(old_ids)), strict=True)
    ]
    conn.execute(_NAME, named)
    values = {
        **{name: _run[name] for name in retries.CARRIED_OVER},
        "id": _outcome.new_run_id,
        "root_run_id": retries.root_of(_outcome.new_run_id),
        "flow_version_id": retries.version(strategy),
        "trigger_method": literal(TriggerMethod.RETRY.value),
        "retry_of_id": _run.id,
        "retry_operation_id": _outcome.operation_id,
        "attempt": _run.attempt + 1,
        "interruptions": literal(0),
        "created_at": _outcome.at,
        "due_at": _outcome.due_at,
    }
    rows = select(*(column.label(name) for name, column in values.items()))
    rows = rows.select_from(OUTCOMES.join(retries.WITH_FLOWS, _run.id == _outcome.run_id))
    rows = rows.where(chunk.rows, _outcome.new_run_id.is_not(None))
    transitions.create_from(conn, rows, new_ids, retries.told(strategy, IdKind.RUN, _run.retry_of_id))
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        steps.copy_kept(conn, new_ids)


def _leave_beyond_quota(conn: Connection, chunk: Chunk) -> None:
    """Count the new runs against their projects' quotas; those that are too many have failed, and can be taken up."""
    of_run = _run.id == _outcome.run_id
    accepted = (
        select(_run.project_id, _outcome.run_id)
        .join_from(OUTCOMES, _runs, of_run)
        .where(chunk.rows, _outcome.result == BulkResult.SUCCEEDED)
    )
    by_project = grouped(conn.execute(accepted.order_by(_run.project_id, _outcome.run_id)), "project_id")
    for project_id, rows in by_project.items():
        beyond = [row.run_id for row in rows[quota.take(conn, project_id, len(rows)) :]]
        if beyond:
            failed = {"result": BulkResult.FAILED, "reason": BulkReason.QUOTA_EXCEEDED}
            conn.execute(update(OUTCOMES).where(chunk.rows, among(_outcome.run_id, beyond)).values(failed))


def _places(conn: Connection, chunk: Chunk, count: int) -> list[datetime]:
    """When each of the next retries is due: now, or somewhere in its own place of the pace.

    The places go on from the last one given, so the pace holds over chunks, restarts and pauses of the workers.
    """
    between = _between(chunk.operation)
    if not between:
        return [chunk.now] * count
    first = max(chunk.now, chunk.operation.paced_through or chunk.now)
    through = first + count * between
    conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(paced_through=through))
    # Jitter: retries of what failed together shall not go off in step.
    return [first + (number + random.random()) * between for number in range(count)]  # noqa: S311


def _between(operation: AnyRow) -> timedelta:
    """The mean time between two retries."""
    by_rate = timedelta(seconds=1 / operation.max_per_second if operation.max_per_second else 0)
    by_spread = timedelta(milliseconds=(operation.spread_over_ms or 0) / max(1, operation.matched))
    return max(by_rate, by_spread)
