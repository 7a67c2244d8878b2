"""Statistics over runs."""

from datetime import datetime

from domain.errors import InvalidArgumentError
from domain.time import iso_duration, time_buckets
from domain.time.cron import get_zone
from domain.time.time_buckets import BucketSize
from live.stats_feed import Statistics

MAX_FAILING_STEPS = 100
"""Largest number of failing steps in one response."""
MAX_ERRORS = 20
"""Largest number of errors of one failing step in one response."""
MAX_GROUPS = 100
"""Largest number of groups in one response."""
DEFAULT_GROUPS = 20
"""Number of groups, unless the client gives `first`."""
DEFAULT_FAILING_STEPS = 10
"""Number of failing steps, unless the client gives `first`."""
DEFAULT_ERRORS = 5
"""Number of errors of one failing step, unless the client gives `first`."""


def bucket_bounds(
    statistics: Statistics,
    size: BucketSize,
    since: datetime | None,
    until: datetime | None,
    zone: str,
    name: str = "timeBuckets",
) -> tuple[datetime, ...]:
    """Returns the starts of time buckets, and the end of the last one.

    The buckets reach from `since` to `until`; by default from the start of the filter's range of times to its end, or
    to now.

    Raises:
        InvalidArgumentError: the time zone does not exist, or there would be too many buckets or none.
    """
    where = statistics.filter
    within = where.created_within and iso_duration.parse(where.created_within).before(statistics.now)
    start, end = since or where.created_after or within or None, until or where.created_before or statistics.now
    try:
        return tuple(time_buckets.bounds(size, get_zone(zone), start, end))
    except ValueError as error:
        raise InvalidArgumentError(f"`{name}`: {error}") from None


def checked_size(name: str, value: int, maximum: int) -> int:
    """Returns `value`, the argument `name`.

    Raises:
        InvalidArgumentError: it is not between 1 and `maximum`.
    """
    if not 1 <= value <= maximum:
        raise InvalidArgumentError(f"`{name}` must be from 1 to {maximum}, got {value}.")
    return value
