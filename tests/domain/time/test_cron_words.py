"""Cron expressions of other dialects, and expressions in words."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.time.cron import CronSchedule, get_zone
from domain.time.cron_syntax import ALIASES, RULES, problem
from domain.time.cron_text import describe, warnings


@pytest.mark.parametrize(
    ("cron", "hint"),
    [
        ("0 0 ? * MON", "`*` instead of `?` in the day of month"),
        ("*/5 * * * * *", "no field for the second: write five fields, `* * * * *`"),
        ("0 0 12 * * ?", "`0 12 * * *`"),
        ("0 12 * * MON 2026", "year: write five fields, `0 12 * * MON`"),
        ("0 0 12 ? * MON *", "second and the year: write five fields, `0 12 * * MON`"),
        ("0 22-2 * * *", "wraps around: write `22-23,0-2`"),
        ("0 22-0 * * *", "write `22-23,0`"),
        ("0 0 * * FRI-MON", "write `FRI-SAT,SUN-MON`"),
        ("0 0 * * sat-sun", "write `sat,sun`"),
        ("0 0 * * 7-1", "write `0-1`"),
        ("0 0 * NOV-FEB *", "write `NOV-DEC,JAN-FEB`"),
        ("@every 5m", "`*/5 * * * *`"),
        ("@every 1h", "`0 * * * *`"),
        ("@every 24h", "`0 0 * * *`"),
        ("@every 90s", "once a minute"),
        ("@every 1h30m", "90 minutes do not"),
        ("rate(2 hours)", "`0 */2 * * *`"),
        ("cron(0 12 * * ? *)", "without `cron( )`"),
        ("@reboot", "@reboot"),
        ("@minutely", "`* * * * *`"),
        ("CRON_TZ=UTC 0 0 * * *", "`timeZone`: `UTC`; the expression is `0 0 * * *`"),
        ("TZ=Europe/Berlin 0 0 * * *", "`timeZone`: `Europe/Berlin`"),
        ("0 24 * * *", "0 to 23, and not 24. Midnight is 0"),
        ("60 * * * *", "0 to 59"),
        ("0 0 0 * *", "1 to 31"),
        ("0 0 * 13 *", "1 to 12"),
        ("0 0 * * 8", "0 to 7"),
        ("0 0 * * MONDAY", "Write `MON`"),
        ("0 0 * January *", "Write `JAN`"),
        ("0 0 * * Mo", "SUN, MON"),
        ("*/61 * * * *", "the same as `0`"),
        ("0 */25 * * *", "the same as `0`"),
        ("0 0 */32 * *", "the same as `1`"),
        ("0 0 * * */8", "the same as `0`"),
        ("10-20/30 * * * *", "the same as `10`"),
        ("*/0 * * * *", "from 1 to 60"),
        ("0 0 15W * *", "`LW`"),
        ("0 0 L-3 * *", "`L`"),
        ("0 0 5L * *", "`5L` is unknown in the day of month"),
        ("0 0 * * LW", "`LW` is unknown in the day of week"),
        ("0 0 * * L", "`6L`"),
        ("0 0 * * MONL", "`1L`"),
        ("0 0 * * MON#6", "`MON#5`"),
        ("0 0 L/2 * *", "without `/2`"),
        ("H/15 * * * *", "at random"),
        ("0~30 * * * *", "at random"),
        ("1,,2 * * * *", "remove the comma"),
        ("-5 * * * *", "empty value"),
        ("every 5 minutes", "five fields"),
        ("", "five fields"),
        ("1," * 100 + "1 * * * *", "200 characters"),
    ],
)
def test_message_says_what_to_write_instead(cron: str, hint: str) -> None:
    message = problem(cron)
    assert message is not None
    assert hint in message
    assert message.endswith(".")


@pytest.mark.parametrize("cron", ["*/61 * * * *", "0 */25 * * *", "0 0 * * */8"])
def test_stored_expressions_keep_firing(cron: str) -> None:
    assert CronSchedule(cron, get_zone("UTC")).after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("0 9 * * MON", "At 09:00, only on Monday"),
        ("@daily", "At 00:00"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/45 * * * *", "At 0 and 45 minutes past the hour"),
        ("0 9 1-7 * MON", "At 09:00, between day 1 and 7 of the month, or on Monday"),
        ("0 0 */2 * MON", "At 00:00, every 2 days, and only on Monday"),
        ("0 0 1 * */2", "At 00:00, on day 1 of the month, and only on Sunday, Tuesday, Thursday, and Saturday"),
        ("0 0 * * 1/2", "At 00:00, only on Monday, Wednesday, Friday, and Sunday"),
        ("0 9 * * MON#1", "At 09:00, on the first Monday of the month"),
        ("0 9 1 * MON#1", "At 09:00, on day 1 of the month; at 09:00, on the first Monday of the month"),
        ("0 9 1,L * *", "At 09:00, on day 1 of the month; at 09:00, on the last day of the month"),
    ],
)
def test_description(cron: str, text: str) -> None:
    assert describe(cron) == text


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 9 1-7 * MON", ["either the day of month (`1-7`) or the day of week (`MON`)"]),
        ("0 9 */2 * 1-5", ["must match", "begins again in each month: it is 1, 3, …, 31"]),
        ("*/45 * * * *", ["begins again in each hour: it is 0, 45"]),
        ("0 */5 * * *", ["begins again in each day: it is 0, 5, 10, 15, 20"]),
        ("*/15 */6 1 */3 *", []),
        ("0 9 * * MON-FRI", []),
        ("@weekly", []),
    ],
)
def test_warnings(cron: str, words: list[str]) -> None:
    found = warnings(cron)
    assert len(found) == len(words)
    assert all(word in warning for word, warning in zip(words, found, strict=True))


def _terms(index: int) -> st.SearchStrategy[str]:
    rule = RULES[index]
    value = st.integers(rule.first, rule.last)
    single = value.map(str)
    between = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.just("*") | single | between, st.integers(1, rule.size)).map("{0[0]}/{0[1]}".format)
    named = st.sampled_from(rule.names) if rule.names else st.nothing()
    special = {2: st.sampled_from(["L", "LW"]), 4: st.sampled_from(["1#1", "SAT#5", "5L", "0L"])}.get(
        index, st.nothing()
    )
    return st.just("*") | single | between | step | named | special


_FIELDS = [st.just("*") | st.lists(_terms(index), min_size=1, max_size=3).map(",".join) for index in range(len(RULES))]


@settings(max_examples=40)
@given(st.tuples(*_FIELDS).map(" ".join) | st.sampled_from(list(ALIASES)))
def test_accepted_expression_fires_and_has_a_description(cron: str) -> None:
    if problem(cron) is not None:
        return
    try:
        CronSchedule(cron, get_zone("UTC"))
    except ValueError as error:
        assert "no such day" in str(error)  # noqa: PT017 - only some expressions have no days
    assert describe(cron)
    assert all(warnings(cron))
