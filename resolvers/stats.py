"""Statistics over runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from db.runs import stats
from db.runs.stats import Durations, Failure
from db.sql.rows import AnyRow
from domain import time_buckets
from domain.cron import get_zone
from domain.errors import InvalidArgumentError
from domain.run_filter import RunFilter
from domain.time_buckets import BucketSize
from live.stats_feed import Statistics
from resolvers.context import Context

MAX_FAILURES = 100
"""Failing steps in one answer."""
MAX_ERRORS = 20
"""Errors of each of them."""
FIRST_FAILURES = 10
"""Failing steps, unless told otherwise."""
FIRST_ERRORS = 5
"""Errors of each of them, unless told otherwise."""


def of_runs(context: Context, wanted: RunFilter) -> Statistics:
    """The statistics over the runs that `wanted`, a scoped filter, means now."""
    return Statistics(context.database, wanted)


async def counts(of: Statistics) -> Mapping[str, int]:
    """How many runs have each status that one has."""
    return await of.part(stats.counts)


async def durations(of: Statistics) -> Durations | None:
    """How long the runs took that have ended; None when none has."""
    return await of.part(stats.durations)


def bounds(
    of: Statistics, size: BucketSize, since: datetime | None, until: datetime | None, zone: str
) -> tuple[datetime, ...]:
    """Where buckets of time begin, and last where the last one ends.

    They reach from `since` to `until`; by default as far as the filter does, or up to now.

    Raises:
        InvalidArgumentError: there is no such zone, or there are too many buckets or none.
    """
    try:
        found = time_buckets.bounds(
            size, get_zone(zone), since or of.filter.created_after, until or of.filter.created_before or of.now
        )
    except ValueError as error:
        raise InvalidArgumentError(f"`timeBuckets`: {error}") from None
    return tuple(found)


async def counts_by_time(of: Statistics, edges: tuple[datetime, ...]) -> Mapping[tuple[int, str], int]:
    """How many runs of each status were created between two of `edges`, by the number of the first."""
    return await of.part(stats.counts_by_time, edges)


async def failures(of: Statistics, first: int) -> Sequence[AnyRow]:
    """The steps at which most runs failed.

    Raises:
        InvalidArgumentError: `first` is out of range.
    """
    return await of.part(stats.failures, _within("first", first, MAX_FAILURES))


async def errors(of: Statistics, failing: tuple[Failure, ...], first: int) -> Mapping[Failure, Sequence[AnyRow]]:
    """Of each of these failing steps the errors that most runs ended with.

    Raises:
        InvalidArgumentError: `first` is out of range.
    """
    return await of.part(stats.errors_by_failures, failing, _within("first", first, MAX_ERRORS))


def _within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidArgumentError(f"`{name}` must be from 1 to {most}, got {value}.")
    return value
