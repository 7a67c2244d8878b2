"""Conditions as text: those that depend on the present instant are built each time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.runs.waits.inbox import LISTINGS
from db.sql.clause_text import ClauseTexts, clause_text
from domain.runs.input_request_filter import InputRequestFilter
from tests.conftest import Dialect
from tests.support.clock import FakeClock

_LISTING = LISTINGS[True]
MOVING: list[dict[str, Any]] = [
    {"created_within": "PT1H"},
    # On the last days of March, a month before is the last day of February each time.
    {"created_within": "P1M"},
    {"created_within": "P1Y2M"},
    {"older_than": "P1M"},
    {"expires_within": "P1M"},
    # At first the fixed bound is the narrower one.
    {"created_within": "P30D", "created_after": datetime(2026, 3, 30, tzinfo=UTC)},
    {
        "expires_within": "P1Y",
        "expires_after": datetime(2026, 4, 2, tzinfo=UTC),
        "expires_before": datetime(2026, 6, 1, tzinfo=UTC),
    },
]


@pytest.mark.parametrize("values", MOVING, ids=str)
def test_condition_follows_the_present_instant(dialect: Dialect, fake_clock: FakeClock, values: dict[str, Any]) -> None:
    where, texts = InputRequestFilter(**values), ClauseTexts(10)
    fake_clock.block((datetime(2026, 3, 31, 12, tzinfo=UTC) - fake_clock.now()).total_seconds())
    for _ in range(3):
        now = fake_clock.now()
        text = texts.of(where, lambda now: _LISTING.matches(where, now), dialect)
        assert text == clause_text(_LISTING.matches(where, now), dialect)
        fake_clock.block(timedelta(days=25).total_seconds())


def test_other_conditions_are_built_once(dialect: Dialect, fake_clock: FakeClock) -> None:
    where, texts = InputRequestFilter(created_after=fake_clock.now()), ClauseTexts(10)
    first = texts.of(where, lambda now: _LISTING.matches(where, now), dialect)
    fake_clock.block(timedelta(days=25).total_seconds())
    assert texts.of(where, lambda now: _LISTING.matches(where, now), dialect) is first
