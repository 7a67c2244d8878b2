"""The keys that encrypt secrets: from the settings, or else from a key file beside an SQLite database."""

from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from service.keys import key_files
from service.settings import Settings

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
