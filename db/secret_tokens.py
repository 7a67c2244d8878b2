"""Secrets that are given out once, and kept as their hash alone."""

import hashlib
import secrets

HINT_LENGTH = 8
"""Characters by which people tell tokens apart."""


def new_token(prefix: str) -> str:
    """A token with 256 random bits. `prefix` lets people, and scanners for leaked secrets, see what it is for."""
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is kept of a token. It is random, so nothing slower is needed, and looking it up tells nothing of it."""
    return hashlib.sha256(token.encode()).hexdigest()
