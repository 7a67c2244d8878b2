"""The command `backup`: a copy of an SQLite database while the service runs."""

import os
import sqlite3
from pathlib import Path

import click

from service.settings import Settings


@click.command(help="Copy the SQLite database to FILE while the service runs. FILE is complete or absent.")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def backup(settings: Settings, file: Path) -> None:
    """Copy the database.

    Raises:
        ClickException: the database is PostgreSQL's, is missing, or cannot be copied to FILE.
    """
    source = settings.database_file
    if source is None:
        raise click.ClickException("This copies SQLite databases. Use pg_dump for PostgreSQL.")
    if not source.is_file():
        raise click.ClickException(f"There is no database file {source}.")
    if file.exists():
        raise click.ClickException(f"{file} exists already.")
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        # It contains the data of runs, so only its owner can read it.
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        _copy(source, unfinished)
        unfinished.rename(file)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        raise click.ClickException(f"{source} cannot be copied to {file}: {error}") from None


def _copy(source: Path, target: Path) -> None:
    reading, writing = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        # All pages in one step, as one reader: writers are not blocked, and do not restart the copy.
        reading.backup(writing, pages=-1)
        # One file without a log beside it, whose pages reach the disk before the name does.
        writing.execute("PRAGMA journal_mode = DELETE")
    finally:
        writing.close()
        reading.close()
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
