"""Statistics over runs."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

from domain import time_buckets
from domain.cron import get_zone
from domain.errors import InvalidArgumentError
from domain.run_filter import RunFilter
from domain.time_buckets import BucketSize
from live.hub import HubError
from live.stats_feed import Statistics
from resolvers.context import Context
from resolvers.subscriptions import to_client_errors

MAX_FAILING_STEPS = 100
"""Failing steps in one response."""
MAX_ERRORS = 20
"""Errors of one failing step in one response."""
DEFAULT_FAILING_STEPS = 10
"""Failing steps, unless the client gives `first`."""
DEFAULT_ERRORS = 5
"""Errors of one failing step, unless the client gives `first`."""


async def changing(context: Context, wanted: RunFilter) -> AsyncGenerator[Statistics, None]:
    """The statistics over the runs that `wanted`, a scoped filter, means; again when they may have changed.

    Raises:
        ServiceStoppingError: the process stops.
    """
    assert context.stats is not None  # it is there wherever subscriptions are executed
    try:
        async with aclosing(context.stats.follow(wanted)) as changes:
            async for statistics in changes:
                yield statistics
    except HubError as error:
        raise to_client_errors(error) from error


def bucket_bounds(
    statistics: Statistics, size: BucketSize, since: datetime | None, until: datetime | None, zone: str
) -> tuple[datetime, ...]:
    """Returns the starts of time buckets, and the end of the last one.

    The buckets reach from `since` to `until`; by default from where the filter begins to where it ends, or to now.

    Raises:
        InvalidArgumentError: there is no such time zone, or there would be too many buckets or none.
    """
    start, end = since or statistics.wanted.created_after, until or statistics.wanted.created_before or statistics.now
    try:
        return tuple(time_buckets.bounds(size, get_zone(zone), start, end))
    except ValueError as error:
        raise InvalidArgumentError(f"`timeBuckets`: {error}") from None


def checked_size(name: str, value: int, maximum: int) -> int:
    """Returns `value`, the argument `name`.

    Raises:
        InvalidArgumentError: it is not between 1 and `maximum`.
    """
    if not 1 <= value <= maximum:
        raise InvalidArgumentError(f"`{name}` must be from 1 to {maximum}, got {value}.")
    return value
