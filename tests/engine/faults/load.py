"""Many runs at once, for tests of a worker under load: written in a few statements, and counted in a few."""

import asyncio
from collections import Counter
from collections.abc import Collection
from contextlib import aclosing
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, select

from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events.log import RUN_STATUS
from db.models import FlowRun, RunEvent, StepAttempt, StepResult
from db.models.types import table
from domain import ids, json_codec
from domain.enums import AttemptStatus, RunStatus, StepStatus
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL
from domain.time import clock
from live.events import MatchedEvent
from live.hub import Hub
from live.topics import RunsTopic
from tests.support import factory
from tests.support.factory import PublishedFlow
from tests.support.worker import Flow, WorkerHarness

PATIENCE = 120.0
"""Real seconds after which a test fails because its runs have not ended."""
_ENDED = RunFilter(statuses=sorted(FINAL))


async def enqueue(worker: WorkerHarness, flow: Flow, count: int, **values: Any) -> list[UUID]:
    """QUEUED runs that are due now."""

    def work(uow: UnitOfWork) -> list[UUID]:
        keys = factory.make_runs(uow, _home(worker, flow), [values] * count)
        uow.publish_after_commit(pubsub.RUNS_DUE)
        return keys

    return await worker.database.write(work)


async def delayed(worker: WorkerHarness, flow: Flow, count: int, until: datetime) -> list[UUID]:
    """PAUSED runs whose first step, a delay, is over at `until`."""

    def work(uow: UnitOfWork) -> list[UUID]:
        keys = [ids.new_uuid() for _ in range(count)]
        waiting = {"status": RunStatus.PAUSED, "due_at": until, "started_at": clock.now()}
        factory.make_runs(uow, _home(worker, flow), [{"id": key, **waiting} for key in keys])
        uow.conn.execute(insert(table(StepResult)), [_delay(key, until) for key in keys])
        attempt = {"position": 0, "number": 1, "status": AttemptStatus.RUNNING, "started_at": clock.now()}
        uow.conn.execute(insert(table(StepAttempt)), [{"run_id": key, **attempt} for key in keys])
        uow.publish_after_commit(pubsub.RUNS_DUE)
        return keys

    return await worker.database.write(work)


def _home(worker: WorkerHarness, flow: Flow) -> PublishedFlow:
    return PublishedFlow(worker.project_id, flow.id, flow.version_id)


def _delay(run_id: UUID, until: datetime) -> dict[str, Any]:
    rendered = json_codec.encode({"until": until.isoformat()}, limit=1_000, what="input")
    step = {"run_id": run_id, "position": 0, "name": "wait", "kind": "delay", "status": StepStatus.PAUSED}
    return {**step, "attempts_count": 1, "started_at": clock.now(), "input": rendered}


async def ended(database: Database, run_ids: Collection[UUID]) -> None:
    """Return when the event log says that all of these runs are final."""
    left = set(run_ids)
    hub = Hub(database)
    async with asyncio.timeout(PATIENCE), aclosing(hub.subscribe(RunsTopic(_ENDED), 0)) as log:
        while left:
            left -= {item.event.row.run_id for item in await log.batch() if isinstance(item, MatchedEvent)}
    await hub.close()


async def tally(database: Database) -> dict[str, int]:
    """How many runs, steps, attempts and ends of runs there are of each kind, and workers that were lost over them."""
    return await database.read(_tally)


def _tally(conn: Connection) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, model in (("runs", FlowRun), ("steps", StepResult), ("attempts", StepAttempt)):
        status = table(model).c.status
        for value, count in conn.execute(select(status, func.count()).group_by(status)):
            found[f"{name} {value}"] = count
    event = table(RunEvent).c
    ends = select(event.to_status, func.count()).where(event.kind == RUN_STATUS, event.to_status.in_(sorted(FINAL)))
    for value, count in conn.execute(ends.group_by(event.to_status)):
        found[f"ends {value}"] = count
    found["interruptions"] = conn.execute(select(func.sum(table(FlowRun).c.interruptions))).scalar_one()
    return dict(found)


def all_succeeded(runs: int, steps: int = 1) -> dict[str, int]:
    """The tally of runs with so many steps each, of which all went well at the first try."""
    return {
        "runs SUCCEEDED": runs,
        "steps SUCCEEDED": runs * steps,
        "attempts SUCCEEDED": runs * steps,
        "ends SUCCEEDED": runs,
        "interruptions": 0,
    }
