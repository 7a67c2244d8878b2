"""Runs that take places: claims and ends them without an executor, and reads the log for how many ran at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from db import flows, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project, RunEvent
from db.models.types import table
from db.runs import step_journal, transitions
from db.runs.step_journal import AttemptStart, Claimed
from db.runs.transitions import Lease
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import Environment, RunStatus, TriggerMethod
from tests.support import factory
from tests.support.factory import Home

LEASE = timedelta(seconds=15)
_RUNS = table(FlowRun)
_PROJECTS = table(Project)
_FLOWS = table(Flow)
_STEP = AttemptStart(0, "wait", None, "humanInput", 1, "{}")


@dataclass(frozen=True)
class Places:
    """A database, and a flow in it whose runs take places."""

    database: Database
    home: Home

    @classmethod
    async def on(cls, database: Database, *, flow: int | None = None, project: int | None = None) -> "Places":
        """A new project and flow with these limits."""
        places = cls(database, await database.write(factory.add_home))
        await database.write(_set_limits, places.home, flow, project)
        return places

    async def another_flow(self, name: str = "another", *, limit: int | None = None) -> Home:
        """One more flow of the project."""
        home = await self.database.write(factory.add_flow, self.home.project_id, name)
        await self.database.write(_set_flow_limit, home, limit)
        return home

    async def start(self, count: int = 1, home: Home | None = None, **values: Any) -> list[UUID]:
        """New QUEUED runs, oldest first."""
        return await self.database.write(lambda uow: [create(uow, home or self.home, **values) for _ in range(count)])

    async def claim(self, limit: int = 64) -> list[Claimed]:
        """What one claim gets, oldest first."""
        claims = await self.database.write(step_journal.claim, limit, LEASE)
        return sorted(claims, key=lambda each: each.lease.run_id)

    async def claimed(self, limit: int = 64) -> list[UUID]:
        """The IDs of what one claim gets."""
        return ids_of(await self.claim(limit))

    async def finish(self, lease: Lease, status: RunStatus = RunStatus.SUCCEEDED) -> None:
        await self.database.write(finish, lease, status)

    async def pause(self, lease: Lease) -> None:
        await self.database.write(step_journal.pause, lease, None, _STEP, "Waiting", None)

    async def resume(self, run_id: UUID) -> bool:
        return await self.database.write(transitions.resume, run_id, "Answered")

    async def limit_flow(self, limit: int | None) -> None:
        values = {"max_concurrent_runs": limit}
        await self.database.write(flows.change, self.home.flow_id, values)

    async def limit_project(self, limit: int | None) -> None:
        await self.database.write(projects.change, self.home.project_id, {"max_concurrent_runs": limit})

    async def due(self) -> set[UUID]:
        """The runs that the next claim would look at."""
        now = select(_RUNS.c.id).where(_RUNS.c.due_at.is_not(None), _RUNS.c.lease_token.is_(None))
        return set(await self.database.read(lambda conn: conn.execute(now).scalars().all()))

    async def statuses(self) -> Counter[str]:
        """How many runs have each status."""
        query = select(_RUNS.c.status, func.count()).group_by(_RUNS.c.status)
        rows = await self.database.read(lambda conn: conn.execute(query).all())
        return Counter({row[0]: row[1] for row in rows})

    async def run(self, run_id: UUID) -> AnyRow:
        """The run, all columns."""
        return await self.database.read(lambda conn: conn.execute(select(_RUNS).where(_RUNS.c.id == run_id)).one())

    async def most_at_once(self, *flow_ids: UUID) -> int:
        """The most runs of these flows that were RUNNING at one moment, by the event log."""
        event = table(RunEvent).c
        query = select(event.from_status, event.to_status).where(event.flow_id.in_(flow_ids)).order_by(event.seq)
        number = most = 0
        for row in await self.database.read(lambda conn: conn.execute(query).all()):
            number += (row.to_status == RunStatus.RUNNING) - (row.from_status == RunStatus.RUNNING)
            most = max(most, number)
        return most


def create(uow: UnitOfWork, home: Home, **values: Any) -> UUID:
    """A QUEUED run, by the way that every run is created."""
    run_id: UUID = ids.new_uuid()
    row = {
        "id": run_id,
        "root_run_id": run_id,
        "project_id": home.project_id,
        "flow_id": home.flow_id,
        "flow_version_id": home.version_id,
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
    transitions.create(uow, row | values, "Created by a test")
    return run_id


def finish(uow: UnitOfWork, lease: Lease, status: RunStatus = RunStatus.SUCCEEDED) -> None:
    """End a claimed run."""
    step_journal.finish(uow, lease, None, status, "Ended by a test", {"duration_ms": 0}, is_retry=False)


def ids_of(claims: Sequence[Claimed]) -> list[UUID]:
    """The runs claimed."""
    return [each.lease.run_id for each in claims]


def _set_limits(uow: UnitOfWork, home: Home, flow: int | None, project: int | None) -> None:
    _set_flow_limit(uow, home, flow)
    uow.conn.execute(update(_PROJECTS).where(_PROJECTS.c.id == home.project_id).values(max_concurrent_runs=project))


def _set_flow_limit(uow: UnitOfWork, home: Home, limit: int | None) -> None:
    uow.conn.execute(update(_FLOWS).where(_FLOWS.c.id == home.flow_id).values(max_concurrent_runs=limit))
