"""The thread that writes to SQLite, and what happens when SQLite refuses."""

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
"""Real seconds after which a thread that should have moved on has failed the test."""


@pytest.fixture
def path(database_url: str) -> Path:
    return Path(database_url.partition("///")[2])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections give up at once when another process writes; asked for before `database`."""
    pragmas = tuple(each for each in sqlite.PRAGMAS if "busy_timeout" not in each)
    monkeypatch.setattr(sqlite, "PRAGMAS", (*pragmas, "PRAGMA busy_timeout = 0"))


@contextmanager
def commits_of(database: Database) -> Iterator[list[None]]:
    """Grows by one with each commit of the writer."""
    assert database._writer is not None
    found: list[None] = []

    def note(_conn: Connection) -> None:
        found.append(None)

    event.listen(database._writer._engine, "commit", note)
    yield found


class Gate:
    """Keeps the writer busy until it is opened."""

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
    """A writer that is busy with one job; what is asked for now comes together in the next group."""
    made = Gate()
    first = asyncio.create_task(database.write(made.pass_through))
    await made.entered()
    yield made
    made.open()
    await first


async def asked(*writes: Any) -> list[asyncio.Future[Any]]:
    """Tasks that have put their jobs into the queue."""
    tasks = [asyncio.ensure_future(each) for each in writes]
    for _ in range(2):  # each does its writing in a task of its own
        await asyncio.sleep(0)
    return tasks


def succeeded(names: Sequence[str], results: Sequence[object]) -> list[str]:
    return [name for name, result in zip(names, results, strict=True) if not isinstance(result, BaseException)]


def fail_after_writing(uow: UnitOfWork, name: str) -> None:
    projects.create(uow, name)
    raise RuntimeError(name)


async def test_jobs_that_come_together_are_committed_together(database: Database, gate: Gate) -> None:
    with commits_of(database) as commits:
        tasks = await asked(*(database.write(projects.create, f"p{number}") for number in range(20)))
        gate.open()
        await asyncio.gather(*tasks)
    # That of the gate, and one for all the others.
    assert len(commits) == 2
    assert await database.read(projects.names) == [f"p{number}" for number in range(20)]


async def test_a_group_is_bounded(database: Database, gate: Gate) -> None:
    with commits_of(database) as commits:
        tasks = await asked(*(database.write(projects.create, f"p{number}") for number in range(150)))
        gate.open()
        await asyncio.gather(*tasks)
    assert len(commits) == 1 + 3


async def test_jobs_are_done_in_the_order_in_which_they_were_asked_for(database: Database, gate: Gate) -> None:
    order: list[int] = []

    def note(uow: UnitOfWork, number: int) -> None:
        order.append(number)

    tasks = await asked(*(database.write(note, number) for number in range(100)))
    gate.open()
    await asyncio.gather(*tasks)
    assert order == list(range(100))


async def test_a_job_that_fails_takes_none_of_its_group_with_it(database: Database, gate: Gate) -> None:
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


async def test_a_caller_who_gave_up_stops_nothing(database: Database, gate: Gate) -> None:
    gone, other = await asked(database.write(projects.create, "gone"), database.write(projects.create, "other"))
    gone.cancel()
    gate.open()
    await other
    with pytest.raises(asyncio.CancelledError):
        await gone
    # Whether it was done was not told; it was.
    assert await database.read(projects.names) == ["gone", "other"]
    await database.write(projects.create, "later")


async def test_closing_finishes_what_was_asked_for(database_url: str) -> None:
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


async def test_what_is_asked_for_after_closing_is_refused(database_url: str) -> None:
    database = open_database(database_url)
    await database.close()
    with pytest.raises(DatabaseUnavailableError):
        await database.write(projects.create, "late")
    with pytest.raises(DatabaseUnavailableError):
        await database.read(projects.names)


@pytest.mark.usefixtures("impatient")
async def test_a_write_under_way_elsewhere_makes_it_unavailable_for_as_long(database: Database, path: Path) -> None:
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
async def test_all_of_a_group_that_could_not_begin_are_told(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writes = (database.write(projects.create, f"p{number}") for number in range(5))
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 5
    assert await database.read(projects.names) == []


def limit_pages(uow: UnitOfWork, more: int | None) -> None:
    """Let the file grow by so many pages; None: as it likes."""
    count = uow.conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    uow.conn.exec_driver_sql(f"PRAGMA max_page_count = {1_073_741_823 if more is None else count + more}")


def write_much(uow: UnitOfWork, name: str) -> None:
    uow.conn.execute(text("CREATE TABLE IF NOT EXISTS filler (value BLOB)"))
    for _ in range(100):
        uow.conn.execute(text("INSERT INTO filler VALUES (zeroblob(10000))"))
    projects.create(uow, name)


async def test_a_full_disk_fails_what_needs_room_and_nothing_else(database: Database) -> None:
    await database.write(limit_pages, 5)
    with pytest.raises(DatabaseUnavailableError):
        await database.write(write_much, "much")
    await database.write(projects.create, "little")
    assert await database.read(projects.names) == ["little"]
    await database.write(limit_pages, None)
    await database.write(write_much, "much")
    assert await database.read(projects.names) == ["little", "much"]


async def test_a_full_disk_is_told_to_all_whom_it_concerns(database: Database) -> None:
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
    # SQLite may have rolled back what the others wrote; then they are told.
    assert await database.read(projects.names) == succeeded(["before", "much", "after"], results)
    await database.write(projects.create, "later")


def lose_the_transaction(uow: UnitOfWork) -> None:
    """As SQLite itself does after some errors of the disk."""
    projects.create(uow, "lost")
    uow.conn.exec_driver_sql("ROLLBACK")
    raise RuntimeError("The disk failed")


async def test_a_transaction_that_is_lost_is_told_to_its_whole_group(database: Database, gate: Gate) -> None:
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


async def test_a_conflict_is_told_from_unavailability(database: Database) -> None:
    await database.write(projects.create, "one")
    with pytest.raises(ConflictError):
        await database.write(projects.create, "one")


async def test_connections_are_set_up_as_documented(database: Database) -> None:
    def settings(conn: Connection) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        return {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 10_000, "foreign_keys": 1}
    assert await database.read(settings) == await database.write(lambda uow: settings(uow.conn)) == expected


async def test_readers_do_not_wait_for_the_writer(database: Database, gate: Gate) -> None:
    assert await database.read(projects.names) == []


async def test_a_unit_that_reads_keeps_to_one_connection_and_sees_what_is_committed_meanwhile(
    database: Database,
) -> None:
    gate = Gate()

    def twice(conn: Connection) -> tuple[Sequence[str], Sequence[str]]:
        before = projects.names(conn)
        gate.pass_through(conn)
        return before, projects.names(conn)

    reading = asyncio.create_task(database.read(twice))
    await gate.entered()
    assert database._pool.checkedout() == 1  # type: ignore[attr-defined]
    await database.write(projects.create, "meanwhile")
    gate.open()
    assert await reading == ([], ["meanwhile"])
    assert database._pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_more_reads_than_connections_take_their_turns(database_url: str) -> None:
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
