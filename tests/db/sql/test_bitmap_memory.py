"""Memory for bitmaps: for some statements only, and their errors stay what they are."""

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.sql.bitmap_memory import memory_for_bitmaps

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has no bitmaps


def memory(conn: Connection) -> str:
    found: str = conn.exec_driver_sql("SHOW work_mem").scalar_one()
    return found


async def test_memory_is_given_back(database: Database) -> None:
    def read(conn: Connection) -> tuple[str, str, str]:
        before = memory(conn)
        with memory_for_bitmaps(conn):
            within = memory(conn)
        return before, within, memory(conn)

    before, within, after = await database.read(read)
    assert (before != within, before == after) == (True, True)


@pytest.mark.parametrize("kind", ["read", "transaction"])
async def test_error_of_a_statement_is_raised(database: Database, kind: str) -> None:
    def divide(conn: Connection) -> None:
        with memory_for_bitmaps(conn):
            conn.exec_driver_sql("SELECT 1 / 0")

    def write(uow: UnitOfWork) -> None:
        divide(uow.conn)

    with pytest.raises(DBAPIError, match="division by zero"):
        await (database.read(divide) if kind == "read" else database.write(write))
