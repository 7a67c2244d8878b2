"""Errors that are the same but for numbers, IDs and quoted values get the same fingerprint."""

import hashlib
import re

_VARYING = re.compile(
    r"""(?x)
    [0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}   # UUIDs, and with a prefix our IDs
    | '[^']*' | "[^"]*"
    | 0x[0-9a-f]+ | \d+
    """,
    re.IGNORECASE,
)
_LENGTH = 16


def fingerprint(step: str | None, code: str, message: str) -> str:
    """16 hex digits for an error with `code` and `message`, in a step or in none."""
    normal = _VARYING.sub("*", message[:2_000])
    return hashlib.sha256(f"{step}\n{code}\n{normal}".encode(errors="replace")).hexdigest()[:_LENGTH]
