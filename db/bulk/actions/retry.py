"""Retries runs. One statement each writes a chunk's new runs, their events and the steps that they keep."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, Connection, Text, bindparam, column, func, literal, select, update

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import IN_CHUNK, OUTCOMES, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation
from db.models.types import table, to_microseconds
from db.queue import quota
from db.runs import retries, transitions
from db.runs.transitions import Creation
from db.sql.rows import AnyRow, group_by
from domain import ids
from domain.bulk import BulkKind, BulkReason, BulkResult
from domain.enums import RetryStrategy, TriggerMethod
from domain.ids import IdKind

_run = RUNS.c
_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c

# One statement links all outcomes of a chunk to their new runs: one statement an outcome costs several times as much.
_LINK_COLUMNS = ("run_id", "new_run_id", "at", "due_at")
_SUCCEEDED = {_outcome.result: BulkResult.SUCCEEDED, _outcome.reason: None}
_json_row = func.json_each(bindparam("links", type_=Text)).table_valued("value").c.value
_json_links = (
    select(
        *(
            func.json_extract(_json_row, f"$[{position}]", type_=_outcome[name].type).label(name)
            for position, name in enumerate(_LINK_COLUMNS)
        )
    )
    .cte("links")
    .prefix_with("MATERIALIZED")  # SQLite would parse the JSON again for each outcome otherwise
    .c
)
_LINK_BY_JSON = (
    update(OUTCOMES)
    .where(_outcome.operation_id == bindparam("of_operation"), _outcome.run_id == _json_links.run_id)
    .values({**_SUCCEEDED, **{_outcome[name]: _json_links[name] for name in _LINK_COLUMNS[1:]}})
)
"""SQLite's statement. The parameter `links` is a JSON array with an array of the `_LINK_COLUMNS` for each outcome."""
_arrays = func.unnest(*(bindparam(f"of_{name}", type_=ARRAY(_outcome[name].type)) for name in _LINK_COLUMNS))
_array_links = (
    _arrays.table_valued(*(column(name, _outcome[name].type) for name in _LINK_COLUMNS)).render_derived("links").c
)
_LINK_BY_ARRAYS = (
    update(OUTCOMES)
    # The bounds of the chunk keep the planner from reading all outcomes of the operation.
    .where(IN_CHUNK, _outcome.run_id == _array_links.run_id)
    .values({**_SUCCEEDED, **{_outcome[name]: _array_links[name] for name in _LINK_COLUMNS[1:]}})
)
"""PostgreSQL's statement. It has an array parameter `of_…` for each of the `_LINK_COLUMNS`."""


class RetryRuns(BulkAction):
    """Creates a retry of each run, with one strategy."""

    kind = BulkKind.RETRY
    takes_over = (BulkKind.RETRY, BulkResult.FAILED)
    source = retries.WITH_FLOWS
    columns = (_run.id, _run.project_id)

    def __init__(self, strategy: RetryStrategy) -> None:
        self._strategy = self.strategy = strategy

    def refusal(self) -> ColumnElement[str | None]:
        """SQL for why a run cannot be retried: the rule of the mutation `retry`."""
        return retries.refusal(self._strategy)

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[AnyRow]) -> None:
        """Writes a retry of each run within its project's quota, due when the operation's pace allows it."""
        run_ids = _charge_quotas(uow, chunk, runs)
        if not run_ids:
            return
        new_ids = ids.new_uuids(len(run_ids))
        created_at = [ids.created_at(new_id) for new_id in new_ids]
        _link(uow, chunk, (run_ids, new_ids, created_at, _due_times(uow, chunk, len(run_ids))))
        transitions.create_from(uow, self._creation, chunk.parameters, new_ids)
        if self._strategy is RetryStrategy.FROM_FAILED_STEP:
            retries.copy_kept(uow.conn, new_ids)

    def can_pipeline(self, conn: Connection, chunk: Chunk, runs: Sequence[AnyRow]) -> bool:
        """True if neither a pace nor a quota depends on the previous chunk."""
        return not _interval(chunk.operation) and not quota.limits_any(conn, {run.project_id for run in runs})

    @cached_property
    def _creation(self) -> Creation:
        """Statements that create the runs to which the outcomes of a chunk are linked."""
        values = {
            **{name: _run[name] for name in retries.CARRIED_OVER},
            "id": _outcome.new_run_id,
            "root_run_id": retries.root_of(_outcome.new_run_id),
            "flow_version_id": retries.version(self._strategy),
            "trigger_method": literal(TriggerMethod.RETRY.value),
            "retry_of_id": _run.id,
            "retry_operation_id": _outcome.operation_id,
            "attempt": _run.attempt + 1,
            "interruptions": literal(0),
            "created_at": _outcome.at,
            "due_at": _outcome.due_at,
        }
        rows = select(*(value.label(name) for name, value in values.items()))
        rows = rows.select_from(OUTCOMES.join(retries.WITH_FLOWS, _run.id == _outcome.run_id))
        rows = rows.where(IN_CHUNK, _outcome.new_run_id.is_not(None))
        return transitions.creation(rows, retries.message_sql(self._strategy, IdKind.RUN, _run.retry_of_id))


def _charge_quotas(uow: UnitOfWork, chunk: Chunk, runs: Sequence[AnyRow]) -> list[UUID]:
    """Charges the retries to their projects' quotas, and returns the runs that are within them, in the order of IDs.

    Retries beyond a quota fail, so that a later operation can take them over.
    """
    within_quota: list[UUID] = []
    # In the order of projects: two operations over the same projects would deadlock otherwise.
    for project_id, rows in sorted(group_by(runs, "project_id").items()):
        run_ids = [row.id for row in rows]
        granted = quota.take(uow, project_id, len(run_ids))
        within_quota += run_ids[:granted]
        if beyond_quota := run_ids[granted:]:
            outcomes.record(uow, chunk, BulkResult.FAILED, BulkReason.QUOTA_EXCEEDED, beyond_quota)
    return sorted(within_quota)


def _link(uow: UnitOfWork, chunk: Chunk, values: Sequence[Sequence[Any]]) -> None:
    """Marks outcomes of a chunk as succeeded and links them to new runs; `values` has a list for each link column."""
    if uow.conn.dialect.name == "sqlite":
        run_ids, new_ids, *times = values
        keys = ([key.hex for key in column_values] for column_values in (run_ids, new_ids))
        instants = ([to_microseconds(at) for at in column_values] for column_values in times)
        links = orjson.dumps(list(zip(*keys, *instants, strict=True))).decode()
        uow.conn.execute(_LINK_BY_JSON, {"of_operation": chunk.operation.id, "links": links})
    else:
        arrays = {f"of_{name}": column_values for name, column_values in zip(_LINK_COLUMNS, values, strict=True)}
        uow.conn.execute(_LINK_BY_ARRAYS, chunk.parameters | arrays)


def _due_times(uow: UnitOfWork, chunk: Chunk, count: int) -> list[datetime]:
    """Returns when each of the next `count` retries is due: now, or at a random time within its own interval.

    Intervals continue from the last one given, so the pace holds over chunks, restarts and pauses of the workers.
    """
    interval = _interval(chunk.operation)
    if not interval:
        return [chunk.now] * count
    first = max(chunk.now, chunk.operation.paced_through or chunk.now)
    through = first + count * interval
    uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(paced_through=through))
    # Jitter keeps retries of runs that failed together from starting together.
    return [first + (number + random.random()) * interval for number in range(count)]  # noqa: S311


def _interval(operation: AnyRow) -> timedelta:
    """Returns the mean time between two retries; zero when the operation has no pace."""
    by_rate = timedelta(seconds=1 / operation.max_per_second if operation.max_per_second else 0)
    by_spread = timedelta(milliseconds=(operation.spread_over_ms or 0) / max(1, operation.matched))
    return max(by_rate, by_spread)
