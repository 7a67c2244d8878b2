"""The harness `worker`: publishes flows, starts and executes runs in this process, and reads all of their rows."""

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from db import flows, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, RunEvent, StepAttempt, StepResult
from db.models.types import table
from db.runs import claims, kept_steps
from db.runs.claims import Claimed
from db.sql.rows import AnyRow
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.state_machine import TRANSITIONS
from domain.time import clock
from engine.actions import Action, ActionRegistry
from engine.compiled_flow import FlowCache, check
from engine.executor import Executor
from engine.steps import KINDS, StepKind, StepSettings
from tests.support import factory
from tests.support.factory import PublishedFlow

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
        [
            Action(name, function, function.__module__, inspect.signature(function))
            for name, function in functions.items()
        ]
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow, and the version of it that its runs execute."""

    id: UUID
    version_id: UUID


class WorkerHarness:
    """A project in a database, with functions that publish flows, start runs, execute them and read their rows.

    Executors need `resources`: the step kinds they open are closed with it.
    """

    def __init__(self, database: Database, project_id: UUID, resources: AsyncExitStack | None = None) -> None:
        self.resources = resources
        self.database = database
        self.project_id = project_id
        self.flows = FlowCache(database)

    @classmethod
    async def on(cls, database: Database, resources: AsyncExitStack | None = None) -> "WorkerHarness":
        """Makes a harness with a new project."""
        return cls(database, await database.write(projects.create, f"project {uuid4()}"), resources)

    async def kinds(self, **actions: ActionFunction) -> dict[str, StepKind]:
        """Opens the real step kinds, with these functions as actions."""
        assert self.resources is not None
        settings = StepSettings(http_allow_private=True, actions=registry(**actions))
        return await self.resources.enter_async_context(KINDS.open(settings))

    async def executor(self, **actions: ActionFunction) -> Executor:
        """Makes an executor with these functions as actions."""
        return Executor(self.database, self.flows, await self.kinds(**actions))

    async def execute(self, flow: Flow, input: str = "null", **actions: ActionFunction) -> UUID:  # noqa: A002
        """Starts a run, claims it once, executes it, and returns its ID."""
        run_id = await self.start(flow, input)
        await (await self.executor(**actions)).execute(await self.claim())
        return run_id

    async def publish(self, *step_list: Document, **definition: Any) -> Flow:
        """Publishes a new flow with these steps."""
        flow_id = await self.database.write(flows.create, self.project_id, f"flow {uuid4()}")
        return await self.publish_again(flow_id, *step_list, **definition)

    async def publish_again(self, flow_id: UUID, *step_list: Document, **definition: Any) -> Flow:
        """Publishes the next version of a flow."""
        checked = check({"steps": list(step_list), **definition})
        version_id = await self.database.write(
            flows.publish, flow_id, self.project_id, checked.text, checked.step_count
        )
        return Flow(flow_id, version_id)

    async def start(self, flow: Flow, input: Any = "null", **values: Any) -> UUID:  # noqa: A002
        """Creates a QUEUED run. `input` is JSON text."""
        return await self.database.write(self._create, flow, {"input": input, **values})

    async def start_many(self, flow: Flow, count: int) -> list[UUID]:
        """Creates QUEUED runs in one transaction."""
        return await self.database.write(lambda uow: [self._create(uow, flow, {}) for _ in range(count)])

    async def retry(self, run_id: UUID) -> UUID:
        """Creates a retry of a run, which starts at the step at which `run_id` failed."""
        old = await self.run(run_id)
        flow = Flow(old.flow_id, old.flow_version_id)

        def work(uow: UnitOfWork) -> UUID:
            lineage = {"retry_of_id": run_id, "attempt": old.attempt + 1, "trigger_method": TriggerMethod.RETRY}
            new_id = self._create(uow, flow, {"input": old.input, **lineage})
            kept_steps.copy_kept(uow, [new_id])
            return new_id

        return await self.database.write(work)

    def _create(self, uow: UnitOfWork, flow: Flow, values: Document) -> UUID:
        published = PublishedFlow(self.project_id, flow.id, flow.version_id)
        defaults = {"environment": Environment.TESTING, "created_at": clock.now(), "input": "null"}
        return factory.create_run(uow, published, **{**defaults, **values})

    async def claim(self, lease: timedelta = LEASE) -> Claimed:
        """Claims the run that has been due for the longest time."""
        (claimed,) = await self.database.write(claims.claim, 1, lease)
        return claimed

    async def change(self, run_id: UUID, **values: Any) -> None:
        """Sets columns of a run without any checks."""
        await self.database.write(
            lambda uow: uow.conn.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(values))
        )

    async def run(self, run_id: UUID) -> AnyRow:
        """Returns the row of the run."""
        (row,) = await self._rows(FlowRun, run_id, "id", "id")
        return row

    async def steps(self, run_id: UUID) -> Sequence[AnyRow]:
        """Returns the rows of the run's step results."""
        return await self._rows(StepResult, run_id, "run_id", "position")

    async def attempts(self, run_id: UUID) -> Sequence[AnyRow]:
        """Returns the rows of the run's attempts."""
        return await self._rows(StepAttempt, run_id, "run_id", "position", "number")

    async def events(self, run_id: UUID) -> Sequence[AnyRow]:
        """Returns the rows of the run's events."""
        return await self._rows(RunEvent, run_id, "run_id", "seq")

    async def everything(self, run_id: UUID) -> list[tuple[Any, ...]]:
        """Returns every row of the run: its own, and those of its steps, attempts and events."""
        rows = [
            await self.run(run_id),
            *await self.steps(run_id),
            *await self.attempts(run_id),
            *await self.events(run_id),
        ]
        return [tuple(row) for row in rows]

    async def tries(self, run_id: UUID) -> list[tuple[str, int, str]]:
        """Returns step name, number and status of each attempt."""
        names = {row.position: row.name for row in await self.steps(run_id)}
        return [(names[row.position], row.number, row.status) for row in await self.attempts(run_id)]

    async def statuses(self, run_id: UUID) -> dict[str, str]:
        """Returns the status of each step, by its name."""
        return {row.name: row.status for row in await self.steps(run_id)}

    async def _rows(self, model: Any, run_id: UUID, link: str, *order: str) -> Sequence[AnyRow]:
        source = table(model)
        query = select(source).where(source.c[link] == run_id).order_by(*(source.c[name] for name in order))
        return await self.database.read(lambda conn: conn.execute(query).all())


@pytest.fixture
async def worker(database: Database) -> AsyncIterator[WorkerHarness]:
    """Publishes flows, starts runs and executes them on the database of the test."""
    async with AsyncExitStack() as resources:
        yield await WorkerHarness.on(database, resources)


async def history(worker: WorkerHarness, run_id: UUID) -> list[str]:
    """Returns the statuses of the run, from its events. Fails the test if one of the transitions is not allowed."""
    rows = [row for row in await worker.events(run_id) if row.kind == event_log.RUN_STATUS]
    path = [row.to_status for row in rows]
    assert [row.from_status for row in rows] == [None, *path[:-1]]
    for before, after in pairwise(path):
        assert RunStatus(after) in TRANSITIONS[RunStatus(before)]
    return path
