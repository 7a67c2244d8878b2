"""Rows for tests, put straight into the tables: many at once, in any state in which the service could have left them.

Each function is one of a connection, for `Database.write`.
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
from domain import clock, ids
from domain.enums import AttemptStatus, Environment, RunStatus, StepStatus, TriggerMethod
from domain.state_machine import FINAL

MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_STEP_NAMES = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class Home:
    """Where runs are at home."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


def uuid_at(instant: datetime, number: int = 0) -> UUID:
    """A UUIDv7 made at `instant`; those of one millisecond are in the order of their numbers (up to 4095)."""
    return UUID(int=ids.first_uuid_at(instant).int | 0x7 << 76 | number << 64 | 0b10 << 62)


def definition(names: Iterable[str] = _STEP_NAMES) -> str:
    """The definition of a flow of transform steps with these names."""
    steps = [{"name": name, "kind": "transform", "input": name} for name in names]
    return orjson.dumps({"steps": steps}).decode()


def add_home(uow: UnitOfWork, name: str = "home", steps: Sequence[str] = _STEP_NAMES) -> Home:
    """A project with a flow of that name, published once."""
    return add_flow(uow, projects.create(uow, name), name, steps)


def add_flow(uow: UnitOfWork, project_id: UUID, name: str, steps: Sequence[str] = _STEP_NAMES) -> Home:
    """A flow in a project, published once."""
    flow_id = flows.create(uow, project_id, name)
    return Home(project_id, flow_id, add_version(uow, project_id, flow_id, steps))


def add_version(uow: UnitOfWork, project_id: UUID, flow_id: UUID, steps: Sequence[str] = _STEP_NAMES) -> UUID:
    """The next version of a flow."""
    return flows.publish(uow, flow_id, project_id, definition(steps), len(steps))


def add_run(uow: UnitOfWork, /, home: Home, **values: Any) -> UUID:
    """A run, QUEUED unless told otherwise; `values` are columns."""
    return add_runs(uow, home, [values])[0]


def add_runs(uow: UnitOfWork, home: Home, rows: Iterable[Mapping[str, Any]]) -> list[UUID]:
    """Runs, each with the columns told, and with others that go with its status."""
    complete = [_run(home, values) for values in rows]
    if complete:
        uow.conn.execute(insert(table(FlowRun)), complete)
    return [row["id"] for row in complete]


def add_steps(uow: UnitOfWork, run_id: UUID, rows: Iterable[Mapping[str, Any]]) -> None:
    """The first steps of a run, SUCCEEDED unless told otherwise, each after one attempt."""
    add_steps_of_runs(uow, {run_id: rows})


def add_steps_of_runs(uow: UnitOfWork, by_run: Mapping[UUID, Iterable[Mapping[str, Any]]]) -> None:
    """The first steps of each of these runs."""
    complete = [
        _step(run_id, position, values) for run_id, rows in by_run.items() for position, values in enumerate(rows)
    ]
    if complete:
        uow.conn.execute(insert(table(StepResult)), complete)
        uow.conn.execute(insert(table(StepAttempt)), [_attempt(row) for row in complete])


def add_events(uow: UnitOfWork, home: Home, run_id: UUID, statuses: Sequence[RunStatus]) -> None:
    """The events of a run that was created with the first status and then had the others."""
    at = clock.now()
    event = {"run_id": run_id, "project_id": home.project_id, "flow_id": home.flow_id, "kind": event_log.RUN_STATUS}
    pairs = zip([None, *statuses], statuses, strict=False)
    event_log.append(
        uow, [{**event, "from_status": old, "to_status": new, "message": f"{new}", "at": at} for old, new in pairs]
    )


def _run(home: Home, values: Mapping[str, Any]) -> dict[str, Any]:
    run_id: UUID = values.get("id") or ids.new_uuid()
    status = values.get("status", RunStatus.QUEUED)
    created_at = values.get("created_at") or ids.created_at(run_id)
    row = dict.fromkeys(column.name for column in table(FlowRun).c if column.server_default is None) | {
        "id": run_id,
        "project_id": home.project_id,
        "flow_id": home.flow_id,
        "flow_version_id": home.version_id,
        "status": status,
        "environment": Environment.PRODUCTION,
        "trigger_method": TriggerMethod.API,
        "created_at": created_at,
        "updated_at": created_at,
        "root_run_id": run_id,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "tags": [],
        "metadata": "{}",
        "input": "{}",
    }
    return row | _times(status, created_at) | dict(values)


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
