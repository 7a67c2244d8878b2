"""Checks of the limits that are set for projects, flows and keys."""

from collections.abc import Mapping
from typing import Any

from domain.errors import Problem, SettingsInvalidError

MAX_COST_PER_MINUTE = 1_000_000_000
"""The highest rate limit of a key: as good as none."""
_RANGES = {
    "max_concurrent_runs": ("maxConcurrentRuns", 1, 1_000_000),
    "quota_runs": ("quotaRuns", 1, 1_000_000_000),
    "retry_limit": ("retryLimit", 0, 1_000),
    "retention_days": ("retentionDays", 1, 36_500),
    "cost_per_minute": ("costPerMinute", 1, MAX_COST_PER_MINUTE),
}
"""By column: the field's name, its minimum and its maximum. A flow that should start no runs is disabled instead."""


def check_flow(columns: Mapping[str, Any]) -> None:
    """Checks new values of a flow's columns.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _raise_problems(_out_of_range(columns))


def check_key(columns: Mapping[str, Any]) -> None:
    """Checks new values of a key's columns.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _raise_problems(_out_of_range(columns))


def check_project(columns: Mapping[str, Any]) -> None:
    """Checks the values that a project's columns would have after a change.

    Raises:
        SettingsInvalidError: with every problem.
    """
    problems = _out_of_range(columns)
    if columns["retry_limit"] is None:
        problems.append(Problem("retryLimit", "must not be null. 0 allows no retry."))
    if (columns["quota_runs"] is None) is not (columns["quota_period"] is None):
        missing = "quotaRuns" if columns["quota_runs"] is None else "quotaPeriod"
        problems.append(Problem(missing, "must be set too: a quota is a number of runs in a period."))
    _raise_problems(problems)


def _out_of_range(columns: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(name, f"must be between {minimum:,} and {maximum:,}, got {columns[column]:,}.")
        for column, (name, minimum, maximum) in _RANGES.items()
        if columns.get(column) is not None and not minimum <= columns[column] <= maximum
    ]


def _raise_problems(problems: list[Problem]) -> None:
    if problems:
        raise SettingsInvalidError(problems)
