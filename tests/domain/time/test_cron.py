"""Fire times, above all where clocks are set forward and back."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.time.cron import CronSchedule, get_zone
from domain.time.cron_syntax import ALIASES

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
# Clocks are set: Berlin 2026-03-29 02:00 → 03:00 and 2026-10-25 03:00 → 02:00;
# New York 2026-03-08 02:00 → 03:00 and 2026-11-01 02:00 → 01:00.


def fires(cron: str, zone: str, since: str, count: int) -> list[str]:
    """The first fire times after the local time `since`, as local times with their offset."""
    time_zone = get_zone(zone)
    schedule = CronSchedule(cron, time_zone)
    at: datetime | None = datetime.fromisoformat(since).replace(tzinfo=time_zone)
    fired = []
    for _ in range(count):
        assert at is not None
        at = schedule.after(at)
        assert at is not None
        fired.append(at.astimezone(time_zone).isoformat(timespec="minutes")[5:])
    return fired


@pytest.mark.parametrize(
    ("cron", "since", "expected"),
    [
        ("*/20 * * * *", "2026-01-01T00:00", ["01-01T00:20", "01-01T00:40", "01-01T01:00"]),
        ("0 9 * * 1-5", "2026-01-02T09:00", ["01-05T09:00", "01-06T09:00"]),
        ("0 9 * * MON", "2026-01-01T00:00", ["01-05T09:00", "01-12T09:00"]),
        ("0 0 31 * *", "2026-01-01T00:00", ["01-31T00:00", "03-31T00:00"]),
        ("0 0 L * *", "2026-02-01T00:00", ["02-28T00:00", "03-31T00:00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29T00:00"]),
        ("0 0 13 * 5", "2026-02-01T00:00", ["02-06T00:00", "02-13T00:00", "02-20T00:00"]),
        ("59 23 31 DEC *", "2026-01-01T00:00", ["12-31T23:59"]),
        ("@hourly", "2026-01-01T00:30", ["01-01T01:00", "01-01T02:00"]),
        ("@weekly", "2026-01-01T00:00", ["01-04T00:00"]),
        ("@yearly", "2026-01-01T00:00", ["01-01T00:00"]),
        ("  @Daily ", "2026-01-01T00:00", ["01-02T00:00"]),
    ],
)
def test_fields_follow_cron(cron: str, since: str, expected: list[str]) -> None:
    assert [fired.removesuffix("+00:00") for fired in fires(cron, "UTC", since, len(expected))] == expected


@pytest.mark.parametrize(
    ("cron", "zone", "since", "expected"),
    [
        # A local time that is skipped: once, at the instant at which the clocks are set.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:30+02:00"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00", ["03-08T03:00-04:00", "03-09T02:30-04:00"]),
        ("*/20 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        ("0 */2 * * *", BERLIN, "2026-03-28T22:30", ["03-29T00:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03T12:00", ["10-04T02:30+11:00", "10-05T02:15+11:00"]),
        # A local time that is shown twice: once, the first time.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25T02:30+02:00", "10-26T02:30+01:00"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00", ["11-01T01:30-04:00", "11-02T01:30-05:00"]),
        ("0,30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25T02:00+02:00", "10-25T02:30+02:00", "10-26T02:00+01:00"]),
        ("0 2-3 * * *", BERLIN, "2026-10-24T12:00", ["10-25T02:00+02:00", "10-25T03:00+01:00"]),
        ("0 */2 * * *", BERLIN, "2026-10-24T23:30", ["10-25T00:00+02:00", "10-25T02:00+02:00", "10-25T04:00+01:00"]),
        # Every hour: by elapsed time, with no gap and nothing doubled.
        ("0 * * * *", BERLIN, "2026-03-29T00:30", ["03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"]),
        ("0 * * * *", BERLIN, "2026-10-25T01:30", ["10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00"]),
        ("@hourly", NEW_YORK, "2026-11-01T00:30", ["11-01T01:00-04:00", "11-01T01:00-05:00", "11-01T02:00-05:00"]),
        ("*/30 0-23 * * *", NEW_YORK, "2026-11-01T01:00", ["11-01T01:30-04:00", "11-01T01:00-05:00"]),
        # Other local times on the same days are not affected.
        ("0 9 * * *", BERLIN, "2026-03-28T12:00", ["03-29T09:00+02:00", "03-30T09:00+02:00"]),
        ("0 9 * * *", NEW_YORK, "2026-10-31T12:00", ["11-01T09:00-05:00", "11-02T09:00-05:00"]),
        ("@daily", BERLIN, "2026-10-24T12:00", ["10-25T00:00+02:00", "10-26T00:00+01:00"]),
    ],
)
def test_time_changes(cron: str, zone: str, since: str, expected: list[str]) -> None:
    assert fires(cron, zone, since, len(expected)) == expected


def test_nothing_fires_again_in_a_repeated_hour() -> None:
    again = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Berlin, for the second time
    schedule = CronSchedule("30 2 * * *", get_zone(BERLIN))
    assert schedule.after(again) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert next(schedule.until(again)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


_ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "UTC", "Asia/Kolkata", "America/Havana", "Pacific/Apia"])
_CRONS = st.sampled_from(
    ["30 2 * * *", "0 * * * *", "*/15 * * * *", "*/20 0-3 * * *", "0 */2 * * *", "0 0 * * *", "59 23 * * 1-5"]
)
_INSTANTS = st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=60, deadline=None)
@given(cron=_CRONS, zone=_ZONES, since=_INSTANTS)
def test_fire_times_are_the_same_backward_and_forward(cron: str, zone: str, since: datetime) -> None:
    schedule = CronSchedule(cron, get_zone(zone))
    forward: list[datetime] = []
    at = schedule.after(since)
    while at is not None and len(forward) < 100:
        forward.append(at)
        at = schedule.after(at)
    assert all(earlier < later for earlier, later in pairwise(forward))
    backward = list(takewhile(lambda at: at > since, schedule.until(forward[-1])))
    assert backward[::-1] == forward


def test_fire_time_belongs_to_until_and_not_to_after() -> None:
    schedule = CronSchedule("0 12 * * *", get_zone("UTC"))
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    day, instant = timedelta(days=1), timedelta(microseconds=1)
    assert list(islice(schedule.until(noon), 2)) == [noon, noon - day]
    assert next(schedule.until(noon + instant)) == noon
    assert next(schedule.until(noon - instant)) == noon - day
    assert schedule.after(noon) == noon + day
    assert schedule.after(noon - instant) == noon


@pytest.mark.parametrize("cron", ["0 0 29 2 MON#5", "0 0 */29 2 1#5"])
def test_schedule_that_never_fires_returns_none(cron: str) -> None:
    at = CronSchedule(cron, get_zone("UTC")).after(datetime(2026, 1, 1, tzinfo=UTC))
    assert at is None or at.month == 2


def test_end_of_the_calendar() -> None:
    assert CronSchedule("@yearly", get_zone("UTC")).after(datetime(9999, 6, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "0 0 31 2 *",
        "0 0 31 4,6 *",
        "@reboot",
        "@",
        "٣ * * * *",
        "1," * 200 + "1 * * * *",
    ],
)
def test_invalid_expressions_are_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"\."):
        CronSchedule(cron, get_zone("UTC"))


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_fire(alias: str) -> None:
    assert CronSchedule(alias, get_zone("UTC")).after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "Europe", "europe/berlin", "../../etc/passwd", "localtime", "\0"])
def test_unknown_time_zones_are_refused(name: str) -> None:
    hint = "Write `Europe/Berlin`." if name == "europe/berlin" else "Write an IANA name"
    with pytest.raises(ValueError, match=f"No time zone has this name. {hint}"):
        get_zone(name)
