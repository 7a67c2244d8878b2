"""Executes runs for tests: publishes flows, starts runs, and reads what became of them, all rows in full."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update

from db import flows, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, RunEvent, StepAttempt, StepResult
from db.models.types import table
from db.runs import retries, step_journal, transitions
from db.runs.step_journal import Claimed
from db.sql.rows import AnyRow
from domain import clock, ids
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.ids import IdKind
from domain.state_machine import TRANSITIONS
from engine.actions import Action, ActionRegistry
from engine.compiled_flow import FlowCache, check
from engine.executor import Executor
from engine.steps import KINDS, StepKind, StepSettings

Document = dict[str, Any]
ActionFunction = Callable[..., Any]

LEASE = timedelta(seconds=15)
_RUNS = table(FlowRun)


def python(name: str, action: str | None = None, *, args: Document | None = None, **more: Any) -> Document:
    """A step that calls `action`, or the action of its own name."""
    return {"name": name, "kind": "python", "input": {"action": action or name, "args": args or {}}, **more}


def transform(name: str, value: Any, **more: Any) -> Document:
    """A step with `value` as its output."""
    return {"name": name, "kind": "transform", "input": value, **more}


def registry(**functions: ActionFunction) -> ActionRegistry:
    """Functions as actions, by their keyword."""
    return ActionRegistry(
        [Action(name, each, each.__module__, inspect.signature(each)) for name, each in functions.items()]
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow with the version that its runs execute."""

    id: UUID
    version_id: UUID


class Bench:
    """A database with a project, flows and runs."""

    def __init__(self, database: Database, project_id: UUID) -> None:
        self.database = database
        self.project_id = project_id
        self.flows = FlowCache(database)

    @classmethod
    async def on(cls, database: Database) -> "Bench":
        """A bench in a new project."""
        return cls(database, await database.write(projects.create, f"project {uuid4()}"))

    async def publish(self, *step_list: Document, **definition: Any) -> Flow:
        """A new flow of these steps."""
        flow_id = await self.database.write(flows.create, self.project_id, f"flow {uuid4()}")
        return await self.publish_again(flow_id, *step_list, **definition)

    async def publish_again(self, flow_id: UUID, *step_list: Document, **definition: Any) -> Flow:
        """The next version of a flow."""
        checked = check({"steps": list(step_list), **definition})
        version_id = await self.database.write(
            flows.publish, flow_id, self.project_id, checked.text, checked.step_count
        )
        return Flow(flow_id, version_id)

    async def start(self, flow: Flow, input: Any = "null", **values: Any) -> UUID:  # noqa: A002
        """A new QUEUED run; `input` is JSON text."""
        return await self.database.write(self._create, flow, {"input": input, **values})

    async def start_many(self, flow: Flow, count: int) -> list[UUID]:
        """New QUEUED runs, written in one transaction."""
        return await self.database.write(lambda uow: [self._create(uow, flow, {}) for _ in range(count)])

    async def retry(self, run_id: UUID) -> UUID:
        """A new run that goes on from the step at which `run_id` failed."""
        old = await self.run(run_id)
        flow = Flow(old.flow_id, old.flow_version_id)

        def work(uow: UnitOfWork) -> UUID:
            again = {"retry_of_id": run_id, "attempt": old.attempt + 1, "trigger_method": TriggerMethod.RETRY}
            new_id = self._create(uow, flow, {"input": old.input, **again})
            retries.copy_kept(uow.conn, [new_id])
            return new_id

        return await self.database.write(work)

    def _create(self, uow: UnitOfWork, flow: Flow, values: Document) -> UUID:
        run_id = ids.new_uuid()
        row = {
            "id": run_id,
            "root_run_id": run_id,
            "project_id": self.project_id,
            "flow_id": flow.id,
            "flow_version_id": flow.version_id,
            "environment": Environment.TESTING,
            "trigger_method": TriggerMethod.API,
            "created_at": clock.now(),
            "fail_parent_on_failure": False,
            "attempt": 1,
            "interruptions": 0,
            "tags": [],
            "metadata": "{}",
            "input": "null",
            **values,
        }
        transitions.create(uow, row, "Created by a test")
        return run_id

    async def claim(self, lease: timedelta = LEASE) -> Claimed:
        """A claim of the run that is due longest."""
        (claimed,) = await self.database.write(step_journal.claim, 1, lease)
        return claimed

    async def change(self, run_id: UUID, **values: Any) -> None:
        """Set columns of a run, past all rules."""
        await self.database.write(
            lambda uow: uow.conn.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(values))
        )

    async def run(self, run_id: UUID) -> AnyRow:
        """The run, all columns."""
        (row,) = await self._rows(FlowRun, run_id, "id", "id")
        return row

    async def steps(self, run_id: UUID) -> Sequence[AnyRow]:
        """The run's step results, all columns."""
        return await self._rows(StepResult, run_id, "run_id", "position")

    async def attempts(self, run_id: UUID) -> Sequence[AnyRow]:
        """The run's attempts, all columns."""
        return await self._rows(StepAttempt, run_id, "run_id", "position", "number")

    async def events(self, run_id: UUID) -> Sequence[AnyRow]:
        """The run's events, all columns."""
        return await self._rows(RunEvent, run_id, "run_id", "seq")

    async def everything(self, run_id: UUID) -> list[tuple[Any, ...]]:
        """All that is written about the run."""
        rows = [
            await self.run(run_id),
            *await self.steps(run_id),
            *await self.attempts(run_id),
            *await self.events(run_id),
        ]
        return [tuple(row) for row in rows]

    async def tries(self, run_id: UUID) -> list[tuple[str, int, str]]:
        """The attempts in short: step, number, status."""
        names = {row.position: row.name for row in await self.steps(run_id)}
        return [(names[row.position], row.number, row.status) for row in await self.attempts(run_id)]

    async def statuses(self, run_id: UUID) -> dict[str, str]:
        """The status of each step, by its name."""
        return {row.name: row.status for row in await self.steps(run_id)}

    async def _rows(self, model: Any, run_id: UUID, link: str, *order: str) -> Sequence[AnyRow]:
        source = table(model)
        wanted = select(source).where(source.c[link] == run_id).order_by(*(source.c[name] for name in order))
        return await self.database.read(lambda conn: conn.execute(wanted).all())


class Engine(Bench):
    """A bench with executors on it."""

    def __init__(self, database: Database, project_id: UUID, closing: AsyncExitStack) -> None:
        super().__init__(database, project_id)
        self._closing = closing

    async def kinds(self, **actions: ActionFunction) -> dict[str, StepKind]:
        """The step kinds, opened with these actions."""
        settings = StepSettings(http_allow_private=True, actions=registry(**actions))
        return await self._closing.enter_async_context(KINDS.open(settings))

    async def executor(self, **actions: ActionFunction) -> Executor:
        """An executor of its own, with these actions."""
        return Executor(self.database, self.flows, await self.kinds(**actions))

    async def execute(self, flow: Flow, input: str = "null", **actions: ActionFunction) -> UUID:  # noqa: A002
        """A new run, after its first claim was worked off."""
        run_id = await self.start(flow, input)
        await (await self.executor(**actions)).execute(await self.claim())
        return run_id


def shown(run_id: UUID) -> str:
    """The ID as clients see it."""
    return ids.encode(IdKind.RUN, run_id)


async def history(bench: Bench, run_id: UUID) -> list[str]:
    """The statuses that the run had, from its events; each follows from the one before by the rules."""
    rows = [row for row in await bench.events(run_id) if row.kind == event_log.RUN_STATUS]
    path = [row.to_status for row in rows]
    assert [row.from_status for row in rows] == [None, *path[:-1]]
    for before, after in pairwise(path):
        assert RunStatus(after) in TRANSITIONS[RunStatus(before)]
    return path
