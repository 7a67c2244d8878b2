"""Cron schedules in a time zone, with daylight saving time.

A schedule for certain hours (`30 2 * * *`) follows the wall clock: a local time that occurs twice counts once, the
first time, and a local time that is skipped counts at the instant of the change. A schedule for every hour
(`*/15 * * * *`) follows elapsed time: it has no gap when an hour occurs twice.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from domain.time import cron_syntax

_FIELDS = len(cron_syntax.RULES)
_HOUR = cron_syntax.RULES.index(cron_syntax.HOUR)
_EVERY_HOUR = frozenset(range(24))
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


class CronSchedule:
    """The fire times of a cron expression in a time zone."""

    def __init__(self, cron: str, zone: tzinfo) -> None:
        """Parses `cron`: minute, hour, day of month, month and day of week, or an alias such as `@hourly`.

        Raises:
            ValueError: `cron` is not a cron expression; the message says why, and what to write instead.
        """
        is_short = len(cron) <= cron_syntax.MAX_LENGTH
        fields = cron_syntax.fields_of(cron)
        try:
            # The library would accept a sixth field.
            expression = CronSim(" ".join(fields), _ANY_TIME) if is_short and len(fields) == _FIELDS else None
        except (CronSimError, AssertionError):
            expression = None
        if expression is None:
            raise ValueError(cron_syntax.problem(cron) or "The expression never fires: no such day exists.")
        self._by_elapsed_time = expression.hours == _EVERY_HOUR
        if self._by_elapsed_time:
            # There are several ways to write every hour: the library recognises only `*` as elapsed time.
            fields[_HOUR] = "*"
        self._expression = " ".join(fields)
        self._zone = zone

    def after(self, instant: datetime) -> datetime | None:
        """Returns the first fire time after `instant`; None if there is none in the next 50 years."""
        local = instant.astimezone(self._zone)
        start = local if self._by_elapsed_time else _wall_time(local)
        fire_times = (self._instant(match) for match in _matches(self._expression, start))
        # In the second pass of an hour that occurs twice, all its local times have already occurred.
        return next((at for at in fire_times if at > instant), None)

    def until(self, instant: datetime) -> Iterator[datetime]:
        """Yields the fire times up to `instant`, latest first."""
        local = instant.astimezone(self._zone)
        # In the second pass of an hour that occurs twice, all its local times have occurred, even those still ahead.
        start = local if self._by_elapsed_time else _wall_time(local) + _repeated_time(local)
        previous = None
        for match in _matches(self._expression, start.replace(microsecond=0) + _SECOND, reverse=True):
            at = self._instant(match)
            if at <= instant and at != previous:
                previous = at
                yield at

    def _instant(self, match: datetime) -> datetime:
        local = match if match.tzinfo else match.replace(tzinfo=self._zone)
        while _is_skipped(local):
            local += _MINUTE
        return local.astimezone(UTC)


@cache
def get_zone(name: str) -> tzinfo:
    """Returns the IANA time zone `name`, such as `Europe/Berlin`.

    Raises:
        ValueError: no time zone has that name.
    """
    if name not in _zone_names():
        same = next((zone for zone in _zone_names() if zone.casefold() == name.casefold()), None)
        hint = f"Write `{same}`." if same else "Write an IANA name, such as `Europe/Berlin` or `UTC`."
        raise ValueError(f"No time zone has this name. {hint}")
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    # `localtime` is a different zone on each machine.
    return frozenset(available_timezones() - {"localtime"})


def _matches(expression: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """Yields the matching times after `start`, or before it. Without a zone, time changes are ignored."""
    try:
        yield from CronSim(expression, start, reverse=reverse)
    except OverflowError:
        return  # the end or the beginning of the calendar


def _wall_time(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)


def _repeated_time(local: datetime) -> timedelta:
    """Returns the length of the repeated wall time if `local` is in its second pass, else 0."""
    first, current = local.replace(fold=0).utcoffset(), local.utcoffset()
    assert first is not None
    assert current is not None
    return max(first - current, timedelta())


def _is_skipped(local: datetime) -> bool:
    return _wall_time(local) != _wall_time(local.astimezone(UTC).astimezone(local.tzinfo))
