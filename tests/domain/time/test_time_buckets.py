"""Buckets of time: aligned, without gaps, bounded, and as long as the calendar says."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from domain.time.cron import get_zone
from domain.time.time_buckets import MAX_BUCKETS, USUAL, BucketSize, bounds

NOW = datetime(2026, 5, 4, 10, 20, 30, 5, UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN, KOLKATA, CAIRO = (get_zone(name) for name in ("Europe/Berlin", "Asia/Kolkata", "Africa/Cairo"))


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("size", "first", "last"),
    [
        (BucketSize.MINUTE, at(2026, 5, 4, 9, 21), at(2026, 5, 4, 10, 21)),
        (BucketSize.HOUR, at(2026, 5, 3, 11), at(2026, 5, 4, 11)),
        (BucketSize.DAY, at(2026, 4, 5), at(2026, 5, 5)),
    ],
)
@pytest.mark.parametrize("until", [NOW, NOW.replace(microsecond=0, second=0)])
def test_without_a_beginning_there_are_as_many_as_usual_up_to_now(
    size: BucketSize, first: datetime, last: datetime, until: datetime
) -> None:
    found = bounds(size, UTC, None, until)
    expected = (first, last)
    if size is BucketSize.MINUTE and until != NOW:
        # At a bound nothing of the next bucket has been.
        expected = (first - timedelta(minutes=1), last - timedelta(minutes=1))
    assert (found[0], found[-1]) == expected
    assert len(found) == USUAL[size] + 1


def test_the_first_and_the_last_are_whole() -> None:
    assert bounds(BucketSize.HOUR, UTC, at(2026, 1, 1, 5, 59), at(2026, 1, 1, 7, 1)) == [
        at(2026, 1, 1, hour) for hour in (5, 6, 7, 8)
    ]
    assert bounds(BucketSize.HOUR, UTC, at(2026, 1, 1, 5), at(2026, 1, 1, 6)) == [at(2026, 1, 1, 5), at(2026, 1, 1, 6)]


@pytest.mark.parametrize(
    ("zone", "since", "until", "lengths"),
    [
        (BERLIN, at(2026, 3, 28), at(2026, 3, 30), [24, 23, 24]),
        (BERLIN, at(2026, 10, 24), at(2026, 10, 26), [24, 25, 24]),
        (KOLKATA, at(2026, 3, 28), at(2026, 3, 29), [24, 24]),
        # Clocks go from 24:00 to 01:00: the day begins when they are set.
        (CAIRO, at(2026, 4, 23), at(2026, 4, 25), [24, 23, 24]),
    ],
)
def test_day_follows_the_time_zone(zone: Any, since: datetime, until: datetime, lengths: list[int]) -> None:
    found = bounds(BucketSize.DAY, zone, since, until)
    assert [(end - start) / HOUR for start, end in pairwise(found)] == lengths
    for start in found:
        before = start - timedelta(microseconds=1)
        assert start.astimezone(zone).date() - before.astimezone(zone).date() == DAY


def test_hour_begins_at_the_full_hour_of_the_zone() -> None:
    found = bounds(BucketSize.HOUR, KOLKATA, at(2026, 1, 1, 5), at(2026, 1, 1, 6))
    assert found == [at(2026, 1, 1, 4, 30), at(2026, 1, 1, 5, 30), at(2026, 1, 1, 6, 30)]
    assert bounds(BucketSize.MINUTE, KOLKATA, NOW, NOW + timedelta(seconds=1))[0] == at(2026, 5, 4, 10, 20)


@pytest.mark.parametrize("size", BucketSize)
def test_there_are_at_most_so_many(size: BucketSize) -> None:
    length = {BucketSize.MINUTE: HOUR / 60, BucketSize.HOUR: HOUR, BucketSize.DAY: DAY}[size]
    since = at(2026, 1, 1)
    assert len(bounds(size, UTC, since, since + MAX_BUCKETS * length)) == MAX_BUCKETS + 1
    for more in (timedelta(microseconds=1), length, 10**6 * length if size is not BucketSize.DAY else length):
        with pytest.raises(ValueError, match="1,000"):
            bounds(size, UTC, since, since + MAX_BUCKETS * length + more)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        (NOW, NOW, "before it begins"),
        (NOW, NOW - DAY, "before it begins"),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), "1,000"),
        (datetime.min.replace(tzinfo=UTC), at(1, 1, 2), "calendar"),
        (at(9999, 12, 31), datetime.max.replace(tzinfo=UTC), "calendar"),
        (None, datetime.min.replace(tzinfo=UTC), "calendar"),
    ],
)
def test_impossible_buckets_are_refused(since: datetime | None, until: datetime, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        bounds(BucketSize.DAY, get_zone("America/New_York"), since, until)
