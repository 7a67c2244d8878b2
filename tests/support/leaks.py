"""Searches everything that a service stores for values that must not be there."""

import subprocess
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text

from tests.support import secret_actions
from tests.support.databases.binaries import find_binaries


def all_rows(conn: Connection) -> str:
    """Returns all rows of all tables, as text."""
    tables = inspect(conn).get_table_names()
    return "\n".join(f"{name}: {row}" for name in tables for row in conn.execute(text(f'SELECT * FROM "{name}"')).all())


def found(value: str, where: str | bytes) -> list[str]:
    """Returns the forms of `value` that are in a text."""
    content = where.encode() if isinstance(where, str) else where
    return [name for name, form in secret_actions.forms(value).items() if form.strip("\"'b").encode() in content]


def contents(folder: Path, pattern: str) -> bytes:
    """Returns the contents of all files in a folder that match a pattern."""
    return b"".join(path.read_bytes() for path in folder.glob(pattern) if path.is_file())


def dump(url: str) -> bytes:
    """Returns the dump of a PostgreSQL database."""
    program = next(place for place in (find_binaries() / "pg_dump", Path("/usr/bin/pg_dump")) if place.exists())
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run([program, "--dbname", plain], check=True, capture_output=True).stdout
