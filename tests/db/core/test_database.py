import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Connection, QueuePool, make_url, text
from sqlalchemy.exc import ProgrammingError

from db import flows, migrate, projects
from db.assembly import open_database
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from domain import ids
from domain.errors import DatabaseUnavailableError
from tests.support.clock import FakeClock
from tests.support.databases.postgres import PostgresServer
from tests.support.query import query


def create_and_fail(uow: UnitOfWork, name: str) -> None:
    projects.create(uow, name)
    raise RuntimeError("no")


async def test_read_returns_committed_write(database: Database) -> None:
    key = await database.write(projects.create, "one")
    assert await database.read(projects.by_name, "one") == key


async def test_failed_write_leaves_no_rows(database: Database) -> None:
    with pytest.raises(RuntimeError, match="no"):
        await database.write(create_and_fail, "one")
    assert await database.read(projects.names) == []


async def test_second_use_of_unique_name_is_conflict(database: Database) -> None:
    await database.write(projects.create, "one")
    with pytest.raises(ConflictError):
        await database.write(projects.create, "one")
    assert await database.read(projects.names) == ["one"]


async def test_one_of_concurrent_writers_gets_unique_name(database: Database) -> None:
    results = await asyncio.gather(*(database.write(projects.create, "one") for _ in range(10)), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert [type(failure) for failure in failures] == [ConflictError] * 9
    assert await database.read(projects.names) == ["one"]


async def test_dangling_foreign_key_is_conflict(database: Database) -> None:
    with pytest.raises(ConflictError):
        await database.write(flows.create, ids.new_uuid(), "flow")


async def test_programming_error_is_not_reported_as_unavailable(database: Database) -> None:
    def divide(_: object) -> float:
        return 1 / 0

    for run in (database.read, database.write):
        with pytest.raises(ZeroDivisionError):
            await run(divide)


async def test_cancelled_read_leaves_database_usable(database: Database) -> None:
    for _ in range(30):
        reading = asyncio.create_task(database.read(projects.names))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert await database.read(projects.names) == []


async def test_write_problem_is_reported_for_a_while(database: Database, fake_clock: FakeClock) -> None:
    """Hosts make a server read-only when its disk is nearly full, or when it has become a standby."""
    is_sqlite = database.dialect == "sqlite"

    def refused(uow: UnitOfWork) -> None:
        uow.conn.execute(text("PRAGMA query_only = on" if is_sqlite else "SET TRANSACTION READ ONLY"))
        projects.create(uow, "one")

    with pytest.raises(DatabaseUnavailableError, match="is read-only"):
        await database.write(refused)
    assert database.write_problem == "The database is read-only: nothing can be written at the moment."
    assert await database.read(projects.names) == []
    if not is_sqlite:  # there the connection stays as it is
        await database.write(projects.create, "one")
    await fake_clock.advance(30)
    assert database.write_problem is not None
    await fake_clock.advance(1)
    assert database.write_problem is None


async def test_topics_are_published_after_commit(database: Database) -> None:
    def announce(uow: UnitOfWork) -> None:
        uow.publish_after_commit("topic")

    with database.pubsub.subscribe("topic") as woken:
        writing = asyncio.create_task(database.write(announce))
        await asyncio.sleep(0)
        assert not woken.is_set()
        await writing
        assert woken.is_set()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_corrupt_file_is_unavailable(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database at all, and longer than a header is" * 100)
    database = open_database(f"sqlite+aiosqlite:///{path}")
    await assert_unavailable(database)
    await database.close()


on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@pytest.fixture
async def on_own_server(own_postgres: PostgresServer) -> AsyncIterator[Database]:
    await asyncio.to_thread(migrate.upgrade, own_postgres.url())
    opened = open_database(own_postgres.url(), pool_size=3)
    yield opened
    await opened.close()


async def assert_unavailable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await database.read(projects.names)
    with pytest.raises(DatabaseUnavailableError):
        await database.write(projects.create, "lost")


async def until_unavailable(database: Database) -> None:
    """Waits until no session of the killed server answers any more."""
    try:
        while True:
            await database.read(projects.names)
    except DatabaseUnavailableError:
        return


async def warm_up(database: Database) -> None:
    """Opens several connections in the pool."""
    await asyncio.gather(*(database.read(projects.names) for _ in range(6)))


async def test_stopped_server_is_unavailable_until_restarted(
    on_own_server: Database, own_postgres: PostgresServer
) -> None:
    await warm_up(on_own_server)
    await on_own_server.write(projects.create, "before")
    for stop in (own_postgres.stop, own_postgres.kill):
        await asyncio.to_thread(stop)
        await until_unavailable(on_own_server)
        await assert_unavailable(on_own_server)
        await asyncio.to_thread(own_postgres.start)
        assert "lost" not in await on_own_server.read(projects.names)
        await on_own_server.write(projects.create, stop.__name__)
    assert await on_own_server.read(projects.names) == ["before", "stop", "kill"]


async def test_restart_while_idle_causes_no_error(on_own_server: Database, own_postgres: PostgresServer) -> None:
    for name in ("first", "second"):
        await warm_up(on_own_server)
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.to_thread(own_postgres.start)
        if name == "first":
            await on_own_server.write(projects.create, name)
        assert await on_own_server.read(projects.names) == ["first"]


@on_postgresql
async def test_terminated_session_fails_only_its_write(database: Database) -> None:
    def end_ourselves(uow: UnitOfWork) -> None:
        projects.create(uow, "lost")
        uow.conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailableError):
        await database.write(end_ourselves)
    await database.write(projects.create, "kept")
    assert await database.read(projects.names) == ["kept"]


async def test_server_without_free_connection_is_unavailable(own_postgres: PostgresServer) -> None:
    await asyncio.to_thread(migrate.upgrade, own_postgres.url())
    await query(own_postgres.url(), "CREATE ROLE guest LOGIN CONNECTION LIMIT 0")
    database = open_database(own_postgres.url().replace("flowruns@", "guest@"))
    await assert_unavailable(database)
    await query(own_postgres.url(), "ALTER ROLE guest CONNECTION LIMIT 5", "GRANT ALL ON project TO guest")
    await database.write(projects.create, "now")
    await database.close()


@on_postgresql
async def test_interrupted_read_is_retried(database: Database) -> None:
    answers: list[int] = []

    def read(conn: Connection) -> list[int]:
        if not answers:
            answers.append(0)
            conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return [*answers, conn.execute(text("SELECT 1")).scalar_one()]

    assert await database.read(read) == [0, 1]


_REFUSED = "DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END $$"


@on_postgresql
@pytest.mark.parametrize(
    "code", ["57014", "55P03", "40001", "40P01"], ids=["cancelled", "locked", "serial", "deadlock"]
)
async def test_write_that_the_server_breaks_off_is_unavailable(database: Database, code: str) -> None:
    """An operator cancels a statement, or the server gives up the transaction: the work itself has no error."""

    def work(uow: UnitOfWork) -> None:
        projects.create(uow, "lost")
        uow.conn.exec_driver_sql(_REFUSED.format(code=code))

    with pytest.raises(DatabaseUnavailableError):
        await database.write(work)
    assert await database.read(projects.names) == []


_LIMITS = {
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "default_transaction_isolation": "serializable",
}
"""Settings that hosts give to roles and databases."""


@on_postgresql
async def test_limits_of_the_host_do_not_apply(database_url: str, database: Database) -> None:
    name = make_url(database_url).database
    await query(database_url, *(f"ALTER DATABASE \"{name}\" SET {each} = '{value}'" for each, value in _LIMITS.items()))
    shown = "SELECT " + ", ".join(f"current_setting('{each}')" for each in _LIMITS)
    opened = open_database(database_url)
    limited = open_database(database_url, query_timeout=7.0)

    def settings(conn: Connection) -> list[str]:
        conn.execute(text("SELECT pg_sleep(0.01)"))
        return list(conn.execute(text(shown)).one())

    assert await opened.write(lambda uow: settings(uow.conn)) == ["0", "0", "read committed"]
    assert await opened.read(settings) == ["0", "0", "read committed"]
    assert await limited.write(lambda uow: settings(uow.conn)) == ["0", "0", "read committed"]
    assert await limited.read(settings) == ["7s", "0", "read committed"]
    assert [list(row) for row in await limited.fetch(shown, ())] == [["7s", "0", "read committed"]]
    await opened.close()
    await limited.close()


@on_postgresql
async def test_invalid_statement_is_programming_error(database: Database) -> None:
    statement = text("SELECT nothing FROM nowhere")
    with pytest.raises(ProgrammingError):
        await database.read(lambda conn: conn.execute(statement))
    with pytest.raises(ProgrammingError):
        await database.write(lambda uow: uow.conn.execute(statement))


@on_postgresql
async def test_missing_database_is_unavailable(database_url: str) -> None:
    database = open_database(make_url(database_url).set(database="gone").render_as_string(hide_password=False))
    await assert_unavailable(database)
    await database.close()


@on_postgresql
async def test_exhausted_pool_is_unavailable(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = (database._engine, database._reading_engine)
    for engine in engines:
        monkeypatch.setattr(engine.pool, "_timeout", 0.0)
        monkeypatch.setattr(engine.pool, "_max_overflow", 0)
    async with AsyncExitStack() as taken:
        for engine in engines:
            for _ in range(cast("QueuePool", engine.pool).size()):
                await taken.enter_async_context(engine.connect())
        await assert_unavailable(database)
    assert await database.read(projects.names) == []


@on_postgresql
async def test_exhausted_connections_of_fetch_are_unavailable(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = open_database(database_url, pool_size=1)
    monkeypatch.setattr(small._fetcher, "_pool_timeout", 0.0)
    async with small._fetcher._free:
        with pytest.raises(DatabaseUnavailableError):
            await small.fetch("SELECT 1", ())
    ((one,),) = await small.fetch("SELECT 1", ())
    assert one == 1
    await small.close()


_BARRIER = 4711
"""Number of an advisory lock."""


def rename_both(uow: UnitOfWork, first: str, second: str) -> None:
    """Changes two projects in turn, and waits for the barrier in between."""
    uow.conn.execute(text("UPDATE project SET name = name || '!' WHERE name LIKE :name"), {"name": f"{first}%"})
    uow.conn.execute(text("SELECT pg_advisory_xact_lock_shared(:barrier)"), {"barrier": _BARRIER})
    uow.conn.execute(text("UPDATE project SET name = name || '!' WHERE name LIKE :name"), {"name": f"{second}%"})


@on_postgresql
async def test_deadlocked_writes_both_succeed(database: Database, database_url: str) -> None:
    for name in ("a", "b"):
        await database.write(projects.create, name)
    holder = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await holder.execute("SELECT pg_advisory_lock($1)", _BARRIER)
    both = asyncio.gather(database.write(rename_both, "a", "b"), database.write(rename_both, "b", "a"))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"
    async with asyncio.timeout(30):
        while await holder.fetchval(waiting, _BARRIER) < 2:
            pass
    await holder.close()
    await both
    assert await database.read(projects.names) == ["a!!", "b!!"]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_writes_find_rows_of_a_growing_table_by_their_keys(database: Database) -> None:
    def plan(uow: UnitOfWork) -> str:
        statement = "EXPLAIN UPDATE flow_run SET note = NULL WHERE id = ANY (:run_ids)"
        return "\n".join(
            uow.conn.execute(text(statement), {"run_ids": [UUID(int=number) for number in range(64)]}).scalars()
        )

    assert "flow_run_pkey" in await database.write(plan)
