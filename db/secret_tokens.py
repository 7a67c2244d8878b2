"""Secret tokens: shown once, stored as their hash."""

import hashlib
import secrets

HINT_LENGTH = 8
"""Number of characters from the start of a token that are stored in clear text, so that people can recognise it."""


def new_token(prefix: str) -> str:
    """Returns a token with 256 random bits. People and scanners for leaked secrets recognise its kind by `prefix`."""
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Returns the hash of a token. Tokens are random, so a fast hash is safe, and so is an index on it."""
    return hashlib.sha256(token.encode()).hexdigest()
