"""Key files beside an SQLite database. Only their owner can read them. Back them up, apart from the database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from service.settings import Settings

T = TypeVar("T")


class KeyFileError(click.ClickException):
    """The key file cannot be used. The command ends with this message."""


def key_file(settings: Settings, name: str) -> Path | None:
    """Returns the path of a key file. None on PostgreSQL, whose processes may run on several machines."""
    file = settings.database_file
    return None if file is None else file.parent / name


def load(path: Path, new_key: Callable[[], str], parse: Callable[[str], T]) -> T:
    """Returns the parsed content of a key file. The first start creates it with a new key.

    Raises:
        KeyFileError: the file has no valid key, as `parse` says by a ValueError, or cannot be read.
    """
    try:
        return parse(_read_or_create(path, new_key))
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be used: {error.strerror}") from None
    except ValueError as error:
        raise KeyFileError(f"The key file {path} cannot be used: {error}") from None


def _read_or_create(path: Path, new_key: Callable[[], str]) -> str:
    if not path.exists():
        # The key is written to a file of its own and then linked, so that no process reads half of it, and the first of
        # several processes wins.
        own = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(new_key() + "\n")
            path.hardlink_to(own)
        except FileExistsError:
            pass
        finally:
            own.unlink()
    return path.read_text()
