"""Encodes JSON values as text of limited size, which is stored and sent to clients unchanged."""

from typing import Any

import orjson

from domain.errors import InputTooLargeError, InvalidArgumentError

KIB = 1024

MAX_INPUT_BYTES = 1024 * KIB
"""Bytes of a run's input, and of each step's rendered input and output. Larger data belongs in files."""
MAX_METADATA_BYTES = 64 * KIB
"""Bytes of metadata, which are searched and read with lists of runs."""
MAX_DEFINITION_BYTES = 512 * KIB
"""Bytes of a flow definition."""


def encode(value: Any, *, limit: int, what: str) -> str:
    """Returns `value` as JSON text. NaN and infinity become null, as in JavaScript.

    Raises:
        InputTooLargeError: the text is longer than `limit` bytes.
        InvalidArgumentError: `value` is not JSON: of another type, nested too deeply, or a whole number beyond 64 bits.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError) as error:
        raise InvalidArgumentError(f"The {what} is not JSON: {error}") from None
    if len(text) > limit:
        raise InputTooLargeError(f"The {what} has {len(text):,} bytes of JSON; at most {limit:,} are allowed.")
    return text.decode()


def decode(text: str | None) -> Any:
    """Returns the value of JSON text that `encode` wrote; None for None."""
    return None if text is None else orjson.loads(text)
