"""Fingerprints of errors. Errors that differ only in numbers, IDs and quoted values have the same one."""

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
    """Returns 16 hex digits that identify an error of a step, or of a run without a failed step."""
    normal = _VARYING.sub("*", message[:2_000])
    return hashlib.sha256(f"{step}\n{code}\n{normal}".encode(errors="replace")).hexdigest()[:_LENGTH]
