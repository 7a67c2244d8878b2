"""Retrying many runs: the new runs, their events and the steps that they keep are written by one statement each."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, Connection, Text, bindparam, column, func, literal, select, update

from db.bulk.chunks import IN_CHUNK, OUTCOMES, Chunk, record_outcomes
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation, FlowRun
from db.models.types import table, to_microseconds
from db.queue import quota
from db.runs import retries, transitions
from db.runs.transitions import Creation
from db.sql.rows import AnyRow, group_by
from domain import ids
from domain.bulk import BulkReason, BulkResult
from domain.enums import RetryStrategy, TriggerMethod
from domain.ids import IdKind

_runs = table(FlowRun)
_run = _runs.c
_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_NAMED = ("run_id", "new_run_id", "at", "due_at")
_SUCCEEDED = {_outcome.result: BulkResult.SUCCEEDED, _outcome.reason: None}
_each = func.json_each(bindparam("names", type_=Text)).table_valued("value").c.value
_messages = (
    select(
        *(
            func.json_extract(_each, f"$[{place}]", type_=_outcome[name].type).label(name)
            for place, name in enumerate(_NAMED)
        )
    )
    .cte("told")
    # Or SQLite would read it anew for each outcome of the operation.
    .prefix_with("MATERIALIZED")
    .c
)
_NAME_BY_JSON = (
    update(OUTCOMES)
    .where(_outcome.operation_id == bindparam("of_operation"), _outcome.run_id == _messages.run_id)
    .values({**_SUCCEEDED, **{_outcome[name]: _messages[name] for name in _NAMED[1:]}})
)
_given = func.unnest(*(bindparam(f"of_{name}", type_=ARRAY(_outcome[name].type)) for name in _NAMED))
_names = _given.table_valued(*(column(name, _outcome[name].type) for name in _NAMED)).render_derived("given").c
_NAME_BY_ARRAYS = (
    update(OUTCOMES)
    # The bounds of the chunk, or the planner might read all of the operation each time.
    .where(IN_CHUNK, _outcome.run_id == _names.run_id)
    .values({**_SUCCEEDED, **{_outcome[name]: _names[name] for name in _NAMED[1:]}})
)
"""All of a chunk by one statement: each one for itself costs several times as much."""


def refusal(strategy: RetryStrategy | None) -> ColumnElement[str | None]:
    """Why a row of `retries.WITH_FLOWS` cannot be retried; null when it can."""
    assert strategy is not None
    return retries.refusal(strategy)


def apply(uow: UnitOfWork, chunk: Chunk, accepted: Sequence[AnyRow]) -> None:
    """Write a retry of each run accepted, due when the operation's pace says."""
    old_ids = _within_quota(uow, chunk, accepted)
    if not old_ids:
        return
    strategy = RetryStrategy(chunk.operation.strategy)
    new_ids = ids.new_uuids(len(old_ids))
    created_at = [ids.created_at(new_id) for new_id in new_ids]
    _name(uow, chunk, (old_ids, new_ids, created_at, _places(uow, chunk, len(old_ids))))
    transitions.create_from(uow, _creation(strategy), chunk.named, new_ids)
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        retries.copy_kept(uow.conn, new_ids)


def can_pipeline(conn: Connection, chunk: Chunk, accepted: Sequence[AnyRow]) -> bool:
    """Whether neither a pace nor a quota goes by what came before."""
    return not _between(chunk.operation) and not quota.limits_any(conn, {row.project_id for row in accepted})


@cache
def _creation(strategy: RetryStrategy) -> Creation:
    """Of the retries named in the outcomes of a chunk."""
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
    rows = rows.where(IN_CHUNK, _outcome.new_run_id.is_not(None))
    return transitions.creation(rows, retries.message_sql(strategy, IdKind.RUN, _run.retry_of_id))


def _within_quota(uow: UnitOfWork, chunk: Chunk, accepted: Sequence[AnyRow]) -> list[UUID]:
    """The runs accepted whose retries are within their projects' quotas, which count them, in order.

    The retries of the others have failed, and can be taken up by another operation.
    """
    within: list[UUID] = []
    # In one order, or two that overlap would lock up.
    for project_id, rows in sorted(group_by(accepted, "project_id").items()):
        run_ids = [row.id for row in rows]
        taken = quota.take(uow, project_id, len(run_ids))
        within += run_ids[:taken]
        if beyond := run_ids[taken:]:
            record_outcomes(uow, chunk, BulkResult.FAILED, BulkReason.QUOTA_EXCEEDED, beyond)
    return sorted(within)


def _name(uow: UnitOfWork, chunk: Chunk, values: Sequence[Sequence[Any]]) -> None:
    """Note the new runs of a chunk in its outcomes: `values` of each column that is `_NAMED`."""
    if uow.conn.dialect.name == "sqlite":
        old_ids, new_ids, *times = values
        keys = ([key.hex for key in each] for each in (old_ids, new_ids))
        instants = ([to_microseconds(each) for each in column] for column in times)
        names = {"names": orjson.dumps(list(zip(*keys, *instants, strict=True))).decode()}
        uow.conn.execute(_NAME_BY_JSON, {"of_operation": chunk.operation.id} | names)
    else:
        arrays = {f"of_{name}": each for name, each in zip(_NAMED, values, strict=True)}
        uow.conn.execute(_NAME_BY_ARRAYS, chunk.named | arrays)


def _places(uow: UnitOfWork, chunk: Chunk, count: int) -> list[datetime]:
    """When each of the next retries is due: now, or somewhere in its own place of the pace.

    The places go on from the last one given, so the pace holds over chunks, restarts and pauses of the workers.
    """
    between = _between(chunk.operation)
    if not between:
        return [chunk.now] * count
    first = max(chunk.now, chunk.operation.paced_through or chunk.now)
    through = first + count * between
    uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(paced_through=through))
    # Jitter: retries of what failed together shall not go off in step.
    return [first + (number + random.random()) * between for number in range(count)]  # noqa: S311


def _between(operation: AnyRow) -> timedelta:
    """The mean time between two retries."""
    by_rate = timedelta(seconds=1 / operation.max_per_second if operation.max_per_second else 0)
    by_spread = timedelta(milliseconds=(operation.spread_over_ms or 0) / max(1, operation.matched))
    return max(by_rate, by_spread)
