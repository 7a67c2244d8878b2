"""Quotas: how many runs a project may start in a period. Periods are aligned to UTC."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from domain.described_enum import DescribedEnum


class QuotaPeriod(DescribedEnum):
    """The period of a project's quota. It begins at the full hour, at midnight or on the first of the month, in UTC."""

    HOUR = "HOUR", "From one full hour to the next."
    DAY = "DAY", "From midnight to midnight in UTC."
    MONTH = "MONTH", "A month of the calendar in UTC."

    def began_at(self, instant: datetime) -> datetime:
        """Returns the start of the period that contains `instant` (in UTC)."""
        hour = instant.replace(minute=0, second=0, microsecond=0)
        if self is QuotaPeriod.HOUR:
            return hour
        day = hour.replace(hour=0)
        return day if self is QuotaPeriod.DAY else day.replace(day=1)

    def ends_at(self, instant: datetime) -> datetime:
        """Returns the end of the period that contains `instant` (in UTC), which is the start of the next one."""
        began_at = self.began_at(instant)
        if self is QuotaPeriod.HOUR:
            return began_at + timedelta(hours=1)
        if self is QuotaPeriod.DAY:
            return began_at + timedelta(days=1)
        return (began_at + timedelta(days=31)).replace(day=1)  # No month is longer than 31 days.


class ProjectQuota(NamedTuple):
    """The quota of a project: how many runs it may start in a period."""

    project_id: UUID
    period: QuotaPeriod
    runs: int
