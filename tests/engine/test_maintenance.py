"""Files that nobody needs any more: those of purged runs, and those that never got a row."""

import asyncio
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db import retention
from db.core.database import Database
from db.models import RunFile
from db.models.types import table
from db.runs import files
from domain import clock, ids
from domain.enums import RunStatus
from domain.errors import DatabaseUnavailableError
from engine.file_store import FileStore, FileStoreError
from engine.maintenance import (
    FILES_AT_ONCE,
    ORPHAN_AGE,
    Job,
    MaintenanceRunner,
    delete_orphans,
    delete_purged_files,
    purge_step_data,
)
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow

DAY = timedelta(days=1)


class BrokenStore(FileStore):
    """Refuses to delete after some files."""

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
    """A run that ended so long ago."""
    row = {"status": RunStatus.SUCCEEDED, "finished_at": clock.now() - age, "depth": 0, "ran_ms": 0, **values}
    (run,) = await database.write(factory.make_runs, published, [row])
    return run


def key_at(instant: Any, number: int = 0) -> UUID:
    """An ID made then."""
    return UUID(int=ids.first_uuid_at(instant).int + number)


async def put(store: FileStore, run: UUID, key: UUID) -> str:
    """Bytes in the store; returns under which key."""
    name = f"{run.hex}/{key.hex}"
    await store.put(name, io.BytesIO(b"abc"))
    return name


async def add_files(database: Database, store: FileStore, run: UUID, count: int = 1) -> list[UUID]:
    """Files with bytes and row."""
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        key = ids.new_uuid()
        told = {"name": "x.txt", "size": 3, "media_type": "text/plain", "step_name": "a", "attempt": 1}
        rows.append({"id": key, "run_id": run, "created_at": clock.now(), "key": await put(store, run, key), **told})
    await database.write(files.create, rows)
    return [row["id"] for row in rows]


def stored(folder: Path) -> set[str]:
    """What the store has."""
    return {str(each.relative_to(folder)) for each in folder.glob("*/*")}


async def row_count(database: Database) -> int:
    query = select(func.count()).select_from(table(RunFile))
    return await database.read(lambda conn: conn.execute(query).scalar_one())


async def test_the_files_of_purged_runs_go_bytes_and_rows_and_no_others(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    old, young = await make_run(database, published, 31 * DAY), await make_run(database, published, 29 * DAY)
    paused = await make_run(database, published, 99 * DAY, status=RunStatus.PAUSED, finished_at=None)
    given_up = await add_files(database, store, old, 2)
    await add_files(database, store, young)
    await add_files(database, store, paused)
    kept = stored(folder) - {f"{old.hex}/{key.hex}" for key in given_up}
    assert await delete_purged_files(database, store) == 0
    assert await purge_step_data(database, 30) == 1
    # From now on nobody sees them, although they are still there.
    assert await database.read(files.by_runs, [old, young], {"id"}) == {young: [*await of_run(database, young)]}
    assert await database.read(files.by_ids, given_up, {"id"}) == {}
    assert await delete_purged_files(database, store) == 2
    assert stored(folder) == kept
    assert await row_count(database) == len(kept) == 2


async def of_run(database: Database, run: UUID) -> list[Any]:
    return (await database.read(files.by_runs, [run], {"id"}))[run]


async def test_many_files_go_in_batches(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    await add_files(database, store, await make_run(database, published, 9 * DAY), FILES_AT_ONCE * 2 + 1)
    await purge_step_data(database, 7)
    assert await delete_purged_files(database, store) == FILES_AT_ONCE * 2 + 1
    assert (stored(folder), await row_count(database)) == (set(), 0)


async def test_what_is_cut_short_between_bytes_and_rows_is_done_once_more(
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


async def test_a_purge_that_fails_gives_no_file_up(
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


async def test_old_bytes_without_a_row_go_and_nothing_else(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    run = await make_run(database, published, DAY)
    now = clock.now()
    orphans = {await put(store, run, key_at(now - ORPHAN_AGE - timedelta(minutes=1), n)) for n in range(3)}
    young = await put(store, run, key_at(now - ORPHAN_AGE + timedelta(minutes=1)))
    await add_files(database, store, run)
    # What another database, or another program, has put into the same store.
    await put(store, ids.new_uuid(), key_at(now - 99 * DAY))
    for name in ("f" * 32 + "/" + "f" * 32, f"{run.hex}/x", f"{run.hex}/{'A' * 32}"):
        await store.put(name, io.BytesIO(b"abc"))
    before = stored(folder)
    assert await delete_orphans(database, store) == 3
    assert before - stored(folder) == orphans
    assert young in stored(folder)
    assert await delete_orphans(database, store) == 0


async def test_more_orphans_than_fit_into_a_batch(
    database: Database, published: PublishedFlow, store: FileStore, folder: Path
) -> None:
    run = await make_run(database, published, DAY)
    for number in range(FILES_AT_ONCE * 2 + 3):
        await put(store, run, key_at(clock.now() - 2 * DAY, number))
    assert await delete_orphans(database, store) == FILES_AT_ONCE * 2 + 3
    assert stored(folder) == set()


async def test_each_job_is_done_at_the_start_and_again_after_its_time_whatever_happens(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    began_at = clock.now()
    times: dict[str, list[float]] = {"good": [], "away": [], "store": [], "broken": []}

    def job(name: str, seconds: float, error: Exception | None) -> Job:
        async def work() -> None:
            times[name].append((clock.now() - began_at).total_seconds())
            if error is not None:
                raise error

        return Job(f"doing {name}", seconds, work)

    jobs = [
        job("good", 10, None),
        job("away", 20, DatabaseUnavailableError()),
        job("store", 20, FileStoreError("no such bucket")),
        job("broken", 30, ZeroDivisionError()),
    ]
    task = asyncio.create_task(MaintenanceRunner(jobs).run())
    await fake_clock.advance(45)
    task.cancel()
    await asyncio.wait([task])
    assert times == {"good": [0, 10, 20, 30, 40], "away": [0, 20, 40], "store": [0, 20, 40], "broken": [0, 30]}
    assert "The database is away from doing away; trying again in 20 s" in caplog.text
    assert "no such bucket" in caplog.text
    assert "ZeroDivisionError" in caplog.text
