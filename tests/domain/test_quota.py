"""Periods of quotas, aligned to UTC."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.quota import QuotaPeriod


def at(year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "began_at", "ends_at"),
    [
        (QuotaPeriod.HOUR, at(2028, 2, 29, 23), at(2028, 3, 1)),
        (QuotaPeriod.DAY, at(2028, 2, 29), at(2028, 3, 1)),
        (QuotaPeriod.MONTH, at(2028, 2, 1), at(2028, 3, 1)),
    ],
)
def test_period_around_an_instant(period: QuotaPeriod, began_at: datetime, ends_at: datetime) -> None:
    instant = at(2028, 3, 1) - timedelta(microseconds=1)
    assert period.began_at(instant) == began_at == period.began_at(began_at)
    assert period.ends_at(instant) == ends_at
    assert period.began_at(ends_at) == ends_at


def test_the_last_month_of_a_year_ends_with_it() -> None:
    assert QuotaPeriod.MONTH.ends_at(at(2026, 12, 1)) == at(2027, 1, 1)
