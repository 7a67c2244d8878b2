"""Cron schedules in a time zone, also where clocks are set forward and back.

A schedule for certain hours (`30 2 * * *`) goes by the wall clock: each local time counts once, the first time it is
shown, and one that is skipped counts at the instant at which the clocks are set. A schedule for every hour
(`*/15 * * * *`) goes by elapsed time: it has no gap when an hour is shown twice.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

MAX_LENGTH = 200
"""Characters of a cron expression."""
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = 5
_HOUR = 1
_EVERY_HOUR = frozenset(range(24))
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


class CronSchedule:
    """The instants meant by a cron expression in a time zone."""

    def __init__(self, cron: str, zone: tzinfo) -> None:
        """Read `cron`: minute, hour, day of month, month and day of week, or an alias such as `@hourly`.

        Raises:
            ValueError: it is no cron expression; the message says why.
        """
        fields = ALIASES.get(cron.strip().lower(), cron).split()
        if len(cron) > MAX_LENGTH or len(fields) != _FIELDS:
            raise ValueError(f"Expected five fields or one of {', '.join(ALIASES)}.")
        try:
            self._by_elapsed_time = CronSim(" ".join(fields), _ANY_TIME).hours == _EVERY_HOUR
        except CronSimError as error:
            raise ValueError(f"{error}.") from None
        if self._by_elapsed_time:
            # However it is written: the library takes `*` alone for elapsed time.
            fields[_HOUR] = "*"
        self._expression = " ".join(fields)
        self._zone = zone

    def after(self, instant: datetime) -> datetime | None:
        """The first fire time later than `instant`; None when there is none in the next 50 years."""
        local = instant.astimezone(self._zone)
        start = local if self._by_elapsed_time else _wall(local)
        fires = (self._instant(each) for each in _matches(self._expression, start))
        # Of an hour that is shown twice, all local times were first shown before the second hour.
        return next((each for each in fires if each > instant), None)

    def until(self, instant: datetime) -> Iterator[datetime]:
        """The fire times not later than `instant`, the latest first."""
        local = instant.astimezone(self._zone)
        # The local times of an hour that is shown again now came before, even those the clock will yet show.
        start = local if self._by_elapsed_time else _wall(local) + _shown_again(local)
        earlier = None
        for match in _matches(self._expression, start.replace(microsecond=0) + _SECOND, reverse=True):
            fire = self._instant(match)
            if fire <= instant and fire != earlier:
                earlier = fire
                yield fire

    def _instant(self, match: datetime) -> datetime:
        local = match if match.tzinfo else match.replace(tzinfo=self._zone)
        while _is_skipped(local):
            local += _MINUTE
        return local.astimezone(UTC)


@cache
def get_zone(name: str) -> tzinfo:
    """The IANA time zone `name`, such as `Europe/Berlin`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _zone_names():
        raise ValueError("There is no such time zone.")
    return ZoneInfo(name)


@cache
def _zone_names() -> frozenset[str]:
    # `localtime` is another zone on each machine.
    return frozenset(available_timezones() - {"localtime"})


def _matches(expression: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """The times that match after `start`, or before it; without a zone, as if clocks were never changed."""
    try:
        yield from CronSim(expression, start, reverse=reverse)
    except OverflowError:
        return  # the end, or the beginning, of the calendar


def _wall(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)


def _shown_again(local: datetime) -> timedelta:
    first, again = local.replace(fold=0).utcoffset(), local.utcoffset()
    assert first is not None
    assert again is not None
    return max(first - again, timedelta())


def _is_skipped(local: datetime) -> bool:
    return _wall(local) != _wall(local.astimezone(UTC).astimezone(local.tzinfo))
