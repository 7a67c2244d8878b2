"""Factories of rows. The `make_…` functions insert rows in any state, `create_run` creates a run as the service does.

Each function takes a connection, for `Database.write`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import insert

from db import flows, projects
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.runs import transitions
from domain import ids
from domain.enums import AttemptStatus, Environment, RunStatus, StepStatus, TriggerMethod
from domain.ids import IdKind
from domain.runs.state_machine import FINAL
from domain.text import fold_column
from domain.time import clock

MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_STEP_NAMES = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class PublishedFlow:
    """IDs of a project, a flow in it, and the published version of the flow."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


def uuid_at(instant: datetime, number: int = 0) -> UUID:
    """Returns a UUIDv7 for `instant`. `number`, up to 4095, orders the UUIDs of one millisecond."""
    return UUID(int=ids.first_uuid_at(instant).int | 0x7 << 76 | number << 64 | 0b10 << 62)


def definition(names: Iterable[str] = _STEP_NAMES) -> str:
    """Returns the definition of a flow with a transform step for each name, as JSON text."""
    steps = [{"name": name, "kind": "transform", "input": name} for name in names]
    return orjson.dumps({"steps": steps}).decode()


def make_project_with_flow(uow: UnitOfWork, name: str = "home", steps: Sequence[str] = _STEP_NAMES) -> PublishedFlow:
    """Makes a project and a flow in it, both with this name, and publishes the flow once."""
    return make_flow(uow, projects.create(uow, name), name, steps)


def make_flow(uow: UnitOfWork, project_id: UUID, name: str, steps: Sequence[str] = _STEP_NAMES) -> PublishedFlow:
    """Makes a flow in a project and publishes it once."""
    flow_id = flows.create(uow, project_id, name)
    return PublishedFlow(project_id, flow_id, make_version(uow, project_id, flow_id, steps))


def make_version(uow: UnitOfWork, project_id: UUID, flow_id: UUID, steps: Sequence[str] = _STEP_NAMES) -> UUID:
    """Publishes the next version of a flow."""
    return flows.publish(uow, flow_id, project_id, definition(steps), len(steps))


def make_run(uow: UnitOfWork, /, published: PublishedFlow, **values: Any) -> UUID:
    """Inserts a run. `values` are columns; the default status is QUEUED."""
    return make_runs(uow, published, [values])[0]


def make_runs(uow: UnitOfWork, published: PublishedFlow, rows: Iterable[Mapping[str, Any]]) -> list[UUID]:
    """Inserts a run for each row. Columns that a row leaves out get values that suit its status."""
    complete = [_run(published, values) for values in rows]
    if complete:
        uow.conn.execute(insert(table(FlowRun)), complete)
    return [row["id"] for row in complete]


def make_steps(uow: UnitOfWork, run_id: UUID, rows: Iterable[Mapping[str, Any]]) -> None:
    """Inserts the first steps of a run, each with one attempt. The default status is SUCCEEDED."""
    make_steps_of_runs(uow, {run_id: rows})


def make_steps_of_runs(uow: UnitOfWork, by_run: Mapping[UUID, Iterable[Mapping[str, Any]]]) -> None:
    """Inserts the first steps of each of these runs."""
    complete = [
        _step(run_id, position, values) for run_id, rows in by_run.items() for position, values in enumerate(rows)
    ]
    if complete:
        uow.conn.execute(insert(table(StepResult)), complete)
        uow.conn.execute(insert(table(StepAttempt)), [_attempt(row) for row in complete])


def make_events(uow: UnitOfWork, published: PublishedFlow, run_id: UUID, statuses: Sequence[RunStatus]) -> None:
    """Appends the status events of a run that was created with the first status and then had the others."""
    make_events_of_runs(uow, published, [run_id], statuses)


def make_events_of_runs(
    uow: UnitOfWork, published: PublishedFlow, run_ids: Iterable[UUID], statuses: Sequence[RunStatus]
) -> None:
    """Appends the status events of runs that were created with the first status and then had the others."""
    at = clock.now()
    of_flow = {"project_id": published.project_id, "flow_id": published.flow_id, "kind": event_log.RUN_STATUS}
    pairs = list(zip([None, *statuses], statuses, strict=False))
    event_log.append(
        uow,
        [
            {**of_flow, "run_id": run_id, "from_status": old, "to_status": new, "message": f"{new}", "at": at}
            for run_id in run_ids
            for old, new in pairs
        ],
    )


def run_values(published: PublishedFlow, **values: Any) -> dict[str, Any]:
    """Returns the columns that every new run needs, for tests and benchmarks; `values` are further columns."""
    run_id: UUID = values.get("id") or ids.new_uuid()
    defaults = {
        "id": run_id,
        "root_run_id": run_id,
        "project_id": published.project_id,
        "flow_id": published.flow_id,
        "flow_version_id": published.version_id,
        "environment": Environment.PRODUCTION,
        "trigger_method": TriggerMethod.API,
        "created_at": ids.created_at(run_id),
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "tags": [],
        "metadata": "{}",
        "input": "{}",
    }
    if "error_message" in values:
        defaults["error_folded"] = fold_column(values["error_message"])
    return defaults | values


def create_run(uow: UnitOfWork, /, published: PublishedFlow, **values: Any) -> UUID:
    """Creates a QUEUED run as the service does, with its event and its position in the queue."""
    row = run_values(published, **values)
    transitions.create(uow, row, "Created by a test")
    run_id: UUID = row["id"]
    return run_id


def encode_run_id(run_id: UUID) -> str:
    """Returns the run ID in the form that clients see."""
    return ids.encode(IdKind.RUN, run_id)


def _run(published: PublishedFlow, values: Mapping[str, Any]) -> dict[str, Any]:
    required = run_values(published, **values)
    created_at: datetime = required["created_at"]
    row = dict.fromkeys(column.name for column in table(FlowRun).c if column.server_default is None) | required
    status = values.get("status", RunStatus.QUEUED)
    state = {"status": status, "updated_at": created_at}
    return row | state | _times(status, created_at) | dict(values)


def _times(status: RunStatus, created_at: datetime) -> dict[str, Any]:
    if status is RunStatus.QUEUED:
        return {"due_at": created_at}
    if status not in FINAL:
        return {"started_at": created_at, "due_at": created_at}
    return {"started_at": created_at, "finished_at": created_at + _SECOND, "duration_ms": 1_000}


def _step(run_id: UUID, position: int, values: Mapping[str, Any]) -> dict[str, Any]:
    at = clock.now()
    row = dict.fromkeys(column.name for column in table(StepResult).c) | {
        "run_id": run_id,
        "position": position,
        "name": chr(ord("a") + position),
        "kind": "transform",
        "status": StepStatus.SUCCEEDED,
        "attempts_count": 1,
        "started_at": at,
        "finished_at": at,
        "duration_ms": 0,
    }
    return row | dict(values)


def _attempt(step: Mapping[str, Any]) -> dict[str, Any]:
    known = {StepStatus.RUNNING: AttemptStatus.RUNNING, StepStatus.SUCCEEDED: AttemptStatus.SUCCEEDED}
    shared = {name: step[name] for name in ("run_id", "position", "started_at", "finished_at", "error")}
    return {**shared, "number": 1, "status": known.get(step["status"], AttemptStatus.FAILED)}
