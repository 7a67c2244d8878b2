"""Retries runs. The new runs of a chunk, their events and their reused steps take one statement each."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    update,
)

from db.bulk import outcomes
from db.bulk.actions.action import RUNS, BulkAction
from db.bulk.outcomes import IN_CHUNK, OUTCOMES, PENDING_IN_CHUNK, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation, Flow, StepResult
from db.models.types import table, to_microseconds
from db.queue import quota
from db.row_types import BulkOperationRow, RunRow
from db.runs import kept_steps, retries, transitions
from db.runs.transitions import Creation
from db.sql.rows import group_by
from domain import ids
from domain.bulk import ELIGIBLE, BulkKind, BulkReason, BulkResult
from domain.enums import RetryStrategy, TriggerMethod
from domain.ids import IdKind
from domain.runs.state_machine import KEPT, LIVE

_run = RUNS.c
_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c

# One statement links all outcomes of a chunk to their new runs: a statement for each outcome costs several times as
# much.
_LINK_COLUMNS = ("run_id", "new_run_id", "at", "due_at")
_SUCCEEDED = {_outcome.result: BulkResult.SUCCEEDED, _outcome.reason: None}
_HEX, _DIGITS = 32, 20
_WIDTHS = dict(zip(_LINK_COLUMNS, (_HEX, _HEX, _DIGITS, _DIGITS), strict=True))
_text_row = func.json_each(bindparam("links", type_=Text)).table_valued("value").c.value


def _part(name: str) -> ColumnElement[Any]:
    """Returns the value of a link column in a row's text. Cutting it out takes a fraction of the time of parsing it."""
    start = sum(_WIDTHS[before] for before in _LINK_COLUMNS[: _LINK_COLUMNS.index(name)])
    part = func.substr(_text_row, start + 1, _WIDTHS[name], type_=Text)
    return type_coerce(cast(part, BigInteger) if _WIDTHS[name] == _DIGITS else part, _outcome[name].type)


_text_links = (
    select(*(_part(name).label(name) for name in _LINK_COLUMNS))
    .cte("links")
    .prefix_with("MATERIALIZED")  # Otherwise SQLite would parse the JSON again for each outcome.
    .c
)
_LINK_BY_TEXTS = (
    update(OUTCOMES)
    .where(_outcome.operation_id == bindparam("of_operation"), _outcome.run_id == _text_links.run_id)
    .values({**_SUCCEEDED, **{_outcome[name]: _text_links[name] for name in _LINK_COLUMNS[1:]}})
)
"""SQLite's statement. The parameter `links` is a JSON array with a text for each outcome: its `_LINK_COLUMNS`."""
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


_STEP_NAME = select(_operation.step_name).where(_operation.id == bindparam("of_operation")).scalar_subquery()
"""The step that the client chose."""
_flows = table(Flow)
_flow = _flows.c
_parent = RUNS.alias("parent")
_WAITING_PARENTS = (
    select(_parent.c.id, _parent.c.root_run_id)
    .join_from(RUNS, _parent, _parent.c.id == _run.parent_run_id)
    .where(_run.id.in_(PENDING_IN_CHUNK), _run.parent_position.is_not(None), _parent.c.status.in_(sorted(LIVE)))
    .distinct()
)
_PROJECTS = select(_run.project_id).where(_run.id.in_(PENDING_IN_CHUNK)).distinct()
_parent_outcome = OUTCOMES.alias("parent_outcome")
_parent_step = table(StepResult).alias("parent_step").c
_IS_TIED = (
    select(_run.id)
    .where(
        _run.id.in_(PENDING_IN_CHUNK),
        _run.parent_run_id.is_not(None),
        or_(
            and_(
                _run.parent_position.is_not(None),
                exists().where(_parent.c.id == _run.parent_run_id, _parent.c.status.in_(sorted(LIVE))),
            ),
            exists().where(
                _parent_outcome.c.operation_id == bindparam("of_operation"),
                _parent_outcome.c.run_id == _run.parent_run_id,
                _parent_outcome.c.run_id <= bindparam("after"),
                _parent_outcome.c.result == BulkResult.PENDING,
            ),
        ),
    )
    .limit(1)
)
"""Query for a run whose parent waits for it, or is in an earlier chunk that is not committed: that the retry of its
parent repeats the run is known only when the parent has been judged."""


class RetryRuns(BulkAction):
    """Creates a retry of each run, with one strategy."""

    kind = BulkKind.RETRY
    takes_over = (BulkKind.RETRY, BulkResult.FAILED)
    source = retries.WITH_FLOWS
    columns = (_run.id, _run.project_id)
    judges_by_other_runs = True

    def __init__(self, strategy: RetryStrategy) -> None:
        self._strategy = self.strategy = strategy

    def refusal(self) -> ColumnElement[str | None]:
        """Returns SQL for the reason why a run cannot be retried: the rule of the mutation `retry`."""
        return retries.refusal(self._strategy, _STEP_NAME if self._strategy is RetryStrategy.FROM_STEP else None)

    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Writes a retry of each run within its project's quota, due when the operation's pace allows it."""
        run_ids = _charge_quotas(uow, chunk, runs)
        if not run_ids:
            return
        new_ids = ids.new_uuids(len(run_ids))
        created_at = [ids.created_at(new_id) for new_id in new_ids]
        _link(uow, chunk, (run_ids, new_ids, created_at, _due_times(uow, chunk, len(run_ids))))
        parameters = chunk.parameters | {"retried_by": chunk.requested_by.text}
        transitions.create_from(uow, self._creation, parameters, new_ids)
        if self._strategy in retries.KEEPING:
            kept_steps.copy_kept(uow, new_ids)

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the parents that wait for the runs, and their families: a retry replaces its run there."""
        parents = uow.conn.execute(_WAITING_PARENTS, chunk.parameters).all()
        if parents:
            run_ids = uow.conn.execute(PENDING_IN_CHUNK, chunk.parameters).scalars().all()
            roots = [parent.root_run_id for parent in parents]
            retries.lock_for_retry(uow, roots, run_ids, *(parent.id for parent in parents))

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """True if neither a pace nor a quota depends on the previous chunk, and no run is tied to its parent."""
        if _interval(chunk.operation) or conn.execute(_IS_TIED, chunk.parameters).first() is not None:
            return False
        return not quota.limits_any(conn, set(conn.execute(_PROJECTS, chunk.parameters).scalars()))

    def covered(self, conn: Connection, chunk: Chunk) -> Sequence[UUID]:
        """Returns the runs that the retries of their parents repeat."""
        return conn.execute(self._covered, chunk.parameters).scalars().all()

    def plan_covered(self, conn: Connection, chunk: Chunk) -> None:
        """Records which runs the retries of their parents would repeat."""
        conn.execute(self._plan_covered, chunk.parameters)

    @cached_property
    def _covered(self) -> Select[Any]:
        # A pending parent in this chunk is about to be retried: refused parents have been recorded.
        in_this_chunk = and_(
            _parent_outcome.c.result == BulkResult.PENDING, _parent_outcome.c.run_id <= bindparam("through")
        )
        is_retried = or_(
            in_this_chunk,
            _parent_outcome.c.result == BulkResult.SUCCEEDED,
            _parent_outcome.c.reason == BulkReason.COVERED_BY_PARENT,
        )
        return select(_run.id).where(_run.id.in_(PENDING_IN_CHUNK), self._repeated_by_parent(is_retried))

    @cached_property
    def _plan_covered(self) -> Update:
        is_retried = _parent_outcome.c.planned_reason.in_([ELIGIBLE, BulkReason.COVERED_BY_PARENT])
        covered = select(_run.id).where(_run.id == _outcome.run_id, self._repeated_by_parent(is_retried))
        return (
            update(OUTCOMES)
            .where(IN_CHUNK, _outcome.planned_reason == ELIGIBLE, covered.correlate(OUTCOMES).exists())
            .values(planned_reason=BulkReason.COVERED_BY_PARENT)
        )

    def _repeated_by_parent(self, is_retried: ColumnElement[bool]) -> ColumnElement[bool]:
        """Condition: the run's parent has an outcome that matches `is_retried`, and the parent's retry repeats the
        run."""
        has_parent = exists().where(
            _parent_outcome.c.operation_id == bindparam("of_operation"),
            _parent_outcome.c.run_id == _run.parent_run_id,
            is_retried,
        )
        by_step = or_(_run.item_index.is_not(None), _run.retry_of_id.is_not(None))
        if self._strategy not in retries.KEEPING:
            return and_(_run.parent_run_id.is_not(None), by_step, has_parent.correlate(RUNS))
        is_kept = exists().where(
            _parent_step.run_id == _run.parent_run_id,
            _parent_step.position == _run.parent_position,
            _parent_step.position < self._starts_at,
            _parent_step.status.in_(sorted(KEPT)),
        )
        # A run for which its step did not wait is never repeated: the retry of the parent reuses that step.
        is_waited_for = or_(_run.parent_position.is_not(None), _run.retry_of_id.is_not(None))
        return and_(
            _run.parent_run_id.is_not(None), is_waited_for, ~is_kept.correlate(RUNS), has_parent.correlate(RUNS)
        )

    @property
    def _step_name(self) -> ColumnElement[Any]:
        return _STEP_NAME if self._strategy is RetryStrategy.FROM_STEP else cast(null(), Text)

    @property
    def _starts_at(self) -> ColumnElement[int]:
        """Returns the first step that the retry of a run's parent executes again, unless the parent ended before it."""
        latest = (
            select(_flow.published_version_id)
            .join_from(_flows, _parent, _flow.id == _parent.c.flow_id)
            .where(_parent.c.id == _run.parent_run_id)
            .correlate(RUNS)
            .scalar_subquery()
        )
        strategy = literal(self._strategy.value)
        return kept_steps.keeps_before(strategy, self._step_name, latest, _run.parent_run_id, RUNS)

    @cached_property
    def _creation(self) -> Creation:
        """Returns the statements that create the runs to which the outcomes of a chunk are linked."""
        values = {
            **{name: _run[name] for name in retries.COPIED_COLUMNS},
            **retries.derived(self._strategy, _outcome.new_run_id, self._step_name),
            "id": _outcome.new_run_id,
            "flow_version_id": retries.version(self._strategy),
            "trigger_method": literal(TriggerMethod.RETRY.value),
            "retry_of_id": _run.id,
            "retried_by": bindparam("retried_by", type_=Text),
            "retry_operation_id": _outcome.operation_id,
            "interruptions": literal(0),
            "created_at": _outcome.at,
            "due_at": _outcome.due_at,
        }
        rows = select(*(value.label(name) for name, value in values.items()))
        rows = rows.select_from(OUTCOMES.join(retries.WITH_FLOWS, _run.id == _outcome.run_id))
        rows = rows.where(IN_CHUNK, _outcome.new_run_id.is_not(None))
        return transitions.creation(rows, retries.message_sql(self._strategy, IdKind.RUN, _run.retry_of_id))


def _charge_quotas(uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> list[UUID]:
    """Charges the retries to their projects' quotas, and returns the runs that are within them, in the order of IDs.

    Retries beyond a quota fail, so that a later operation can select them.
    """
    within_quota: list[UUID] = []
    # Projects are charged in one order. Otherwise two operations over the same projects would deadlock.
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
        links = [
            f"{run_id.hex}{new_id.hex}{to_microseconds(at):0{_DIGITS}}{to_microseconds(due_at):0{_DIGITS}}"
            for run_id, new_id, at, due_at in zip(*values, strict=True)
        ]
        parameters = {"of_operation": chunk.operation.id, "links": orjson.dumps(links).decode()}
        uow.conn.execute(_LINK_BY_TEXTS, parameters)
    else:
        arrays = {f"of_{name}": column_values for name, column_values in zip(_LINK_COLUMNS, values, strict=True)}
        uow.conn.execute(_LINK_BY_ARRAYS, chunk.parameters | arrays)


def _due_times(uow: UnitOfWork, chunk: Chunk, count: int) -> list[datetime]:
    """Returns the due time of each of the next `count` retries: now, or a random time within its own interval.

    Intervals continue from the last one, so the pace holds over chunks, restarts and pauses of the workers.
    """
    interval = _interval(chunk.operation)
    if not interval:
        return [chunk.now] * count
    first = max(chunk.now, chunk.operation.paced_through or chunk.now)
    through = first + count * interval
    uow.conn.execute(update(_operations).where(_operation.id == chunk.operation.id).values(paced_through=through))
    # Jitter keeps retries of runs that failed together from starting together.
    return [first + (number + random.random()) * interval for number in range(count)]  # noqa: S311


def _interval(operation: BulkOperationRow) -> timedelta:
    """Returns the mean time between two retries; zero when the operation has no pace."""
    by_rate = timedelta(seconds=1 / operation.max_per_second if operation.max_per_second else 0)
    by_spread = timedelta(milliseconds=(operation.spread_over_ms or 0) / max(1, operation.matched))
    return max(by_rate, by_spread)
