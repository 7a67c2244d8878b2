"""The keys that encrypt secrets: from the settings, or else from a key file beside an SQLite database."""

import logging
from collections.abc import Mapping

from db import secrets
from db.core.database import UNREADABLE, Database
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from service.keys import key_files
from service.settings import Settings

_logger = logging.getLogger(__name__)
KEY_FILE = "secrets.key"
"""Name of the key file."""


def load_key_ring(settings: Settings) -> KeyRing:
    """Returns the keys. On PostgreSQL, without `secret_keys`, the ring is empty.

    Raises:
        KeyFileError: the key file has no valid key, or cannot be read.
    """
    text = settings.secret_keys.get_secret_value()
    path = key_files.key_file(settings, KEY_FILE)
    if text or path is None:
        return KeyRing(parse_keys(text))
    return key_files.load(path, new_key, lambda content: KeyRing(parse_keys(content)))


async def missing_keys(database: Database, keys: KeyRing) -> Mapping[str, int]:
    """Returns the keys that the ring lacks, each with the number of texts in use that it has encrypted.

    Raises:
        DatabaseUnavailableError, QueryTimeoutError.
    """
    counts = await database.read(secrets.key_counts)
    return {key: count for key, count in sorted(counts.items()) if key not in keys}


async def report_missing_keys(database: Database, keys: KeyRing) -> None:
    """Logs the keys that the ring lacks: the log of a start is what people read first. `/readyz` repeats it."""
    try:
        missing = await missing_keys(database, keys)
    except UNREADABLE:
        return
    for key, count in missing.items():
        _logger.error("key of secrets is missing in FLOWRUNS_SECRET_KEYS", extra={"key": key, "secrets": count})
