"""Tests of the time limit of reads, on both databases."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from db import projects
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from domain.errors import QueryTimeoutError

ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
LONG = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) SELECT count(*) FROM n AS a"
)
"""Takes several times the limit."""


def count(conn: Connection) -> int:
    return int(conn.execute(ENDLESS).scalar_one())


@pytest.fixture
async def limited(database_url: str, database: Database) -> AsyncIterator[Database]:
    """The database of the test, with a short time limit of reads and with one connection for them."""
    opened = open_database(database_url, pool_size=1, query_timeout=0.02)
    yield opened
    await opened.close()


async def test_read_beyond_limit_is_query_timeout(limited: Database) -> None:
    with pytest.raises(QueryTimeoutError):
        await limited.read(count)


async def test_connection_serves_next_read_after_timeout(limited: Database) -> None:
    for _ in range(2):
        with pytest.raises(QueryTimeoutError):
            await limited.read(count)
        assert await limited.read(projects.names) == []


async def test_time_between_reads_does_not_count(limited: Database) -> None:
    """The limit begins with each read: the time of earlier reads on the connection does not count."""
    for _ in range(50):
        assert await limited.read(projects.names) == []


async def test_write_has_no_limit(limited: Database) -> None:
    def work(uow: UnitOfWork) -> int:
        return int(uow.conn.execute(LONG).scalar_one())

    assert await limited.write(work) == 400_000


async def test_without_limit_no_read_is_interrupted(database: Database) -> None:
    assert await database.read(lambda conn: conn.execute(LONG).scalar_one()) == 400_000


async def test_connection_of_fetch_serves_next_statement_after_timeout(database_url: str, database: Database) -> None:
    opened = open_database(database_url, pool_size=1, query_timeout=0.5)
    with pytest.raises(QueryTimeoutError):
        await opened.fetch(ENDLESS.text, ())
    assert [tuple(row) for row in await opened.fetch("SELECT 1", ())] == [(1,)]
    await opened.close()
