"""`any_of`: many keys in one parameter."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, func, select, text, update

from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.sql.any_of import any_of, rows_of
from tests.support import factory
from tests.support.factory import PublishedFlow

_runs = table(FlowRun)
_run = _runs.c


@pytest.mark.parametrize("strangers", [0, 1, 40_000])
async def test_any_of_matches_any_number_of_keys(database: Database, published: PublishedFlow, strangers: int) -> None:
    made = await database.write(factory.make_runs, published, [{}, {}, {}])
    keys = [made[2], *(uuid4() for _ in range(strangers)), made[0], made[0]]
    query = select(_run.id).where(any_of(_run.id, keys)).order_by(_run.id)
    assert await database.read(lambda conn: conn.execute(query).scalars().all()) == sorted([made[0], made[2]])


async def test_any_of_no_keys_matches_nothing(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{}])
    none: list[UUID] = []
    query = select(_run.id).where(any_of(_run.id, none))
    assert await database.read(lambda conn: conn.execute(query).scalars().all()) == []


async def test_any_of_takes_a_named_parameter(database: Database, published: PublishedFlow) -> None:
    first, second = await database.write(factory.make_runs, published, [{}, {}])
    statement = update(_runs).where(any_of(_run.id, "keys")).values(source="here").returning(_run.id)
    for key in (first, second):
        changed = await database.write(
            lambda uow, key: uow.conn.execute(statement, {"keys": [key]}).scalars().all(), key
        )
        assert changed == [key]


async def test_any_of_uses_the_index_of_the_column(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{}] * 200)
    await database.write(lambda uow: uow.conn.execute(text("ANALYZE")) and None)
    query = select(_run.id).where(any_of(_run.id, [uuid4()])).with_only_columns(_run.source)

    def plan(conn: Connection) -> str:
        how = "EXPLAIN QUERY PLAN " if conn.dialect.name == "sqlite" else "EXPLAIN "
        statement = str(query.compile(conn, compile_kwargs={"literal_binds": False}))
        keys = '["00"]' if conn.dialect.name == "sqlite" else [uuid4()]
        return str(conn.exec_driver_sql(how + statement, (keys,)).all())

    found = await database.read(plan)
    assert "SEARCH flow_run" in found or "Index Scan" in found


async def test_rows_of_returns_a_row_per_key(database: Database) -> None:
    keys = [uuid4() for _ in range(40_000)]

    def count(conn: Connection) -> int:
        return conn.execute(
            select(func.count()).select_from(select(rows_of(keys, conn.dialect.name)).subquery())
        ).scalar_one()

    assert await database.read(count) == 40_000
