"""The keys that sign access tokens: those of the settings, or a file beside an SQLite database."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from domain.access_token import TokenKeys
from service.settings import Settings

_FILE = "access-token.key"


def load_token_keys(settings: Settings) -> TokenKeys:
    """Returns the keys of the settings; without these, and on SQLite, that of the file, which is created if needed."""
    if keys := settings.token_key_list:
        return TokenKeys(keys)
    database_file = settings.database_file
    if database_file is None or database_file.name in ("", ":memory:"):
        return TokenKeys()
    path = database_file.parent / _FILE
    if not path.exists():
        _create(path)
    return TokenKeys([path.read_text().strip()])


def _create(path: Path) -> None:
    """Writes a new key to the file, unless another process does first: it is never seen without its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
