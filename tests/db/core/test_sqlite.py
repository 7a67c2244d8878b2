"""Tests of the thread that writes to SQLite, and of errors of SQLite."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from db import projects
from db.assembly import open_database
from db.core import sqlite
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from domain.errors import DatabaseUnavailableError

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
PATIENCE = 20.0
"""Real seconds after which a blocked thread fails the test."""


@pytest.fixture
def path(database_url: str) -> Path:
    return Path(database_url.partition("///")[2])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes connections fail at once while another process writes; must be requested before `database`."""
    pragmas = tuple(each for each in sqlite.PRAGMAS if "busy_timeout" not in each)
    monkeypatch.setattr(sqlite, "PRAGMAS", (*pragmas, "PRAGMA busy_timeout = 0"))


@contextmanager
def commits_of(database: Database) -> Iterator[list[None]]:
    """Yields a list that grows by one with each commit of the writer."""
    assert database._writer is not None
    found: list[None] = []

    def note(_conn: Connection) -> None:
        found.append(None)

    event.listen(database._writer.engine, "commit", note)
    yield found


class Gate:
    """Blocks the writer until the gate is opened."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def pass_through(self, _: object) -> None:
        self._entered.set()
        assert self._opened.wait(PATIENCE)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, PATIENCE)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
async def gate(database: Database) -> AsyncIterator[Gate]:
    """Blocks the writer in one job, so that later jobs form the next group."""
    made = Gate()
    first = asyncio.create_task(database.write(made.pass_through))
    await made.entered()
    yield made
    made.open()
    await first


async def asked(*writes: Any) -> list[asyncio.Future[Any]]:
    """Returns tasks that have put their jobs into the queue."""
    tasks = [asyncio.ensure_future(each) for each in writes]
    for _ in range(2):  # each write runs in a task of its own
        await asyncio.sleep(0)
    return tasks


def succeeded(names: Sequence[str], results: Sequence[object]) -> list[str]:
    return [name for name, result in zip(names, results, strict=True) if not isinstance(result, BaseException)]


def fail_after_writing(uow: UnitOfWork, name: str) -> None:
    projects.create(uow, name)
    raise RuntimeError(name)


async def test_concurrent_jobs_share_commit(database: Database, gate: Gate) -> None:
    with commits_of(database) as commits:
        tasks = await asked(*(database.write(projects.create, f"p{number}") for number in range(20)))
        gate.open()
        await asyncio.gather(*tasks)
    # One commit of the gate, and one of all other jobs.
    assert len(commits) == 2
    assert await database.read(projects.names) == [f"p{number}" for number in range(20)]


async def test_group_has_bounded_size(database: Database, gate: Gate) -> None:
    with commits_of(database) as commits:
        tasks = await asked(*(database.write(projects.create, f"p{number}") for number in range(150)))
        gate.open()
        await asyncio.gather(*tasks)
    assert len(commits) == 1 + 3


async def test_jobs_run_in_order_of_request(database: Database, gate: Gate) -> None:
    order: list[int] = []

    def note(uow: UnitOfWork, number: int) -> None:
        order.append(number)

    tasks = await asked(*(database.write(note, number) for number in range(100)))
    gate.open()
    await asyncio.gather(*tasks)
    assert order == list(range(100))


async def test_failed_job_leaves_rest_of_group_committed(database: Database, gate: Gate) -> None:
    writes = [
        database.write(projects.create, "before"),
        database.write(fail_after_writing, "bad"),
        database.write(projects.create, "before"),
        database.write(projects.create, "after"),
    ]
    tasks = await asked(*writes)
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["UUID", "RuntimeError", "ConflictError", "UUID"]
    assert await database.read(projects.names) == ["before", "after"]


async def test_cancelled_caller_does_not_stop_its_job(database: Database, gate: Gate) -> None:
    gone, other = await asked(database.write(projects.create, "gone"), database.write(projects.create, "other"))
    gone.cancel()
    gate.open()
    await other
    with pytest.raises(asyncio.CancelledError):
        await gone
    # The caller does not learn that its job was committed.
    assert await database.read(projects.names) == ["gone", "other"]
    await database.write(projects.create, "later")


async def test_close_finishes_queued_jobs(database_url: str) -> None:
    database = open_database(database_url)
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through))
    await gate.entered()
    tasks = await asked(*(database.write(projects.create, f"p{number}") for number in range(100)))
    closing_ = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *tasks, closing_)
    assert all(task.done() for task in tasks)
    again = open_database(database_url)
    assert len(await again.read(projects.names)) == 100
    await again.close()


async def test_closed_database_refuses_reads_and_writes(database_url: str) -> None:
    database = open_database(database_url)
    await database.close()
    with pytest.raises(DatabaseUnavailableError):
        await database.write(projects.create, "late")
    with pytest.raises(DatabaseUnavailableError):
        await database.read(projects.names)


@pytest.mark.usefixtures("impatient")
async def test_write_of_other_process_makes_writes_unavailable_until_it_ends(database: Database, path: Path) -> None:
    await database.write(projects.create, "first")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(DatabaseUnavailableError):
                await database.write(projects.create, "second")
        assert await database.read(projects.names) == ["first"]
        other.execute("ROLLBACK")
    await database.write(projects.create, "second")
    assert await database.read(projects.names) == ["first", "second"]


@pytest.mark.usefixtures("impatient")
async def test_every_job_of_unstarted_group_fails_as_unavailable(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writes = (database.write(projects.create, f"p{number}") for number in range(5))
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 5
    assert await database.read(projects.names) == []


def limit_pages(uow: UnitOfWork, more: int | None) -> None:
    """Lets the file grow by at most `more` pages; None removes the limit."""
    count = uow.conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    uow.conn.exec_driver_sql(f"PRAGMA max_page_count = {1_073_741_823 if more is None else count + more}")


def write_much(uow: UnitOfWork, name: str) -> None:
    uow.conn.execute(text("CREATE TABLE IF NOT EXISTS filler (value BLOB)"))
    for _ in range(100):
        uow.conn.execute(text("INSERT INTO filler VALUES (zeroblob(10000))"))
    projects.create(uow, name)


async def test_full_disk_fails_only_jobs_that_need_space(database: Database) -> None:
    await database.write(limit_pages, 5)
    with pytest.raises(DatabaseUnavailableError):
        await database.write(write_much, "much")
    await database.write(projects.create, "little")
    assert await database.read(projects.names) == ["little"]
    await database.write(limit_pages, None)
    await database.write(write_much, "much")
    assert await database.read(projects.names) == ["little", "much"]


async def test_full_disk_fails_every_rolled_back_job(database: Database) -> None:
    await database.write(limit_pages, 5)
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through))
    await gate.entered()
    tasks = await asked(
        database.write(projects.create, "before"),
        database.write(write_much, "much"),
        database.write(projects.create, "after"),
    )
    gate.open()
    await first
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], DatabaseUnavailableError)
    # SQLite may have rolled back the other jobs; then they fail too.
    assert await database.read(projects.names) == succeeded(["before", "much", "after"], results)
    await database.write(projects.create, "later")


def lose_the_transaction(uow: UnitOfWork) -> None:
    """Rolls back the transaction, as SQLite does after some disk errors."""
    projects.create(uow, "lost")
    uow.conn.exec_driver_sql("ROLLBACK")
    raise RuntimeError("The disk failed")


async def test_lost_transaction_fails_every_job_of_group(database: Database, gate: Gate) -> None:
    tasks = await asked(
        database.write(projects.create, "before"),
        database.write(lose_the_transaction),
        database.write(projects.create, "after"),
    )
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kept = succeeded(["before", "lost", "after"], results)
    assert await database.read(projects.names) == kept
    assert isinstance(results[0], DatabaseUnavailableError)
    await database.write(projects.create, "later")
    assert await database.read(projects.names) == [*kept, "later"]


async def test_conflict_is_not_reported_as_unavailable(database: Database) -> None:
    await database.write(projects.create, "one")
    with pytest.raises(ConflictError):
        await database.write(projects.create, "one")


async def test_connections_have_documented_pragmas(database: Database) -> None:
    def settings(conn: Connection) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        return {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 10_000, "foreign_keys": 1}
    assert await database.read(settings) == await database.write(lambda uow: settings(uow.conn)) == expected


async def test_reads_do_not_wait_for_writer(database: Database, gate: Gate) -> None:
    assert await database.read(projects.names) == []


async def test_read_unit_uses_one_connection_and_sees_later_commits(
    database: Database,
) -> None:
    gate = Gate()

    def twice(conn: Connection) -> tuple[Sequence[str], Sequence[str]]:
        before = projects.names(conn)
        gate.pass_through(conn)
        return before, projects.names(conn)

    reading = asyncio.create_task(database.read(twice))
    await gate.entered()
    assert database.read_pool.checkedout() == 1  # type: ignore[attr-defined]
    await database.write(projects.create, "second")
    gate.open()
    assert await reading == ([], ["second"])
    assert database.read_pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_reads_beyond_pool_size_wait_for_connection(database_url: str) -> None:
    database, gates = open_database(database_url, pool_size=2), [Gate(), Gate()]
    busy = [asyncio.create_task(database.read(gate.pass_through)) for gate in gates]
    for gate in gates:
        await gate.entered()
    waiting = await asked(*(database.read(projects.names) for _ in range(20)))
    assert not any(task.done() for task in waiting)
    for gate in gates:
        gate.open()
    assert await asyncio.gather(*waiting) == [[]] * 20
    await asyncio.gather(*busy)
    await database.close()
