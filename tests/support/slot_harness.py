"""Runs under concurrency limits: claims and ends them without an executor, and counts how many ran at once."""

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
from db.runs import claims, step_journal, transitions
from db.runs.claims import Claimed
from db.runs.step_journal import AttemptStart
from db.runs.transitions import Lease
from db.sql.rows import AnyRow
from domain.enums import RunStatus
from tests.support import factory
from tests.support.factory import PublishedFlow

LEASE = timedelta(seconds=15)
_RUNS = table(FlowRun)
_PROJECTS = table(Project)
_FLOWS = table(Flow)
_STEP = AttemptStart(0, "wait", None, "humanInput", 1, "{}")


@dataclass(frozen=True)
class SlotHarness:
    """A database, and a flow in it whose runs need slots."""

    database: Database
    published: PublishedFlow

    @classmethod
    async def on(cls, database: Database, *, flow: int | None = None, project: int | None = None) -> "SlotHarness":
        """Makes a project and a flow with these limits."""
        harness = cls(database, await database.write(factory.make_project_with_flow))
        await database.write(_set_limits, harness.published, flow, project)
        return harness

    async def another_flow(self, name: str = "another", *, limit: int | None = None) -> PublishedFlow:
        """Makes another flow in the project."""
        published = await self.database.write(factory.make_flow, self.published.project_id, name)
        await self.database.write(_set_flow_limit, published, limit)
        return published

    async def start(self, count: int = 1, published: PublishedFlow | None = None, **values: Any) -> list[UUID]:
        """Creates QUEUED runs and returns their IDs, oldest first."""
        return await self.database.write(
            lambda uow: [factory.create_run(uow, published or self.published, **values) for _ in range(count)]
        )

    async def claim(self, limit: int = 64) -> list[Claimed]:
        """Claims runs once, and returns the claims, oldest first."""
        claimed_runs = await self.database.write(claims.claim, limit, LEASE)
        return sorted(claimed_runs, key=lambda claimed: claimed.lease.run_id)

    async def claimed(self, limit: int = 64) -> list[UUID]:
        """Claims runs once, and returns their IDs, oldest first."""
        return ids_of(await self.claim(limit))

    async def finish(self, lease: Lease, status: RunStatus = RunStatus.SUCCEEDED) -> None:
        await self.database.write(finish, lease, status)

    async def pause(self, lease: Lease) -> None:
        await self.database.write(step_journal.pause, lease, None, _STEP, "Waiting", None)

    async def resume(self, run_id: UUID) -> bool:
        return await self.database.write(transitions.resume, run_id, "Answered")

    async def limit_flow(self, limit: int | None) -> None:
        values = {"max_concurrent_runs": limit}
        await self.database.write(flows.change, self.published.flow_id, values)

    async def limit_project(self, limit: int | None) -> None:
        await self.database.write(projects.change, self.published.project_id, {"max_concurrent_runs": limit})

    async def due(self) -> set[UUID]:
        """Returns the runs that the next claim can take."""
        now = select(_RUNS.c.id).where(_RUNS.c.due_at.is_not(None), _RUNS.c.lease_token.is_(None))
        return set(await self.database.read(lambda conn: conn.execute(now).scalars().all()))

    async def statuses(self) -> Counter[str]:
        """Returns the number of runs in each status."""
        query = select(_RUNS.c.status, func.count()).group_by(_RUNS.c.status)
        rows = await self.database.read(lambda conn: conn.execute(query).all())
        return Counter({row[0]: row[1] for row in rows})

    async def run(self, run_id: UUID) -> AnyRow:
        """Returns the row of the run."""
        return await self.database.read(lambda conn: conn.execute(select(_RUNS).where(_RUNS.c.id == run_id)).one())

    async def most_at_once(self, *flow_ids: UUID) -> int:
        """Returns the largest number of runs of these flows that were RUNNING at once, by the event log."""
        event = table(RunEvent).c
        query = select(event.from_status, event.to_status).where(event.flow_id.in_(flow_ids)).order_by(event.seq)
        number = most = 0
        for row in await self.database.read(lambda conn: conn.execute(query).all()):
            number += (row.to_status == RunStatus.RUNNING) - (row.from_status == RunStatus.RUNNING)
            most = max(most, number)
        return most


def finish(uow: UnitOfWork, lease: Lease, status: RunStatus = RunStatus.SUCCEEDED) -> None:
    """Ends a claimed run."""
    step_journal.finish(uow, lease, None, status, "Ended by a test", {"duration_ms": 0}, is_retry=False)


def ids_of(claimed_runs: Sequence[Claimed]) -> list[UUID]:
    """Returns the IDs of the claimed runs."""
    return [claimed.lease.run_id for claimed in claimed_runs]


def _set_limits(uow: UnitOfWork, published: PublishedFlow, flow: int | None, project: int | None) -> None:
    _set_flow_limit(uow, published, flow)
    uow.conn.execute(
        update(_PROJECTS).where(_PROJECTS.c.id == published.project_id).values(max_concurrent_runs=project)
    )


def _set_flow_limit(uow: UnitOfWork, published: PublishedFlow, limit: int | None) -> None:
    uow.conn.execute(update(_FLOWS).where(_FLOWS.c.id == published.flow_id).values(max_concurrent_runs=limit))
