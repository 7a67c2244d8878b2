"""Finds problems of cron expressions and says what to write instead. Most of these expressions are valid in another
dialect of cron.

`problem` refuses more than `CronSchedule`, which also reads expressions that were stored before a rule was added.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_LENGTH = 200
"""Largest number of characters of a cron expression."""


class FieldRule(NamedTuple):
    """The rule for one field of a cron expression."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    """Names of the values; the first name stands for `first`."""

    @property
    def size(self) -> int:
        """Returns the number of different values."""
        # 7 is another number for Sunday.
        return min(self.last - self.first + 1, len(self.names) or self.last + 1)

    def value(self, text: str) -> int | None:
        """Returns the value for a number or a name; None if `text` is neither."""
        if text.upper() in self.names:
            return self.first + self.names.index(text.upper())
        # Only ASCII digits count: Unicode has others.
        return int(text) if re.fullmatch("[0-9]{1,4}", text) else None


RULES = (
    FieldRule("minute", 0, 59),
    FieldRule("hour", 0, 23),
    FieldRule("day of month", 1, 31),
    FieldRule("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    FieldRule("day of week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
MINUTE, HOUR, DAY, MONTH, WEEKDAY = RULES

_EXAMPLE = "`30 9 * * MON-FRI`"
_FIVE_FIELDS = "five fields: minute, hour, day of month, month and day of week"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EVERY = re.compile(r"@every\s+((?:[0-9]+[smhd])+)", re.IGNORECASE)
_RATE = re.compile(r"rate\(\s*([0-9]+)\s+(second|minute|hour|day)s?\s*\)", re.IGNORECASE)
_ZONE = re.compile(r"(?:CRON_)?TZ\s*=\s*(\S+)\s*(.*)", re.IGNORECASE)
_CALL = re.compile(r"cron\(\s*(.*?)\s*\)", re.IGNORECASE)
_YEAR = re.compile(r"[0-9]{4}.*|\*")
_COUNTED = {DAY: re.compile("LW?", re.IGNORECASE), WEEKDAY: re.compile("[0-7]L", re.IGNORECASE)}
"""Days that are counted from the end of the month, by field."""
_QUARTZ_DAY = re.compile(r"([0-9]{1,2})W|L-[0-9]+", re.IGNORECASE)
_HASHED = re.compile(r"H(\(.*\))?", re.IGNORECASE)
_MAX_SHOWN = 40
"""Characters of a part of an expression that a message shows."""


def fields_of(cron: str) -> list[str]:
    """Returns the fields of an expression, or the fields that an alias stands for."""
    return ALIASES.get(cron.strip().lower(), cron).split()


def problem(cron: str) -> str | None:
    """Returns what is wrong with an expression, and what to write instead; None if it has no problem."""
    if len(cron) > MAX_LENGTH:
        return f"The expression has more than {MAX_LENGTH} characters."
    text = cron.strip()
    if (found := _problem_of_whole(text)) is not None:
        return found
    fields = fields_of(text)
    if len(fields) != len(RULES):
        return _problem_of_count(fields)
    return next(
        (found for rule, field in zip(RULES, fields, strict=True) for found in _field_problems(rule, field)), None
    )


def _problem_of_whole(text: str) -> str | None:
    if match := _ZONE.match(text):
        rest = f"; the expression is `{_shown(match[2])}`" if match[2] else ""
        return f"Write the time zone into `timeZone`: `{_shown(match[1])}`{rest}."
    if match := _RATE.fullmatch(text):
        return _instead_of_interval(int(match[1]) * _SECONDS[match[2][0].lower()])
    if match := _CALL.fullmatch(text):
        return f"Write the expression without `cron( )`: {_FIVE_FIELDS}, such as {_EXAMPLE}. Leave the year out."
    if not text.startswith("@") or text.lower() in ALIASES:
        return None
    if match := _EVERY.fullmatch(text):
        parts = re.findall(r"([0-9]+)([smhd])", match[1].lower())
        return _instead_of_interval(sum(int(number) * _SECONDS[unit] for number, unit in parts))
    if text.lower() in ("@reboot", "@startup"):
        return f"No run can start at {text.lower()}: an expression has {_FIVE_FIELDS}."
    every_minute = "; for every minute write `* * * * *`, for every 5 minutes `*/5 * * * *`"
    return f"`{_shown(text)}` is unknown: there are {', '.join(ALIASES)}{every_minute}."


def _instead_of_interval(seconds: int) -> str:
    """Returns a message with the expression that fires every `seconds` seconds."""
    minutes, rest = divmod(seconds, 60)
    if rest or not minutes:
        return "A schedule fires at most once a minute, at whole minutes, such as `*/5 * * * *`: every 5 minutes."
    hours, rest = divmod(minutes, 60)
    if minutes < 60 and 60 % minutes == 0:
        expression = "* * * * *" if minutes == 1 else f"*/{minutes} * * * *"
    elif not rest and hours < 24 and 24 % hours == 0:
        expression = "0 * * * *" if hours == 1 else f"0 */{hours} * * *"
    elif not rest and hours == 24:
        expression = "0 0 * * *"
    else:
        return (
            "A cron expression repeats in intervals that divide an hour or a day, such as `*/5 * * * *` or"
            f" `0 */6 * * *`: {minutes} minutes do not."
        )
    return f"Intervals are written in {_FIVE_FIELDS}; this one is `{expression}`."


def _problem_of_count(fields: list[str]) -> str:
    if len(fields) == len(RULES) + 1:
        if re.fullmatch("[0-9]{4}.*", fields[-1]):
            return f"There is no field for the year: write five fields, `{_corrected(fields[:-1])}`."
        at_most = " A schedule fires at most once a minute." if not fields[0].isdecimal() else ""
        return f"There is no field for the second: write five fields, `{_corrected(fields[1:])}`.{at_most}"
    if len(fields) == len(RULES) + 2 and _YEAR.fullmatch(fields[-1]):
        return f"There are no fields for the second and the year: write five fields, `{_corrected(fields[1:-1])}`."
    return (
        f"The expression must have {_FIVE_FIELDS}, such as {_EXAMPLE}, or be one of {', '.join(ALIASES)};"
        f" it has {len(fields)} field{'' if len(fields) == 1 else 's'}."
    )


def _corrected(fields: list[str]) -> str:
    return _shown(" ".join("*" if field == "?" else field for field in fields))


def _field_problems(rule: FieldRule, field: str) -> Iterator[str]:
    """Yields the problems of one field."""
    if field == "?":
        yield f"Write `*` instead of `?` in the {rule.name}."
    elif "?" in field:
        yield f"`?` is unknown in the {rule.name}: write `*` for every value."
    elif _HASHED.match(field.partition("/")[0]) or "~" in field:
        yield f"The {rule.name} `{_shown(field)}` would be drawn at random: write a number of your own."
    else:
        for term in field.split(","):
            found = _term_problem(rule, term)
            if found is not None:
                yield found


def _term_problem(rule: FieldRule, term: str) -> str | None:
    if not term:
        return f"The {rule.name} has an empty term: remove the comma, or write a value beside it."
    base, slash, step = term.partition("/")
    if (found := _base_problem(rule, base, term)) is not None or not slash:
        return found
    return _step_problem(rule, base, step)


def _base_problem(rule: FieldRule, base: str, term: str) -> str | None:
    if base == "*" or _is_counted(rule, base):
        return None
    if (found := _day_problem(rule, base)) is not None:
        return found
    if rule is WEEKDAY and "#" in base:
        return None
    start, dash, end = base.partition("-")
    for text in (start, end) if dash else (start,):
        if (found := _value_problem(rule, text)) is not None:
            return found
    if dash and (first := rule.value(start)) is not None and (last := rule.value(end)) is not None and first > last:
        return _wrapped_range_problem(rule, start, end, term)
    return None


def _is_counted(rule: FieldRule, base: str) -> bool:
    return rule in _COUNTED and _COUNTED[rule].fullmatch(base) is not None


def _day_problem(rule: FieldRule, base: str) -> str | None:
    """Returns the problem of a counted day, such as `L`, `15W` or `MON#6`."""
    if rule is DAY and (match := _QUARTZ_DAY.fullmatch(base)):
        nearest = f"the weekday nearest to day {match[1]}" if match[1] else "a day counted from the last one"
        return (
            f"`{_shown(base)}` ({nearest}) is not supported: `L` is the last day, `LW` the last weekday of the month."
        )
    if rule is WEEKDAY and base.upper() == "L":
        return "Write `6` or `SAT` instead of `L` in the day of week; `6L` is the last Saturday of the month."
    if rule is WEEKDAY and (match := re.fullmatch("([A-Za-z]{3})L", base)) and rule.value(match[1]) is not None:
        return f"Write `{rule.value(match[1])}L` instead of `{base}` for the last one of the month."
    if rule is WEEKDAY and "#" in base:
        day, _, nth = base.partition("#")
        if re.fullmatch("[1-5]", nth):
            return _value_problem(rule, day)
        return f"`{_shown(base)}` is unknown: `MON#1` to `MON#5` are the first to the fifth Monday of the month."
    return None


def _value_problem(rule: FieldRule, text: str) -> str | None:
    value = rule.value(text)
    if value is None:
        named = f", or {', '.join(rule.names)}" if rule.names else ""
        what = f"`{_shown(text)}`" if text else "An empty value"
        hint = f" Write `{text[:3].upper()}`." if text[:3].upper() in rule.names else ""
        return f"{what} is unknown in the {rule.name}, which is a number from {rule.first} to {rule.last}{named}.{hint}"
    if rule.first <= value <= rule.last:
        return None
    hint = " Midnight is 0." if rule is HOUR and value == 24 else " The full hour is 0." if rule is MINUTE else ""
    return f"The {rule.name} must be from {rule.first} to {rule.last}, and not {value}.{hint}"


def _wrapped_range_problem(rule: FieldRule, start: str, end: str, term: str) -> str:
    first, last = rule.value(start), rule.value(end)
    final = rule.names[-1] if start.upper() in rule.names else str(rule.last - (rule is WEEKDAY))
    initial = rule.names[0] if end.upper() in rule.names else str(rule.first)
    before = start if start.upper() == final else f"{start}-{final}"
    after = end if last == rule.first else f"{initial}-{end}"
    if rule is WEEKDAY and first == rule.last:
        before, after = "", f"0-{end}"
    instead = ",".join(filter(None, (before, after)))
    step = " and list its values by hand, if it has a step" if "/" in term else ""
    return f"The range `{start}-{end}` wraps around: write `{instead}`{step}."


def _step_problem(rule: FieldRule, base: str, step: str) -> str | None:
    if not re.fullmatch("[0-9]{1,4}", step) or int(step) == 0:
        return f"The step `{_shown(step)}` in the {rule.name} must be a number from 1 to {rule.size}."
    if "#" in base or _is_counted(rule, base):
        return f"`{_shown(base)}` takes no step: write it without `/{step}`."
    start, dash, end = base.partition("-")
    first = rule.value(start)
    span = rule.size
    if dash and first is not None and (last := rule.value(end)) is not None:
        span = last - first + 1
    if int(step) <= span:
        return None
    only = str(rule.first) if base == "*" else start
    reach = f"{rule.size} values" if base == "*" or not dash else f"{span} values from {start} to {end}"
    return (
        f"The step {int(step)} in the {rule.name} is beyond its {reach}: `{_shown(base)}/{step}` is the same as"
        f" `{only}`, so write that."
    )


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
