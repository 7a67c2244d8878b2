import asyncio
from collections.abc import Callable

from db.core.database import Database
from tests.support.query import query


async def test_a_clone_answers(database_url: str, dialect: str) -> None:
    assert database_url.startswith(dialect)
    assert await query(database_url, "SELECT 1 + 1") == 2


async def test_a_clone_has_the_schema(database_url: str) -> None:
    assert await query(database_url, "SELECT count(*) FROM alembic_version") == 1


async def test_a_clone_sees_nothing_of_another(new_database_url: Callable[[], str]) -> None:
    first, second = new_database_url(), new_database_url()
    await query(first, "CREATE TABLE mark (value INTEGER)", "INSERT INTO mark VALUES (7)")
    await query(second, "CREATE TABLE mark (value INTEGER)")
    assert await query(first, "SELECT sum(value) FROM mark") == 7
    assert await query(second, "SELECT count(*) FROM mark") == 0


def test_a_clone_serves_a_test_without_a_loop(database_url: str) -> None:
    assert asyncio.run(query(database_url, "SELECT 1")) == 1


async def test_the_database_is_open(database: Database) -> None:
    assert isinstance(database, Database)
