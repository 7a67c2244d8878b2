"""Child runs of `flow` steps.

The parent's journal has the rendered inputs of all children of a step, one for each item. As many children as may be
live at the same time are created when the step starts. The transaction that ends a child creates the next ones, under a
lock on the parent's row, so that none is created twice. The end of the last child wakes the parent.

Each item has one run: the child that was created for it, or the retry that replaced it (`db.runs.retries`). A step that
is executed again, by a retry of its run or by its own retry policy, keeps the results of the children that succeeded,
and retries the others from their failed steps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, Subquery, and_, func, select, tuple_, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, StepResult
from db.models.types import table
from db.row_types import RunRow, StepRow
from db.runs import kept_steps, retries, transitions
from db.runs import reads as run_reads
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, fetch_first, group_by
from domain import ids, json_codec
from domain.actor import Actor, ActorKind
from domain.enums import OnItemFailure, RetryStrategy, RunStatus, TriggerMethod
from domain.ids import IdKind
from domain.runs.state_machine import LIVE, UNSUCCESSFUL
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_flow = table(Flow).c
_steps = table(StepResult)
_step = _steps.c
_live = _run.status.in_(sorted(LIVE))
_OF_PARENT = ("project_id", "root_run_id", "environment", "tags", "metadata")
_OF_SIBLINGS = ("flow_id", "flow_version_id", "fail_parent_on_failure", "parent_position", "parent_attempt")


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """The plan of a `flow` step for its items. The parent's journal keeps it as the input of the step."""

    inputs: Sequence[Any]
    """The input of the child run of each item."""
    concurrency: int | None = None
    """Child runs that are live at the same time; None for a step without `forEach`."""
    on_item_failure: OnItemFailure = OnItemFailure.WAIT
    kept: Mapping[int, UUID] = field(default_factory=dict)
    """The run whose result is kept, for each such item."""
    retried: Mapping[int, UUID] = field(default_factory=dict)
    """The run that the child retries from its failed step, for each such item."""
    secrets: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    """The placeholders of secrets in the input of each item: offsets into a text, by its JSON pointer."""

    def document(self) -> dict[str, Any]:
        """Returns the plan as a JSON value. Settings with their default are omitted."""
        document: dict[str, Any] = {"inputs": self.inputs}
        if self.concurrency is not None:
            document["concurrency"] = self.concurrency
        if self.on_item_failure is not OnItemFailure.WAIT:
            document["onItemFailure"] = self.on_item_failure.value
        for name, runs in (("kept", self.kept), ("retried", self.retried)):
            if runs:
                document[name] = {str(item): ids.encode(IdKind.RUN, run_id) for item, run_id in runs.items()}
        if self.secrets:
            document["secrets"] = {str(item): offsets for item, offsets in self.secrets.items()}
        return document

    @classmethod
    def parse(cls, text: str | None) -> "ItemPlan":
        """Returns the plan in a step's `input`. Steps that failed before they had one give an empty plan."""
        document = json_codec.decode(text)
        if not isinstance(document, dict) or "inputs" not in document:
            return cls(())
        kept, retried = (
            {int(item): ids.decode(IdKind.RUN, run_id) for item, run_id in document.get(name, {}).items()}
            for name in ("kept", "retried")
        )
        policy = OnItemFailure(document.get("onItemFailure", OnItemFailure.WAIT))
        secrets = {int(item): offsets for item, offsets in document.get("secrets", {}).items()}
        return cls(document["inputs"], document.get("concurrency"), policy, kept, retried, secrets)

    def next_items(self, after: int, number: int) -> list[int]:
        """Returns the next `number` items after the item `after` that need a child run."""
        items = (item for item in range(after + 1, len(self.inputs)) if item not in self.kept)
        return [item for item, _ in zip(items, range(number), strict=False)]


@dataclass(frozen=True, slots=True)
class ChildBatch:
    """The children that one attempt at a step starts."""

    root_run_id: UUID
    """The root of the parent's family."""
    flow_id: UUID
    version_id: UUID
    fail_parent_on_failure: bool
    plan: ItemPlan
    at_once: int
    """Number of children that are created with the attempt."""
    position: int | None
    """Position of the step that waits for them; None if no step does."""
    attempt: int


class ChildResult(Protocol):
    """The columns of a child run that the waiting step needs."""

    id: UUID
    item_index: int
    flow_id: UUID
    status: str
    attempt: int
    error_code: str | None
    error_message: str | None
    fail_parent_on_failure: bool
    recovered_by_id: UUID | None
    steps_purged_at: object
    parent_run_id: UUID | None


_RESULT_NAMES = (
    *("id", "item_index", "flow_id", "status", "attempt", "error_code", "error_message"),
    *("fail_parent_on_failure", "recovered_by_id", "steps_purged_at", "parent_run_id"),
)
_RESULT_COLUMNS = tuple(_run[name] for name in _RESULT_NAMES)


class WaitedChild(RunRow, Protocol):
    """A run that a step of its parent waits for."""

    parent_run_id: UUID
    parent_position: int
    parent_attempt: int


@dataclass(frozen=True, slots=True)
class EarlierAttempt:
    """The items of a step after its previous execution."""

    plan: ItemPlan
    children: Mapping[int, ChildResult]
    """The run of each item, by item."""
    is_same: bool
    """True if it had the same flow version, and the same input or one that the parent rendered again. Each item then
    equals the earlier one, whatever its own input is."""


def create(uow: UnitOfWork, parent: RunRow, batch: ChildBatch) -> list[UUID]:
    """Creates the first children; returns their IDs."""
    own = (batch.flow_id, batch.version_id, batch.fail_parent_on_failure, batch.position, batch.attempt)
    common = dict(zip(_OF_SIBLINGS, own, strict=True))
    return [_create(uow, parent, common, batch.plan, item) for item in batch.plan.next_items(-1, batch.at_once)]


def of_attempt(conn: Connection, parent_id: UUID, position: int, attempt: int) -> Mapping[int, ChildResult]:
    """Returns the run of each item of an attempt, by item."""
    holders = _item_runs(parent_id, position, attempt)
    children: Sequence[ChildResult] = fetch_all(conn, select(holders).order_by(holders.c.item_index))
    return {child.item_index: child for child in children}


def plan_of_step(conn: Connection, run_id: UUID, position: int) -> ItemPlan:
    """Returns the plan of a step that has started."""
    return ItemPlan.parse(
        conn.execute(select(_step.input).where(_step.run_id == run_id, _step.position == position)).scalar_one()
    )


def earlier_attempt(conn: Connection, run: RunRow, position: int, name: str, attempt: int) -> EarlierAttempt | None:
    """Returns the last execution of a step that had child runs to start, before its attempt `attempt` in `run`; None if
    there was none.

    That is an earlier attempt, or one in a run that `run` continues (`retries.continues`). An attempt that failed
    before it knew its items, for example because the flow was disabled, has lost nothing of the results of the others.
    """
    if attempt > 1 and (found := _attempt_of(conn, run.id, position, attempt - 1, is_same=True)) is not None:
        return found
    continued = run
    while continued.retry_of_id is not None and continued.retry_strategy is not None:
        retried = run_reads.complete(conn, continued.retry_of_id)
        strategy = RetryStrategy(continued.retry_strategy)
        if not retries.continues(strategy, continued.retry_step_name, retried.failed_step_name):
            return None
        continued = retried
        # A step without attempts was completed by hand, or skipped.
        is_executed = (_step.name == name, _step.kind == "flow", _step.attempts_count > 0)
        step: StepRow | None = fetch_first(conn, select(_steps).where(_step.run_id == continued.id, *is_executed))
        if step is not None:
            # The parent renders the input of a retried child again. Other values of `run.attempt` and `run.id` in it do
            # not make it another input.
            is_one_operation = run.first_run_id == (continued.first_run_id or continued.id)
            has_same_input = is_one_operation or continued.input == run.input
            is_same = continued.flow_version_id == run.flow_version_id and has_same_input
            found = _attempt_of(conn, continued.id, step.position, step.attempts_count, is_same=is_same)
            if found is not None:
                return found
    return None


class ItemCounts(NamedTuple):
    """The effect on items of a retry that continues a loop."""

    kept: int
    """Items whose results are kept."""
    executed: int
    """Items whose child runs are retried or started."""


def items_of_end_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, ItemCounts]:
    """Returns, for each run that ended at a `flow` step, the numbers of items that a retry of the step keeps and
    executes. A run that ended before its items were known is left out."""
    at_end = _step.position == kept_steps.ended_at(_step.run_id, _steps)
    of_loops = (any_of(_step.run_id, run_ids), _step.kind == "flow", _step.attempts_count > 0, at_end)
    steps: Sequence[StepRow] = fetch_all(conn, select(_steps).where(*of_loops))
    if not steps:
        return {}
    attempts = [(step.run_id, step.position, step.attempts_count) for step in steps]
    of_attempts = tuple_(_run.parent_run_id, _run.parent_position, _run.parent_attempt).in_(attempts)
    holders = group_by(fetch_all(conn, select(_item_runs_of(of_attempts))), "parent_run_id")
    plans = {step.run_id: ItemPlan.parse(step.input) for step in steps}
    kept: dict[UUID, Mapping[int, UUID]] = {}
    unfinished: dict[UUID, set[UUID]] = {}
    for run_id, plan in plans.items():
        found = {child.item_index: child for child in holders.get(run_id, ())}
        succeeded = {item: child.id for item, child in found.items() if child.status == RunStatus.SUCCEEDED}
        kept[run_id] = {**plan.kept, **succeeded}
        retried = {key for item, key in plan.retried.items() if item not in found}
        unfinished[run_id] = retried | {child.id for item, child in found.items() if item not in kept[run_id]}
    latest = latest_of_chains(conn, [key for keys in unfinished.values() for key in keys])
    recovered = {key: last.id for key, last in latest.items() if last.status == RunStatus.SUCCEEDED}
    of_items = {
        run_id: [*items.values(), *(recovered[key] for key in unfinished[run_id] & recovered.keys())]
        for run_id, items in kept.items()
    }
    found_outputs = with_output(conn, [key for keys in of_items.values() for key in keys])
    counts = {run_id: sum(key in found_outputs for key in keys) for run_id, keys in of_items.items()}
    return {
        run_id: ItemCounts(counts[run_id], len(plan.inputs) - counts[run_id])
        for run_id, plan in plans.items()
        if plan.inputs
    }


def latest_of_chains(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, ChildResult]:
    """Returns, for each run, the last of its retries that has ended, or the run itself."""
    first = select(_run.id.label("first_id"), _run.id).where(any_of(_run.id, run_ids))
    chain = first.cte("chain", recursive=True)
    chain = chain.union(select(chain.c.first_id, _run.id).join_from(chain, _runs, _run.retry_of_id == chain.c.id))
    query = select(chain.c.first_id, *_RESULT_COLUMNS).join_from(chain, _runs, _run.id == chain.c.id).where(~_live)
    return {row.first_id: row for row in fetch_all(conn, query.order_by(_run.attempt, _run.id))}


def output_size(conn: Connection, run_ids: Sequence[UUID]) -> int:
    """Returns the total length of the outputs of runs, in characters of JSON text."""
    size: int = conn.execute(
        select(func.coalesce(func.sum(func.length(_run.output)), 0)).where(any_of(_run.id, run_ids))
    ).scalar_one()
    return size


def with_output(conn: Connection, run_ids: Sequence[UUID]) -> Collection[UUID]:
    """Returns the runs among `run_ids` that were neither erased nor deleted."""
    query = select(_run.id).where(any_of(_run.id, run_ids), _run.erased_at.is_(None))
    return set(conn.execute(query).scalars())


def outputs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
    """Returns the outputs of runs as JSON text, without those of runs that were erased or deleted."""
    rows = conn.execute(select(_run.id, _run.output).where(any_of(_run.id, run_ids), _run.erased_at.is_(None)))
    return {row.id: row.output for row in rows}


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A step of a parent that fails because a child has failed."""

    parent: RunRow
    position: int
    attempt: int
    on_item_failure: OnItemFailure
    failed: int
    """Items that have failed."""
    items: int
    live: Sequence[UUID]
    """Children that are still live."""


def advance_batches(uow: UnitOfWork, child_ids: Sequence[UUID]) -> list[FailedBatch]:
    """Creates the next children of the steps that wait for these runs, which have ended, or wakes their parents.

    Returns the steps with a failed item among these runs and other children that are live.
    """
    waited_for = _run.parent_position.is_not(None)
    query = select(_runs).where(any_of(_run.id, child_ids), waited_for).order_by(_run.parent_run_id, _run.item_index)
    ended: Sequence[WaitedChild] = fetch_all(uow.conn, query)
    batches = {(child.parent_run_id, child.parent_position, child.parent_attempt): child for child in ended}
    has_failed = {
        (child.parent_run_id, child.parent_position, child.parent_attempt)
        for child in ended
        if child.fail_parent_on_failure and child.status in UNSUCCESSFUL and not _is_refused_retry(child)
    }
    failed: list[FailedBatch] = []
    for key, child in batches.items():
        lock = select(_runs).where(_run.id == child.parent_run_id, _live).with_for_update(key_share=True)
        parent: RunRow | None = fetch_first(uow.conn, lock)
        if parent is not None and (batch := _advance(uow, parent, child)) is not None and key in has_failed:
            failed.append(batch)
    return failed


def wake_parent_if_done(uow: UnitOfWork, parent_id: UUID, position: int, attempt: int) -> None:
    """Makes a paused parent due if no child of the attempt is live."""
    siblings = _siblings(parent_id, position, attempt)
    if uow.conn.execute(select(_run.id).where(siblings, _live).limit(1)).first() is None:
        wake_parent(uow, parent_id)


def wake_parent(uow: UnitOfWork, parent_id: UUID) -> None:
    """Makes a paused parent due, unless it waits for a slot."""
    paused = (_run.id == parent_id, _run.status == RunStatus.PAUSED, _run.blocked_by.is_(None))
    uow.conn.execute(update(_runs).where(*paused).values(due_at=clock.now()))
    uow.publish_after_commit(pubsub.RUNS_DUE)


def live_waited(conn: Connection, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the live children of runs for which a step waits."""
    query = select(_run.id).where(any_of(_run.parent_run_id, run_ids), _run.parent_position.is_not(None), _live)
    return conn.execute(query.order_by(_run.depth, _run.id)).scalars().all()


def live_of_attempt(conn: Connection, parent_id: UUID, position: int, attempt: int) -> Sequence[UUID]:
    """Returns the live children of an attempt."""
    query = select(_run.id).where(_siblings(parent_id, position, attempt), _live)
    return conn.execute(query.order_by(_run.depth, _run.id)).scalars().all()


def live_detached_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of live children of each run for which no step waits; 0 is omitted."""
    query = select(_run.parent_run_id, func.count()).where(
        _run.parent_run_id.in_(run_ids), _run.parent_position.is_(None), _live
    )
    return dict(conn.execute(query.group_by(_run.parent_run_id)).all())


def _advance(uow: UnitOfWork, parent: RunRow, child: WaitedChild) -> FailedBatch | None:
    """Creates the children of the next items, or wakes the parent; returns the batch if one of its items has failed."""
    holders = _item_runs(parent.id, child.parent_position, child.parent_attempt)
    is_live = holders.c.status.in_(sorted(LIVE))
    has_failed = and_(holders.c.fail_parent_on_failure.is_(True), holders.c.status.in_(sorted(UNSUCCESSFUL)))
    counts = (func.count().filter(is_live), func.count().filter(has_failed), func.max(holders.c.item_index))
    live, failed, last = uow.conn.execute(select(*counts)).one()
    plan = plan_of_step(uow.conn, parent.id, child.parent_position)
    if failed:
        if not live:
            wake_parent(uow, parent.id)
            return None
        live_ids = live_of_attempt(uow.conn, parent.id, child.parent_position, child.parent_attempt)
        return FailedBatch(
            parent,
            child.parent_position,
            child.parent_attempt,
            plan.on_item_failure,
            failed,
            len(plan.inputs),
            live_ids,
        )
    # Plans of older runs have no concurrency: each child that ends is followed by one.
    free = 1 if plan.concurrency is None else plan.concurrency - live
    items = plan.next_items(last, free) if _is_enabled(uow.conn, child.flow_id) else []
    common = {name: getattr(child, name) for name in _OF_SIBLINGS}
    for item in items:
        _create(uow, parent, common, plan, item)
    if not items and not live:
        wake_parent(uow, parent.id)
    return None


def _is_refused_retry(child: WaitedChild) -> bool:
    return child.status == RunStatus.QUOTA_EXCEEDED and child.trigger_method == TriggerMethod.RETRY


def _is_enabled(conn: Connection, flow_id: UUID) -> bool:
    enabled: bool = conn.execute(select(_flow.enabled).where(_flow.id == flow_id)).scalar_one()
    return enabled


def _create(uow: UnitOfWork, parent: RunRow, common: Mapping[str, Any], plan: ItemPlan, item: int) -> UUID:
    run_id = ids.new_uuid()
    by = Actor(ActorKind.PARENT_RUN, parent.id).text
    text = json_codec.encode(plan.inputs[item], limit=json_codec.MAX_INPUT_BYTES, what="input")
    offsets = plan.secrets.get(item)
    values = {
        **{name: getattr(parent, name) for name in _OF_PARENT},
        **common,
        "id": run_id,
        "created_at": ids.created_at(run_id),
        "parent_run_id": parent.id,
        "depth": parent.depth + 1,
        "item_index": item,
        "trigger_method": TriggerMethod.PARENT,
        "started_by": by,
        "attempt": 1,
        "interruptions": 0,
        "input": text,
        "input_secrets": orjson.dumps(offsets).decode() if offsets else None,
    }
    retried_id = plan.retried.get(item)
    if retried_id is None:
        transitions.create(uow, values, "Flow started via parent")
        return run_id
    retried = run_reads.complete(uow.conn, retried_id)
    values |= {
        "flow_version_id": retried.flow_version_id,
        "retry_of_id": retried_id,
        "retried_by": by,
        "retry_strategy": RetryStrategy.FROM_FAILED_STEP,
        "first_run_id": retried.first_run_id or retried_id,
        "attempt": retried.attempt + 1,
    }
    transitions.create(uow, values, retries.message(RetryStrategy.FROM_FAILED_STEP, ids.encode(IdKind.RUN, retried_id)))
    kept_steps.copy_kept(uow, [run_id])
    return run_id


def _attempt_of(conn: Connection, run_id: UUID, position: int, through: int, *, is_same: bool) -> EarlierAttempt | None:
    """Returns the last attempt up to `through` at a step that had items; None if none had."""
    plan = plan_of_step(conn, run_id, position)
    if not plan.inputs:
        return None
    of_step = (_run.parent_run_id == run_id, _run.parent_position == position, _run.parent_attempt <= through)
    attempt = conn.execute(select(func.max(_run.parent_attempt)).where(*of_step)).scalar()
    return EarlierAttempt(plan, of_attempt(conn, run_id, position, attempt or through), is_same)


def _item_runs(parent_id: UUID, position: int, attempt: int) -> Subquery:
    """Returns the run of each item of an attempt: the last one for the item."""
    return _item_runs_of(_siblings(parent_id, position, attempt))


def _item_runs_of(siblings: ColumnElement[bool]) -> Subquery:
    """Returns the run of each item of one attempt of each parent: the last one for the item."""
    newest_first = (_run.attempt.desc(), _run.id.desc())
    place = (_run.parent_run_id, _run.item_index)
    rank = func.row_number().over(partition_by=place, order_by=newest_first).label("rank")
    ranked = select(*_RESULT_COLUMNS, rank).where(siblings, ~retries.refused_by_quota(_runs)).subquery()
    return select(*(ranked.c[name] for name in _RESULT_NAMES)).where(ranked.c.rank == 1).subquery()


def _siblings(parent_id: UUID, position: int, attempt: int) -> ColumnElement[bool]:
    return and_(_run.parent_run_id == parent_id, _run.parent_position == position, _run.parent_attempt == attempt)
