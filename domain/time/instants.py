"""Instants as text: reads the forms that people and programs write, and writes UTC."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

_END_OF_DAY = re.compile(r"(?<=[T ])24(?=$|(:?00){1,2}([.,]0+)?($|[Z+-]))")
_LEAP_SECOND = re.compile(r"(?<=[T ]\d\d:\d\d:)60(?=$|[.,Z+-])|(?<=[T ]\d\d\d\d)60(?=$|[.,Z+-])")
_BEYOND_THE_CLOCK = ((_END_OF_DAY, "00", timedelta(days=1)), (_LEAP_SECOND, "59", timedelta(seconds=1)))
"""Texts that ISO 8601 and RFC 3339 allow and `datetime` does not: the replacement, and the time to add."""


def parse(text: str, zone: tzinfo = UTC) -> datetime:
    """Returns the instant that `text` names in ISO 8601 or RFC 3339. Without an offset, it is a local time of `zone`.

    Raises:
        ValueError: `text` is not an instant.
        OverflowError: the instant is beyond the year 9999.
    """
    text, later = text.strip().upper(), timedelta()
    for pattern, replacement, difference in _BEYOND_THE_CLOCK:
        text, matches = pattern.subn(replacement, text)
        later += matches * difference
    instant = datetime.fromisoformat(text) + later
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def text(instant: datetime) -> str:
    """Returns `instant` in UTC, in its shortest form: `2026-01-31T12:00:00Z`."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
