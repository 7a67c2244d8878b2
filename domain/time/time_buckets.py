"""Buckets of time: adjacent spans, as a chart over time needs them. Buckets of a day follow the calendar of a time
zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from domain.described_enum import DescribedEnum

MAX_BUCKETS = 1_000
"""Largest number of buckets in one chart."""
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class BucketSize(DescribedEnum):
    """The length of a bucket of time."""

    MINUTE = "MINUTE", "One minute."
    HOUR = "HOUR", "One hour."
    DAY = "DAY", "From midnight to midnight in the time zone: 23 or 25 hours where clocks are changed."


USUAL: dict[BucketSize, int] = {BucketSize.MINUTE: 60, BucketSize.HOUR: 24, BucketSize.DAY: 30}
"""Number of buckets in a chart without a given beginning."""
_LENGTHS = {BucketSize.MINUTE: timedelta(minutes=1), BucketSize.HOUR: timedelta(hours=1), BucketSize.DAY: _DAY}


def bounds(size: BucketSize, zone: tzinfo, since: datetime | None, until: datetime) -> list[datetime]:
    """Returns the start of every bucket that overlaps the time from `since` to `until`, and then the end of the last
    one.

    Without `since`, the number of buckets is `USUAL`.

    Raises:
        ValueError: there are no buckets, more than MAX_BUCKETS, or they leave the calendar; the message says which.
    """
    try:
        if since is None:
            since = until - _LENGTHS[size] * (USUAL[size] - 1) - _MICROSECOND
        if since >= until:
            raise ValueError("It ends before it begins.")
        if (until - since) // _LENGTHS[size] > MAX_BUCKETS:
            raise ValueError(f"It has more than {MAX_BUCKETS:,} buckets.")
        return _until(until, _days(since, zone) if size is BucketSize.DAY else _lengths(since, zone, _LENGTHS[size]))
    except OverflowError:
        raise ValueError("The time range is outside the supported calendar (years 1 to 9999).") from None


def _until(end: datetime, starts: Iterator[datetime]) -> list[datetime]:
    found = [next(starts)]
    while found[-1] < end:
        found.append(next(starts))
    if len(found) > MAX_BUCKETS + 1:
        raise ValueError(f"It has more than {MAX_BUCKETS:,} buckets.")
    return found


def _days(since: datetime, zone: tzinfo) -> Iterator[datetime]:
    midnight = since.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    while True:
        # If the clocks skip midnight, the result is the instant at which they are changed.
        yield midnight.replace(tzinfo=zone).astimezone(UTC)
        midnight += _DAY


def _lengths(since: datetime, zone: tzinfo, length: timedelta) -> Iterator[datetime]:
    local = since.astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond) % length
    start = since.astimezone(UTC) - past
    while True:
        yield start
        start += length
