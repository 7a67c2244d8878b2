"""The filters for times: they parse, move, compare and format them.

A time is text in ISO 8601, as everywhere in the service. `date_parse` converts other texts and numbers to it; the other
filters accept the same values as `date_parse`. A text without an offset is a local time of `time_zone`.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from domain.time import instants
from domain.time.cron import get_zone
from engine.templates import operations
from engine.templates.meter import Meter, template_error, type_name
from engine.templates.operations import Operation

_MAX_FORMAT = 200
"""Largest number of characters of a format."""
_DIRECTIVES = re.compile(r"%[aAbBdeHIjmMpSfyYzZuVGUwWFTD%]|[^%]+")
"""The directives of a format. Others depend on the machine, or write text of unbounded width."""
_MONTHS_IN_YEAR = 12
_MAX_SHIFT = 10_000 * 366 * 86_400.0
"""Longest shift of a time, in seconds: longer shifts leave the calendar."""


def date_parse(meter: Meter, value: Any, format: str | None = None, time_zone: str = "UTC") -> str:  # noqa: A002
    """Returns a time in UTC. `value` is a text in ISO 8601, or in `format` if it is given, or seconds since 1970."""
    if format is None:
        return _written(_time(meter, value, time_zone))
    if not isinstance(value, str):
        raise template_error(f"A text is needed to parse a time in a format; this is {type_name(value)}")
    meter.work(len(value))
    try:
        parsed = datetime.strptime(meter.read(value), _checked(format))  # noqa: DTZ007 - the zone follows
    except ValueError:
        raise template_error(f"The text {value[:100]!r} is not a time in the format {format!r}") from None
    return _written(parsed if parsed.tzinfo else parsed.replace(tzinfo=_zone(time_zone)))


def date_add(
    meter: Meter,
    value: Any,
    years: int = 0,
    months: int = 0,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    time_zone: str = "UTC",
) -> str:
    """Returns a time that is later, or earlier for negative numbers.

    Years, months, weeks and days are calendar units in `time_zone`: a day after noon is noon, also when clocks change.
    The last day of a month stays within its month.
    """
    for amount in (years, months):
        if not isinstance(amount, int):
            raise template_error("Years and months must be whole numbers")
    for moved_by in (weeks, days, hours, minutes, seconds):
        if not operations.is_number(moved_by):
            raise template_error(f"A time is moved by numbers; this is {type_name(moved_by)}")
    elapsed = hours * 3_600.0 + minutes * 60.0 + seconds
    calendar_days = weeks * 7 + days
    if max(abs(elapsed), abs(calendar_days) * 86_400.0) > _MAX_SHIFT:
        raise _outside_calendar()
    try:
        local = _months_later(_time(meter, value, time_zone), years * _MONTHS_IN_YEAR + months)
        # Adding to a local time keeps the wall clock; adding to UTC counts elapsed time.
        moved = (local + timedelta(days=calendar_days)).astimezone(UTC) + timedelta(seconds=elapsed)
    except (ValueError, OverflowError):
        raise _outside_calendar() from None
    return _written(moved)


def date_format(meter: Meter, value: Any, format: str = "%Y-%m-%d", time_zone: str = "UTC") -> str:  # noqa: A002
    """Returns a time as text, with the directives of strftime: `date_format('%d.%m.%Y', 'Europe/Berlin')`."""
    return meter.made(_time(meter, value, time_zone).strftime(_checked(format)))


def date_zone(meter: Meter, value: Any, time_zone: str) -> str:
    """Returns a time in ISO 8601 with the local time and the offset of `time_zone`."""
    return meter.made(_time(meter, value, time_zone).isoformat())


def date_diff(meter: Meter, value: Any, other: Any, time_zone: str = "UTC") -> float:
    """Returns the seconds from `other` to the time: positive if the time is later."""
    return (_time(meter, value, time_zone) - _time(meter, other, time_zone)).total_seconds()


def timestamp(meter: Meter, value: Any, time_zone: str = "UTC") -> float:
    """Returns a time as seconds since 1970."""
    return _time(meter, value, time_zone).timestamp()


def _time(meter: Meter, value: Any, time_zone: str) -> datetime:
    """Returns the time `value` in `time_zone`; without an offset it is a local time there."""
    zone = _zone(time_zone)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise template_error(f"A time is needed here; this is {type_name(value)}")
    try:
        if isinstance(value, str):
            return instants.parse(meter.read(value), zone).astimezone(zone)
        return datetime.fromtimestamp(value, zone)
    except (ValueError, OverflowError, OSError):
        shown = repr(value[:100]) if isinstance(value, str) else str(value)
        raise template_error(f"{shown} is not a time in ISO 8601, such as 2026-01-31T12:00:00Z") from None


def _zone(name: Any) -> tzinfo:
    try:
        return get_zone(str(name))
    except ValueError:
        raise template_error(f"No time zone is called {str(name)[:100]!r}") from None


def _checked(format: Any) -> str:  # noqa: A002
    if not isinstance(format, str) or len(format) > _MAX_FORMAT:
        raise template_error(f"The format of a time is a text of at most {_MAX_FORMAT} characters")
    if "".join(_DIRECTIVES.findall(format)) != format:
        raise template_error(f"The format {format!r} has a directive that is not supported")
    return format


def _months_later(time: datetime, months: int) -> datetime:
    year, month = divmod(time.year * _MONTHS_IN_YEAR + time.month - 1 + months, _MONTHS_IN_YEAR)
    if not 1 <= year <= 9_999:
        raise _outside_calendar()
    last_day = calendar.monthrange(year, month + 1)[1]
    return time.replace(year=year, month=month + 1, day=min(time.day, last_day))


def _outside_calendar() -> Exception:
    return template_error("The time is outside the supported calendar (years 1 to 9999)")


def _written(time: datetime) -> str:
    return instants.text(time)


DATE_FILTERS: dict[str, Operation] = {
    "date_add": date_add,
    "date_diff": date_diff,
    "date_format": date_format,
    "date_parse": date_parse,
    "date_zone": date_zone,
    "timestamp": timestamp,
}
