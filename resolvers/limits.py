"""Checks the limits of projects and flows."""

from collections.abc import Mapping
from typing import Any

from domain.errors import Problem, SettingsInvalidError

_BOUNDS = {
    "max_concurrent_runs": ("maxConcurrentRuns", 1, 1_000_000),
    "quota_runs": ("quotaRuns", 1, 1_000_000_000),
    "retry_limit": ("retryLimit", 0, 1_000),
    "retention_days": ("retentionDays", 1, 36_500),
}
"""Name of the field, minimum and maximum by column. To start no runs, disable the flow."""


def check_flow(values: Mapping[str, Any]) -> None:
    """Checks the limits of a flow.

    Raises:
        SettingsInvalidError: with every problem.
    """
    _refuse(_out_of_bounds(values))


def check_project(values: Mapping[str, Any]) -> None:
    """Checks all limits that a project would have.

    Raises:
        SettingsInvalidError: with every problem.
    """
    problems = _out_of_bounds(values)
    if values["retry_limit"] is None:
        problems.append(Problem("retryLimit", "a number; 0 allows no retry"))
    if (values["quota_runs"] is None) is not (values["quota_period"] is None):
        missing = "quotaRuns" if values["quota_runs"] is None else "quotaPeriod"
        problems.append(Problem(missing, "set too: a quota is a number of runs in a period"))
    _refuse(problems)


def _out_of_bounds(values: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(name, f"from {least:,} to {most:,}")
        for column, (name, least, most) in _BOUNDS.items()
        if values.get(column) is not None and not least <= values[column] <= most
    ]


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise SettingsInvalidError(problems)
