"""Checks values from clients."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from domain import json_codec
from domain.errors import InvalidArgumentError, NumberOutOfRangeError
from domain.time import clock, iso_duration

MAX_TAGS = 50
"""Largest number of tags of a run."""
MAX_TEXT_LENGTH = 200
"""Largest number of characters of a tag, a name or an external ID."""


def encode_input(value: Any) -> str:
    """Returns the JSON text of a run's input.

    Raises:
        InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError.
    """
    return encode(value, limit=json_codec.MAX_INPUT_BYTES, what="input")


def encode(value: Any, *, limit: int, what: str) -> str:
    """Returns the JSON text of a value that a client gave.

    Raises:
        InputTooLargeError, InvalidArgumentError.
        NumberOutOfRangeError: it has a number that cannot be kept.
    """
    text = json_codec.encode(value, limit=limit, what=what)
    if json_codec.has_non_finite(value, text):
        raise NumberOutOfRangeError(f"The {what} has a number that is too large for JSON clients.")
    return text


def encode_metadata(value: Any) -> str:
    """Returns the JSON text of a run's metadata.

    Raises:
        InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError.
    """
    if not isinstance(value, dict):
        raise InvalidArgumentError("`metadata` must be a JSON object.")
    metadata = encode(value, limit=json_codec.MAX_METADATA_BYTES, what="metadata")
    if json_codec.has_nul(metadata):
        raise InvalidArgumentError("`metadata` must not contain the character U+0000.")
    return metadata


def check_tags(tags: Sequence[str]) -> list[str]:
    """Returns a run's tags without duplicates.

    Raises:
        InvalidArgumentError: there are too many tags, or one of them cannot be stored.
    """
    different = dict.fromkeys(tags)
    if len(different) > MAX_TAGS:
        raise InvalidArgumentError(f"`tags` must have at most {MAX_TAGS} different values, got {len(different)}.")
    return [check_text("tags", tag) for tag in different]


def check_text(name: str, text: str) -> str:
    """Returns `text`, the value of the argument `name`.

    Raises:
        InvalidArgumentError: the text is empty, too long, or has a character that cannot be stored.
    """
    if not 1 <= len(text) <= MAX_TEXT_LENGTH or "\0" in text:
        raise InvalidArgumentError(f"`{name}` must have 1 to {MAX_TEXT_LENGTH} characters, none of them U+0000.")
    return text


def check_storable(name: str, text: str) -> None:
    """Checks that `text`, the value of the argument `name`, can be compared with stored texts.

    Raises:
        InvalidArgumentError: the text has a character that no stored text has.
    """
    if "\0" in text:
        raise InvalidArgumentError(f"`{name}` must not contain U+0000.")


def end_of(name: str, duration: str, start: datetime) -> datetime:
    """Returns the end of a duration that begins at `start`. `name` is the name of the argument.

    Raises:
        InvalidArgumentError: the text is not a duration, or its end is beyond the calendar.
    """
    try:
        return iso_duration.parse(duration).after(start)
    except ValueError as error:
        raise InvalidArgumentError(f"`{name}` {error}.") from None


def lifetime_end(duration: str, longest: timedelta) -> datetime:
    """Returns the end of a signed text's lifetime, which begins now. It has whole seconds, as a signed text has.

    Raises:
        InvalidArgumentError: the duration, which is the argument `expiresIn`, is invalid, zero, or longer than
            `longest`, which has whole days.
    """
    now = clock.now().replace(microsecond=0)
    end = end_of("expiresIn", duration, now)
    if not now < end <= now + longest:
        days = "one day" if longest.days == 1 else f"{longest.days} days"
        raise InvalidArgumentError(f"`expiresIn` must be longer than zero and at most {days}.")
    return end
