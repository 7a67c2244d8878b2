"""Purging step data: only of runs that ended long ago, in batches, and by several workers at once."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from db import retention
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, InputRequest, Project, RunLog, StepAttempt, StepResult
from db.models.types import table
from db.runs.output import logs
from db.runs.output.logs import Line
from db.runs.waits import input_requests
from domain import ids
from domain.enums import RunStatus
from domain.runs.run_log import LogLevel
from domain.runs.state_machine import FINAL, LIVE
from domain.time import clock
from engine.file_store import FileStore
from engine.worker import maintenance
from engine.worker.maintenance import PRUNE_SECONDS, MaintenanceRunner, maintenance_jobs, purge_step_data
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow

DAY = timedelta(days=1)
_RUNS = table(FlowRun)


async def ended(
    database: Database, published: PublishedFlow, age: timedelta, count: int = 1, **values: Any
) -> list[UUID]:
    """Creates runs that ended at this age, with two steps each."""
    row = {
        "status": RunStatus.SUCCEEDED,
        "finished_at": clock.now() - age,
        "output": "1",
        "depth": 0,
        "ran_ms": 0,
        **values,
    }

    def add(uow: UnitOfWork) -> list[UUID]:
        runs = factory.make_runs(uow, published, [row] * count)
        factory.make_steps_of_runs(uow, {run: [{}, {}] for run in runs})
        return runs

    return await database.write(add)


async def purged(database: Database) -> set[UUID]:
    query = select(_RUNS.c.id).where(_RUNS.c.steps_purged_at.is_not(None))
    return set(await database.read(lambda conn: conn.execute(query).scalars().all()))


async def rows(database: Database) -> tuple[int, int]:
    """How many steps and attempts there are."""
    counts = [select(func.count()).select_from(table(model)).scalar_subquery() for model in (StepResult, StepAttempt)]
    return tuple(await database.read(lambda conn: conn.execute(select(*counts)).one()))


async def keep(database: Database, published: PublishedFlow, days: int | None) -> None:
    change = update(table(Project)).where(table(Project).c.id == published.project_id).values(retention_days=days)
    await database.write(lambda uow: uow.conn.execute(change))


async def test_purge_deletes_old_step_data_and_keeps_the_run(database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)
    old, young = await ended(database, published, 31 * DAY), await ended(database, published, 29 * DAY)
    before = (await database.read(lambda conn: conn.execute(select(_RUNS).where(_RUNS.c.id == old[0])).one()))._asdict()
    assert await purge_step_data(database, 30) == 1
    after = (await database.read(lambda conn: conn.execute(select(_RUNS).where(_RUNS.c.id == old[0])).one()))._asdict()
    assert after.pop("steps_purged_at") is not None
    assert before.pop("steps_purged_at") is None
    assert after == before
    assert await purged(database) == set(old)
    assert await rows(database) == (2, 2)
    assert await database.read(lambda conn: conn.execute(select(table(StepResult).c.run_id)).scalars().all()) == [
        young[0],
        young[0],
    ]


@pytest.mark.parametrize(("project", "service", "expected"), [(7, None, 1), (7, 365, 1), (365, 7, 0), (None, None, 0)])
async def test_retention_of_project_overrides_default(
    database: Database, project: int | None, service: int | None, expected: int
) -> None:
    published = await database.write(factory.make_project_with_flow)
    await keep(database, published, project)
    await ended(database, published, 30 * DAY)
    assert await purge_step_data(database, service) == expected


async def test_live_runs_are_never_purged(database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)
    for status in LIVE:
        await ended(database, published, 1_000 * DAY, status=status, finished_at=None, output=None)
    for status in FINAL:
        await ended(database, published, 1_000 * DAY, status=status)
    assert await purge_step_data(database, 1) == len(FINAL)
    assert await rows(database) == (2 * len(LIVE), 2 * len(LIVE))


async def test_purge_runs_in_batches_until_nothing_is_left(fake_clock: FakeClock, database: Database) -> None:
    fake_clock.watch(database)
    published = await database.write(factory.make_project_with_flow)
    await ended(database, published, 9 * DAY, 450)
    assert await fake_clock.drive(purge_step_data(database, 7)) == 450
    assert await fake_clock.drive(purge_step_data(database, 7)) == 0
    assert await rows(database) == (0, 0)


async def test_purge_resumes_after_crash_between_batches(database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)
    runs = await ended(database, published, 9 * DAY, 25)
    assert await database.write(retention.purge_expired, 7, 10) == 10
    assert await rows(database) == (30, 30)  # One transaction purged these, each as a whole.
    assert await purge_step_data(database, 7) == 15
    assert await purged(database) == set(runs)


async def test_failed_batch_is_rolled_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    published = await database.write(factory.make_project_with_flow)
    await ended(database, published, 9 * DAY, 3)
    monkeypatch.setattr(retention, "purge", _half_of(retention.purge))
    with pytest.raises(ZeroDivisionError):
        await purge_step_data(database, 7)
    assert (await rows(database), await purged(database)) == ((6, 6), set())


def _half_of(purge: Callable[..., None]) -> Callable[..., None]:
    def fail(conn: Connection, run_ids: list[UUID]) -> None:
        purge(conn, run_ids)
        raise ZeroDivisionError

    return fail


async def test_concurrent_purges_share_the_runs(database: Database, database_url: str) -> None:
    published = await database.write(factory.make_project_with_flow)
    runs = await ended(database, published, 9 * DAY, 100)
    second = open_database(database_url)
    batches = await asyncio.gather(
        *(each.write(retention.purge_expired, 7, 10) for each in (database, second) for _ in range(5))
    )
    rest = await purge_step_data(second, 7)
    await second.close()
    assert sum(batches) + rest == 100
    assert await purged(database) == set(runs)


async def test_purge_skips_run_that_is_being_retried(database: Database, database_url: str) -> None:
    if database.dialect == "sqlite":
        return  # No other transaction writes at the same time.
    published = await database.write(factory.make_project_with_flow)
    (run,) = await ended(database, published, 9 * DAY)
    second = open_database(database_url)
    lock = select(_RUNS.c.id).where(_RUNS.c.id == run).with_for_update(read=True)
    async with second._engine.begin() as conn:
        await conn.execute(lock)
        assert await database.write(retention.purge_expired, 7, 10) == 0
    assert await database.write(retention.purge_expired, 7, 10) == 1
    await second.close()


async def test_every_worker_purges_periodically(fake_clock: FakeClock, database: Database, tmp_path: Path) -> None:
    fake_clock.watch(database)
    published = await database.write(factory.make_project_with_flow)
    jobs = [job for job in maintenance_jobs(database, FileStore(str(tmp_path)), 1) if job.seconds == PRUNE_SECONDS]
    task = asyncio.create_task(MaintenanceRunner(jobs).run())
    await fake_clock.advance(1)
    runs = await ended(database, published, DAY)
    await fake_clock.advance(598)
    assert await purged(database) == set()
    await fake_clock.advance(3)
    assert await purged(database) == set(runs)
    task.cancel()
    await asyncio.wait([task])


async def test_purge_deletes_logs_and_input_requests_and_trims_long_logs(
    fake_clock: FakeClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_clock.watch(database)
    published = await database.write(factory.make_project_with_flow)
    old, young = [(await ended(database, published, age * DAY))[0] for age in (9, 1)]
    line = Line(clock.now(), LogLevel.INFO, "a", 1, "said")
    for run in (old, young):
        await database.write(logs.append, run, [line] * 25, 100)
        await database.write(input_requests.create, _question(published, run))
    sizes: list[int] = []
    trim = retention.trim_logs

    def counted(*args: Any) -> int:
        sizes.append(trim(*args))
        return sizes[-1]

    monkeypatch.setattr(retention, "trim_logs", counted)
    monkeypatch.setattr(maintenance, "LINE_BATCH", 10)
    assert await fake_clock.drive(purge_step_data(database, 7)) == 1
    assert sizes == [10, 10, 5, 0]
    for model in (RunLog, InputRequest):
        assert await database.read(_runs_in, model) == [young]


def _runs_in(conn: Connection, model: Any) -> Sequence[UUID]:
    return conn.execute(select(table(model).c.run_id).distinct()).scalars().all()


def _question(published: PublishedFlow, run: UUID) -> dict[str, Any]:
    return {
        "id": ids.new_uuid(),
        "run_id": run,
        "project_id": published.project_id,
        "flow_id": published.flow_id,
        "position": 0,
        "step_name": "a",
        "title": "Go on?",
        "answer_schema": "{}",
        "created_at": clock.now(),
    }
