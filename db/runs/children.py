"""Child runs that a step of their parent waits for.

The parent's journal has the rendered inputs of all children. As many children as may run at once are created when the
step starts. The transaction that ends a child creates the next one, under a lock on the parent's row, so that none is
created twice. The end of the last child wakes the parent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, StepResult
from db.models.types import table
from db.row_types import RunRow
from db.runs import transitions
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, fetch_first
from domain import ids, json_codec
from domain.enums import RunStatus, TriggerMethod
from domain.runs.state_machine import LIVE, UNSUCCESSFUL
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_step = table(StepResult).c
_live = _run.status.in_(sorted(LIVE))

_OF_PARENT = ("project_id", "root_run_id", "environment", "tags", "metadata")
_OF_SIBLINGS = ("flow_id", "flow_version_id", "fail_parent_on_failure", "parent_position", "parent_attempt")


@dataclass(frozen=True, slots=True)
class ChildBatch:
    """The children that one attempt at a step starts."""

    flow_id: UUID
    version_id: UUID
    fail_parent_on_failure: bool
    inputs: Sequence[str]
    """The inputs of the children that are created at once, as JSON text."""
    position: int | None
    """Position of the step that waits for them; None: no step does."""
    attempt: int


class ChildResult(Protocol):
    """A child run, as far as the step that waits for it needs it."""

    id: UUID
    status: str
    output: str | None
    error_code: str | None
    error_message: str | None
    fail_parent_on_failure: bool


class WaitedChild(RunRow, Protocol):
    """A run that a step of its parent waits for."""

    parent_position: int
    parent_attempt: int


def create(uow: UnitOfWork, parent: RunRow, batch: ChildBatch) -> list[UUID]:
    """Creates the first children; returns their IDs."""
    common = dict(
        zip(
            _OF_SIBLINGS,
            (batch.flow_id, batch.version_id, batch.fail_parent_on_failure, batch.position, batch.attempt),
            strict=True,
        )
    )
    return [_create(uow, parent, common, index, text) for index, text in enumerate(batch.inputs)]


def of_attempt(conn: Connection, parent_id: UUID, position: int, attempt: int) -> Sequence[ChildResult]:
    """Returns the children of an attempt, in the order of their items."""
    columns = (_run.id, _run.status, _run.output, _run.error_code, _run.error_message, _run.fail_parent_on_failure)
    query = select(*columns).where(_siblings(parent_id, position, attempt)).order_by(_run.item_index)
    return fetch_all(conn, query)


def advance_batches(uow: UnitOfWork, child_ids: Sequence[UUID]) -> None:
    """Creates the next children of the steps that wait for these runs, which have ended, or wakes their parents."""
    waited_for = _run.parent_position.is_not(None)
    query = select(_runs).where(any_of(_run.id, child_ids), waited_for).order_by(_run.parent_run_id, _run.item_index)
    ended: Sequence[WaitedChild] = fetch_all(uow.conn, query)
    for child in ended:
        lock = select(_runs).where(_run.id == child.parent_run_id, _live).with_for_update()
        parent: RunRow | None = fetch_first(uow.conn, lock)
        if parent is not None and not _create_next(uow, parent, child):
            wake_parent_if_done(uow, parent.id, child.parent_position, child.parent_attempt)


def wake_parent_if_done(uow: UnitOfWork, parent_id: UUID, position: int, attempt: int) -> None:
    """Makes a paused parent due if no child of the attempt is live."""
    siblings = _siblings(parent_id, position, attempt)
    if uow.conn.execute(select(_run.id).where(siblings, _live).limit(1)).first() is None:
        paused = (_run.id == parent_id, _run.status == RunStatus.PAUSED)
        uow.conn.execute(update(_runs).where(*paused).values(due_at=clock.now()))
        uow.publish_after_commit(pubsub.RUNS_DUE)


def _create_next(uow: UnitOfWork, parent: RunRow, child: WaitedChild) -> bool:
    """Creates the child of the next item. Returns False if there is none, or if a child has failed the step."""
    siblings = _siblings(parent.id, child.parent_position, child.parent_attempt)
    fatal = (siblings, _run.fail_parent_on_failure.is_(True), _run.status.in_(sorted(UNSUCCESSFUL)))
    if uow.conn.execute(select(_run.id).where(*fatal).limit(1)).first() is not None:
        return False
    made = uow.conn.execute(select(func.count()).where(siblings)).scalar_one()
    inputs = _inputs(uow.conn, parent.id, child.parent_position)
    if made == len(inputs):
        return False
    common = {name: getattr(child, name) for name in _OF_SIBLINGS}
    text = json_codec.encode(inputs[made], limit=json_codec.MAX_INPUT_BYTES, what="input")
    _create(uow, parent, common, made, text)
    return True


def _inputs(conn: Connection, parent_id: UUID, position: int) -> Sequence[Any]:
    text = conn.execute(select(_step.input).where(_step.run_id == parent_id, _step.position == position)).scalar_one()
    inputs: Sequence[Any] = json_codec.decode(text)["inputs"]
    return inputs


def _create(uow: UnitOfWork, parent: RunRow, common: Mapping[str, Any], index: int, text: str) -> UUID:
    run_id = ids.new_uuid()
    values = {
        **{name: getattr(parent, name) for name in _OF_PARENT},
        **common,
        "id": run_id,
        "created_at": ids.created_at(run_id),
        "parent_run_id": parent.id,
        "depth": parent.depth + 1,
        "item_index": index,
        "trigger_method": TriggerMethod.PARENT,
        "attempt": 1,
        "interruptions": 0,
        "input": text,
    }
    transitions.create(uow, values, "Flow started via parent")
    return run_id


def _siblings(parent_id: UUID, position: int, attempt: int) -> Any:
    return (_run.parent_run_id == parent_id) & (_run.parent_position == position) & (_run.parent_attempt == attempt)
