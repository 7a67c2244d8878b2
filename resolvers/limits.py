"""Checks the limits of projects, flows and keys before they are stored."""

from collections.abc import Mapping
from typing import Any

from db.removal import expiry
from domain.enums import RunStatus
from domain.errors import InvalidArgumentError, SettingsInvalidError
from domain.problem import Problem
from domain.runs.state_machine import FINAL

MAX_COST_PER_MINUTE = 1_000_000_000
"""The highest rate limit of a key: as good as none."""
MAX_CALLS_PER_MINUTE = 1_000_000
"""The highest rate limit of a webhook: as good as none."""
_MAX_DAYS = 36_500
"""Days of a retention: a hundred years."""
_ARCHIVE = "archiveSucceededAfterDays"
_RANGES = {
    "max_concurrent_runs": ("maxConcurrentRuns", 1, 1_000_000),
    "quota_runs": ("quotaRuns", 1, 1_000_000_000),
    "retry_limit": ("retryLimit", 0, 1_000),
    "retention_days": ("retentionDays", 1, _MAX_DAYS),
    "archive_after_days": (_ARCHIVE, 1, _MAX_DAYS),
    "cost_per_minute": ("costPerMinute", 1, MAX_COST_PER_MINUTE),
    "calls_per_minute": ("callsPerMinute", 1, MAX_CALLS_PER_MINUTE),
}
"""The range of each column: the field's name, its minimum and its maximum. A flow that should start no runs is disabled
instead."""


def check_flow(columns: Mapping[str, Any]) -> None:
    """Checks new values of a flow's columns.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _raise_problems(out_of_range(columns))


def check_key(columns: Mapping[str, Any]) -> None:
    """Checks new values of a key's columns.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _raise_problems(out_of_range(columns))


def check_webhook(columns: Mapping[str, Any]) -> None:
    """Checks new values of a webhook's columns.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _raise_problems(out_of_range(columns))


def check_project(columns: Mapping[str, Any]) -> None:
    """Checks the values that a project's columns would have after a change.

    Raises:
        SettingsInvalidError: with every problem.
    """
    problems = out_of_range(columns) + _retention_problems(expiry.parse(columns["run_retention"]))
    if columns["retry_limit"] is None:
        problems.append(Problem("retryLimit", "must not be null. 0 allows no retry."))
    if (columns["quota_runs"] is None) is not (columns["quota_period"] is None):
        missing = "quotaRuns" if columns["quota_runs"] is None else "quotaPeriod"
        problems.append(Problem(missing, "must be set too: a quota is a number of runs in a period."))
    _raise_problems(problems)


def check_retention(retention: Mapping[RunStatus, int], archive_days: int | None) -> None:
    """Checks settings of the retention and archiving of runs that are not set, but looked at.

    Raises:
        InvalidArgumentError: one of them is not allowed.
    """
    problems = _retention_problems(retention) + out_of_range({"archive_after_days": archive_days})
    if problems:
        raise InvalidArgumentError(" ".join(f"`{problem.path}` {problem.message}" for problem in problems))


def _retention_problems(retention: Mapping[RunStatus, int]) -> list[Problem]:
    problems = []
    for index, (status, days) in enumerate(retention.items()):
        if status not in FINAL:
            problems.append(
                Problem(f"runRetention[{index}].status", f"must be final: {status} runs are never deleted.")
            )
        if not 1 <= days <= _MAX_DAYS:
            message = f"must be between 1 and {_MAX_DAYS:,}, got {days:,}."
            problems.append(Problem(f"runRetention[{index}].days", message))
    return problems


def out_of_range(columns: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(name, f"must be between {minimum:,} and {maximum:,}, got {columns[column]:,}.")
        for column, (name, minimum, maximum) in _RANGES.items()
        if columns.get(column) is not None and not minimum <= columns[column] <= maximum
    ]


def _raise_problems(problems: list[Problem]) -> None:
    if problems:
        raise SettingsInvalidError(problems)
