"""Transactions that overlap on PostgreSQL. SQLite has one writer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork

T = TypeVar("T")
S = TypeVar("S")

_WAITS = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


@asynccontextmanager
async def uncommitted(database: Database, change: Callable[[UnitOfWork], T]) -> AsyncIterator["asyncio.Task[T]"]:
    """Executes `change` in a transaction that is committed at the end of the block; yields the task of its result."""
    has_changed, may_commit = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def execute(uow: UnitOfWork) -> T:
        try:
            result = change(uow)
        finally:
            loop.call_soon(has_changed.set)
        await_only(may_commit.wait())
        return result

    task = asyncio.create_task(database.write(execute))
    await has_changed.wait()
    try:
        yield task
    finally:
        may_commit.set()
        await task


async def overlapping(
    database: Database, first: Callable[[UnitOfWork], T], second: Callable[[UnitOfWork], S]
) -> tuple[T, S]:
    """Returns the results of two transactions: `first` is committed when `second` waits for one of its locks, or has
    ended without waiting."""
    async with uncommitted(database, first) as task:
        other = asyncio.create_task(database.write(second))
        while not other.done() and not await database.read(_is_waiting):
            pass
    return task.result(), await other


def _is_waiting(conn: Connection) -> bool:
    return conn.execute(_WAITS).first() is not None
