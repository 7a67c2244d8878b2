"""Memory for the bitmaps of what indexes find."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


@contextmanager
def memory_for_bitmaps(conn: Connection) -> Iterator[None]:
    """Lets PostgreSQL keep each row in a bitmap of what indexes find in a million runs. With its default of 4 MB it
    keeps whole pages, and looks at all runs on these again. SQLite has no bitmaps."""
    if conn.dialect.name == "sqlite":
        yield
        return
    conn.exec_driver_sql("SET work_mem = '16MB'")
    try:
        yield
    finally:
        # In a transaction, which reads have behind a pooler, an error has ended it, and the setting with it.
        with suppress(DBAPIError):
            conn.exec_driver_sql("RESET work_mem")
