"""Durations in ISO 8601, such as `P1D`: the length of a period of time that ends or begins at a given instant."""

import calendar
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_PATTERN = re.compile(
    r"P(?=[\dT])(?:(?P<years>\d{1,6})Y)?(?:(?P<months>\d{1,6})M)?(?:(?P<weeks>\d{1,6})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9}(?:[.,]\d{1,6})?)S)?)?",
    re.ASCII,
)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


class IsoDuration(NamedTuple):
    """A duration. Years and months are kept apart, because they have no fixed length."""

    months: int
    exact: timedelta

    def before(self, instant: datetime) -> datetime:
        """Returns the start, in UTC, of the period of this length that ends at `instant`.

        Months are calendar months: one month before 31 March is the last day of February. A period that would begin
        before the year 1 begins with it.
        """
        try:
            return _months_before(instant.astimezone(UTC), self.months) - self.exact
        except (ValueError, OverflowError):
            return _EARLIEST

    def after(self, instant: datetime) -> datetime:
        """Returns the end, in UTC, of the period of this length that begins at `instant`.

        Raises:
            ValueError: the end is outside the calendar. The message is for clients.
        """
        try:
            return _months_before(instant.astimezone(UTC), -self.months) + self.exact
        except (ValueError, OverflowError):
            raise ValueError("is longer than the calendar") from None


@lru_cache(maxsize=1_000)
def parse(text: str) -> IsoDuration:
    """Returns the duration that `text` names.

    Raises:
        ValueError: the text is not a duration. The message is for clients.
    """
    found = _PATTERN.fullmatch(text.strip().upper())
    if found is None:
        raise ValueError(f"must be a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`, got {text[:80]!r}")
    numbers = {name: float(digits.replace(",", ".")) for name, digits in found.groupdict(default="0").items()}
    months = int(12 * numbers.pop("years") + numbers.pop("months"))
    return IsoDuration(months, timedelta(**numbers))


def _months_before(instant: datetime, months: int) -> datetime:
    year, month = divmod(instant.year * 12 + instant.month - 1 - months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return instant.replace(year=year, month=month + 1, day=min(instant.day, last_day))
