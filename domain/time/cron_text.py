"""Describes cron expressions in words, and warns of parts that are often misread."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

from cron_descriptor import FormatError, Options, get_description

from domain.time.cron_syntax import DAY, HOUR, MINUTE, MONTH, RULES, WEEKDAY, FieldRule, fields_of

_MAX_LISTED = 12
"""Largest number of values of a field that a description lists."""


@lru_cache(maxsize=1_024)
def describe(cron: str) -> str | None:
    """Returns a valid expression in English words: `At 09:00, only on Monday`; None if it cannot be put into words."""
    fields = fields_of(cron)
    both = _both_must_match(fields)
    plain = [_plain(rule, field) for rule, field in zip(RULES, fields, strict=True)]
    sentences = [_sentence(variant, both) for variant in _variants(plain, both)]
    if not all(sentences):
        return None
    first, *others = (sentence for sentence in sentences if sentence)
    return "; ".join([first, *(sentence[0].lower() + sentence[1:] for sentence in others)])


def warnings(cron: str) -> list[str]:
    """Returns warnings for a valid expression that may fire at other times than its author expects."""
    fields = fields_of(cron)
    return [*_day_warnings(fields), *_step_warnings(fields)]


def _day_warnings(fields: Sequence[str]) -> Iterator[str]:
    day, weekday = fields[RULES.index(DAY)], fields[RULES.index(WEEKDAY)]
    if "*" in (day, weekday):
        return
    if _both_must_match(fields):
        yield (
            f"Both the day of month (`{day}`) and the day of week (`{weekday}`) must match, because one of them begins"
            " with `*`."
        )
    else:
        yield (
            f"It fires on days that match either the day of month (`{day}`) or the day of week (`{weekday}`). For the"
            " first Monday of a month write `* * MON#1` as the last three fields, for the last one `* * 1L`."
        )


def _step_warnings(fields: Sequence[str]) -> Iterator[str]:
    for rule, field in zip(RULES, fields, strict=True):
        base, _, step = field.partition("/")
        if base != "*" or not step.isdecimal() or int(step) == 1:
            continue
        values = [str(value) for value in range(rule.first, rule.first + rule.size, int(step))]
        whole = {MINUTE: "hour", HOUR: "day", DAY: "month", MONTH: "year", WEEKDAY: "week"}[rule]
        # Months have 28 to 31 days.
        if rule is DAY or rule.size % int(step):
            shown = values if len(values) <= _MAX_LISTED else [*values[:2], "…", values[-1]]
            yield f"`{field}` in the {rule.name} begins again in each {whole}: it is {', '.join(shown)}."


def _both_must_match(fields: Sequence[str]) -> bool:
    """True if a day must match both day fields, as in Debian's cron; else one of them suffices."""
    return any(fields[RULES.index(rule)].startswith("*") for rule in (DAY, WEEKDAY))


def _plain(rule: FieldRule, field: str) -> str:
    """Returns a field without the steps that the library words wrongly: it lists their values instead."""
    terms = field.split(",")
    if "*" in terms or "*/1" in terms:
        return "*"
    return ",".join(_plain_term(rule, term, is_alone=len(terms) == 1) for term in terms)


def _plain_term(rule: FieldRule, term: str, *, is_alone: bool) -> str:
    base, slash, step = term.partition("/")
    divides = base != "*" or rule is DAY or rule.size % int(step or 1) == 0
    if not slash or (is_alone and divides and rule is not WEEKDAY):
        return term
    first, last = rule.first, rule.first + rule.size - 1
    if base != "*":
        start, dash, end = base.partition("-")
        first = rule.value(start) or 0
        last = (rule.value(end) or 0) if dash else rule.last
    return ",".join(str(value) for value in range(first, last + 1, int(step)))


def _variants(fields: Sequence[str], both_must_match: bool) -> Iterator[Sequence[str]]:
    """Yields expressions that together mean the same as `fields`, none of which lists days such as `L` or `MON#1`.

    The library has no words for such lists.
    """
    *time, day, month, weekday = fields
    if not both_must_match and "*" in (day, weekday):
        day = weekday = "*"  # One of the fields suffices, and this one matches every day.
    days, weekdays = _split(day), _split(weekday)
    if both_must_match:
        yield from ([*time, one, month, other] for one, other in product(days, weekdays))
    elif _is_special(day) or _is_special(weekday):
        yield from ([*time, one, month, "*"] for one in days)
        yield from ([*time, "*", month, other] for other in weekdays)
    else:
        yield [*time, day, month, weekday]


def _is_special(field: str) -> bool:
    # These are the fields of days, so `JUL` cannot occur here.
    return any(mark in field.upper() for mark in ("#", "L"))


def _split(field: str) -> list[str]:
    return field.split(",") if _is_special(field) else [field]


def _sentence(fields: Sequence[str], both_must_match: bool) -> str | None:
    options = Options()
    options.locale_code = "en_US"  # The default is the language of the machine.
    options.use_24hour_time_format = True
    try:
        text: str = get_description(" ".join(fields), options)
    except (FormatError, ValueError, IndexError, KeyError):
        return None
    return text.replace(", or ", ", and only ") if both_must_match else text
