"""Encodes JSON values as text of limited size, which is stored and sent to clients unchanged."""

import dataclasses
import json
import math
import re
from typing import Any

import orjson

from domain.errors import InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError

KIB = 1024

MAX_INPUT_BYTES = 1024 * KIB
"""Largest size in bytes of a run's input, and of each step's rendered input and output. Larger data belongs in
files."""
MAX_METADATA_BYTES = 64 * KIB
"""Largest size in bytes of metadata, which are searched and read with lists of runs."""
MAX_DEFINITION_BYTES = 512 * KIB
"""Largest size in bytes of a flow definition."""


MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""The range of whole numbers that are kept: 64 bits, signed or not. JSON readers change others silently."""

_MAX_DIGITS = len(str(MIN_INTEGER))
_MAX_EXACT_DIGITS = 100
"""Digits of the longest number beyond 64 bits that is read exactly. Python reads thousands of digits slowly."""
_MANY_DIGITS = re.compile(rb"(?:^|[-:,\[\s])[0-9]{19}")
"""Matches the numbers that can be beyond 64 bits. In text, such as an ID, other characters precede the digits."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of the character U+0000 in JSON text. After an odd number of backslashes, `u0000` is plain text."""


def encode(value: Any, *, limit: int, what: str) -> str:
    """Returns `value` as JSON text.

    NaN and infinity, which only Python code can make, become null; `has_non_finite` finds them.

    Raises:
        InputTooLargeError: the text is longer than `limit` bytes.
        NumberOutOfRangeError: `value` has a whole number beyond 64 bits.
        InvalidArgumentError: `value` is not JSON: of another type, or nested too deeply.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError) as error:
        if "64-bit" in str(error):
            raise NumberOutOfRangeError(f"The {what} has a whole number beyond 64 bits. Pass it as a string.") from None
        raise InvalidArgumentError(f"The {what} is not JSON: {error}") from None
    if len(text) > limit:
        raise InputTooLargeError(f"The {what} has {len(text):,} bytes of JSON; at most {limit:,} are allowed.")
    return text.decode()


def decode(text: str | None) -> Any:
    """Returns the value of JSON text that `encode` wrote; None for None."""
    return None if text is None else orjson.loads(text)


def is_same(one: str | None, other: str | None) -> bool:
    """Returns True if two JSON texts have the same value, whatever the order of keys."""
    return one == other or _ordered(decode(one)) == _ordered(decode(other))


def _ordered(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def parse(text: bytes) -> Any:
    """Returns the value of JSON text from outside of the service.

    Raises:
        NumberOutOfRangeError: it has a whole number beyond 64 bits, or a number beyond the range of floating-point
            numbers.
        JSONDecodeError: it is not JSON; the message says where.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "infinity" in error.msg:
            raise NumberOutOfRangeError from None
        raise
    if _MANY_DIGITS.search(text):
        # The fast parser silently turns whole numbers beyond 64 bits into floating-point numbers.
        try:
            json.loads(text, parse_int=_checked_integer)
        except RecursionError:
            raise json.JSONDecodeError("It is nested too deeply", text.decode(), 0) from None
    return value


def parse_out_of_range(text: bytes) -> Any:
    """Returns the value of JSON text for which `parse` raises NumberOutOfRangeError, so that the argument with the
    number can be refused: whole numbers are exact up to 100 digits; longer ones become infinity.

    Raises:
        JSONDecodeError: it is not JSON, which `parse` may not have noticed.
    """
    try:
        value = json.loads(text, parse_int=_exact_integer)
        # Python accepts halves of surrogate pairs, which no text can have.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise json.JSONDecodeError("It is nested too deeply", "", 0) from None
    except UnicodeEncodeError:
        raise json.JSONDecodeError("It has half of a surrogate pair", "", 0) from None
    return value


def _exact_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_EXACT_DIGITS else math.copysign(math.inf, -1 if digits[0] == "-" else 1)


def _checked_integer(digits: str) -> int:
    # The length is compared first: Python reads numbers of thousands of digits slowly, and refuses longer ones.
    if len(digits) > _MAX_DIGITS or not MIN_INTEGER <= int(digits) <= MAX_INTEGER:
        raise NumberOutOfRangeError
    return 0


def has_nul(text: str) -> bool:
    """Returns True if the JSON text has the character U+0000 in a string or key."""
    return "\\u0000" in text and _NUL.search(text) is not None


def has_non_finite(value: Any, text: str) -> bool:
    """Returns True if `value`, which `encode` wrote as `text`, contains NaN or an infinity."""
    return "null" in text and _has_non_finite(value)


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_non_finite, value))
    if dataclasses.is_dataclass(value):
        return any(_has_non_finite(getattr(value, field.name)) for field in dataclasses.fields(value))
    return False
