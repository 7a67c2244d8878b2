"""The keys that encrypt secrets: those of the settings, or else a key file beside an SQLite database."""

import os
from pathlib import Path

import click

from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from service.settings import Settings

KEY_FILE = "secrets.key"
"""Name of the key file. Only its owner can read it; it belongs into backups, apart from the database."""


class KeyFileError(click.ClickException):
    """The key file cannot be used. The command ends with this message."""


def load_key_ring(settings: Settings) -> KeyRing:
    """Returns the keys. The first start with an SQLite database creates its key file.

    On PostgreSQL, whose processes may run on several machines, there is no file: without `secret_keys` the ring is
    empty.

    Raises:
        KeyFileError: the key file has no valid key, or cannot be read.
    """
    text = settings.secret_keys.get_secret_value()
    file = settings.database_file
    if not text and file is not None and str(file) not in ("", ":memory:"):
        path = file.parent / KEY_FILE
        try:
            return KeyRing(parse_keys(_read_or_create(path)))
        except OSError as error:
            raise KeyFileError(f"The key file {path} cannot be used: {error.strerror}") from None
        except ValueError as error:
            raise KeyFileError(f"The key file {path} cannot be used: {error}") from None
    return KeyRing(parse_keys(text))


def _read_or_create(path: Path) -> str:
    if not path.exists():
        # Written apart and linked, so that no process reads half of it, and the first one of several wins.
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
