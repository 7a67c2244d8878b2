"""Maintenance: deletion of purged and orphaned files, and the jobs of a worker."""

import asyncio
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from db import retention
from db.core.database import Database
from db.models import RunFile
from db.models.types import table
from db.runs.output import files
from domain import ids
from domain.enums import RunStatus
from domain.errors import DatabaseUnavailableError
from domain.time import clock
from engine.file_store import FileStore, FileStoreError
from engine.worker.maintenance import (
    FILE_BATCH,
    ORPHAN_AGE,
    Job,
    MaintenanceRunner,
    delete_orphaned_files,
    delete_purged_files,
    maintenance_jobs,
    purge_step_data,
)
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow

DAY = timedelta(days=1)


class BrokenStore(FileStore):
    """Deletes some files, then fails."""

    def __init__(self, url: str, most: int) -> None:
        super().__init__(url)
        self.left = most

    async def delete(self, key: str) -> None:
        if self.left == 0:
            raise FileStoreError("out of order")
        self.left -= 1
        await super().delete(key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def store(folder: Path) -> FileStore:
    return FileStore(str(folder))


@pytest.fixture
async def published(database: Database) -> PublishedFlow:
    return await database.write(factory.make_project_with_flow)


async def make_run(database: Database, published: PublishedFlow, age: timedelta, **values: Any) -> UUID:
    """Insert a run that ended `age` ago."""
    row = {"status": RunStatus.SUCCEEDED, "finished_at": clock.now() - age, "depth": 0, "ran_ms": 0, **values}
    (run,) = await database.write(factory.make_runs, published, [row])
    return run


def key_at(instant: Any, number: int = 0) -> UUID:
    """Returns an ID created at `instant`."""
    return UUID(int=ids.first_uuid_at(instant).int + number)


async def put(store: FileStore, run: UUID, key: UUID) -> str:
    """Store bytes; returns their key."""
    name = f"{run.hex}/{key.hex}"
    await store.put(name, io.BytesIO(b"abc"))
    return name


async def add_files(database: Database, store: FileStore, run: UUID, count: int = 1) -> list[UUID]:
    """Store files with bytes and rows; returns their IDs."""
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        key = ids.new_uuid()
        columns = {"name": "x.txt", "size": 3, "media_type": "text/plain", "step_name": "a", "attempt": 1}
        rows.append({"id": key, "run_id": run, "created_at": clock.now(), "key": await put(store, run, key), **columns})
    await database.write(files.create, rows)
    return [row["id"] for row in rows]


def stored(folder: Path) -> set[str]:
    """Returns the keys in the store."""
    return {str(path.relative_to(folder)) for path in folder.glob("*/*")}


async def row_count(database: Database) -> int:
    query = select(func.count()).select_from(table(RunFile))
    return await database.read(lambda conn: conn.execute(query).scalar_one())


async def test_files_of_purged_runs_are_deleted_and_no_others(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    old, young = await make_run(database, published, 31 * DAY), await make_run(database, published, 29 * DAY)
    paused = await make_run(database, published, 99 * DAY, status=RunStatus.PAUSED, finished_at=None)
    purged = await add_files(database, store, old, 2)
    await add_files(database, store, young)
    await add_files(database, store, paused)
    kept = stored(folder) - {f"{old.hex}/{key.hex}" for key in purged}
    assert await delete_purged_files(database, store) == 0
    assert await purge_step_data(database, 30) == 1
    # They are invisible from now on, although they still exist.
    assert await database.read(files.by_runs, [old, young], {"id"}) == {young: [*await of_run(database, young)]}
    assert await database.read(files.by_ids, purged, {"id"}) == {}
    assert await delete_purged_files(database, store) == 2
    assert stored(folder) == kept
    assert await row_count(database) == len(kept) == 2


async def of_run(database: Database, run: UUID) -> list[Any]:
    return (await database.read(files.by_runs, [run], {"id"}))[run]


async def test_many_files_are_deleted_in_batches(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    await add_files(database, store, await make_run(database, published, 9 * DAY), FILE_BATCH * 2 + 1)
    await purge_step_data(database, 7)
    assert await delete_purged_files(database, store) == FILE_BATCH * 2 + 1
    assert (stored(folder), await row_count(database)) == (set(), 0)


async def test_interrupted_deletion_is_repeated(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_files(database, store, await make_run(database, published, 9 * DAY), 3)
    await purge_step_data(database, 7)
    with pytest.raises(FileStoreError):
        await delete_purged_files(database, BrokenStore(str(folder), 1))
    assert (len(stored(folder)), await row_count(database)) == (2, 3)
    with monkeypatch.context() as broken:
        broken.setattr(files, "remove", _away)
        with pytest.raises(DatabaseUnavailableError):
            await delete_purged_files(database, store)
    assert (len(stored(folder)), await row_count(database)) == (0, 3)
    assert await delete_purged_files(database, store) == 3
    assert await row_count(database) == 0


def _away(*_: object) -> None:
    raise DatabaseUnavailableError


async def test_failed_purge_deletes_no_files(
    database: Database, published: PublishedFlow, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await make_run(database, published, 9 * DAY)
    (key,) = await add_files(database, store, run)
    purge: Callable[..., None] = retention.purge

    def fail(*args: Any) -> None:
        purge(*args)
        raise DatabaseUnavailableError

    monkeypatch.setattr(retention, "purge", fail)
    with pytest.raises(DatabaseUnavailableError):
        await purge_step_data(database, 7)
    assert [row.id for row in await of_run(database, run)] == [key]
    assert await delete_purged_files(database, store) == 0


async def test_only_old_files_without_a_row_are_orphans(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    run = await make_run(database, published, DAY)
    now = clock.now()
    orphans = {await put(store, run, key_at(now - ORPHAN_AGE - timedelta(minutes=1), n)) for n in range(3)}
    young = await put(store, run, key_at(now - ORPHAN_AGE + timedelta(minutes=1)))
    await add_files(database, store, run)
    # Files of another database, or of another program, in the same store.
    await put(store, ids.new_uuid(), key_at(now - 99 * DAY))
    for name in ("f" * 32 + "/" + "f" * 32, f"{run.hex}/x", f"{run.hex}/{'A' * 32}"):
        await store.put(name, io.BytesIO(b"abc"))
    before = stored(folder)
    assert await delete_orphaned_files(database, store) == 3
    assert before - stored(folder) == orphans
    assert young in stored(folder)
    assert await delete_orphaned_files(database, store) == 0


async def test_orphans_are_deleted_in_batches(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    run = await make_run(database, published, DAY)
    for number in range(FILE_BATCH * 2 + 3):
        await put(store, run, key_at(clock.now() - 2 * DAY, number))
    assert await delete_orphaned_files(database, store) == FILE_BATCH * 2 + 3
    assert stored(folder) == set()


async def test_each_job_runs_soon_and_periodically_whatever_fails(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    started_at = clock.now()
    runs: dict[str, list[float]] = {"good": [], "database": [], "store": [], "broken": []}

    def job(name: str, seconds: float, error: Exception | None) -> Job:
        async def work() -> None:
            runs[name].append((clock.now() - started_at).total_seconds())
            if error is not None:
                raise error

        return Job(name, seconds, work)

    jobs = [
        job("good", 10, None),
        job("database", 6, DatabaseUnavailableError()),
        job("store", 20, FileStoreError("no such bucket")),
        job("broken", 30, ZeroDivisionError()),
    ]
    runner = MaintenanceRunner(jobs)
    task = asyncio.create_task(runner.run())
    await fake_clock.advance(32)
    runner.stop()
    await fake_clock.drive(task)
    assert runs == {
        "good": [0, 10, 20, 30],
        "database": [0.5, 1.5, 3.5, 7.5, 13.5, 19.5, 25.5, 31.5],
        "store": [1, 2, 4, 8, 16, 32],
        "broken": [1.5, 2.5, 4.5, 8.5, 16.5],
    }
    events = {(vars(record)["service"], record.message) for record in caplog.records}
    assert events == {
        ("database", "database unavailable"),
        ("store", "file store unavailable"),
        ("broken", "background service failed"),
    }
    reasons = {vars(record)["reason"] for record in caplog.records if vars(record)["service"] == "store"}
    assert reasons == {"no such bucket"}
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_statistics_of_tables_are_gathered(
    database: Database, published: PublishedFlow, store: FileStore
) -> None:
    await database.write(factory.make_runs, published, [{} for _ in range(3)])
    (job,) = [job for job in maintenance_jobs(database, store, None) if job.name == "gather statistics"]
    await job.work()
    gathered = text("SELECT stat FROM sqlite_stat1 WHERE tbl = 'flow_run' AND idx = 'ix_run_project'")
    assert (await database.read(lambda conn: conn.execute(gathered).scalar_one())).startswith("3 ")
