"""JSON as the service keeps it: text, written once, bounded in size, and passed on to clients as it is."""

from typing import Any

import orjson

from domain.errors import InputTooLargeError, InvalidArgumentError

KIB = 1024

MAX_INPUT_BYTES = 1024 * KIB
"""A run's input, and each step's rendered input and output: large data belongs in a file or behind a URL."""
MAX_METADATA_BYTES = 64 * KIB
"""Metadata is searched, and read with lists of runs."""
MAX_DEFINITION_BYTES = 512 * KIB
"""A flow definition."""


def encode(value: Any, *, limit: int, what: str) -> str:
    """`value` as JSON text; what is no number (NaN) and what has no end (infinity) become null, as in JavaScript.

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
    """The value behind JSON text that `encode` wrote; None for None."""
    return None if text is None else orjson.loads(text)
