"""The keys that sign tokens and links: from the settings, or else from a key file beside an SQLite database."""

import secrets

from domain.access_token import MIN_KEY_LENGTH, TokenKeys
from service.keys import key_files
from service.settings import Settings

KEY_FILE = "access-token.key"
"""Name of the key file."""
_KEY_BYTES = 48
"""Random bytes of a new key: 64 characters."""


def load_token_keys(settings: Settings) -> TokenKeys:
    """Returns the keys. On PostgreSQL, without `token_keys`, there are no keys, and no token can be signed.

    Raises:
        KeyFileError: the key file has no valid key, or cannot be read.
    """
    keys = settings.token_key_list
    path = key_files.key_file(settings, KEY_FILE)
    if keys or path is None:
        return TokenKeys(keys)
    return key_files.load(path, lambda: secrets.token_urlsafe(_KEY_BYTES), _parse)


def _parse(content: str) -> TokenKeys:
    key = content.strip()
    if len(key) < MIN_KEY_LENGTH:
        raise ValueError(f"the key must have at least {MIN_KEY_LENGTH} characters")
    return TokenKeys([key])
