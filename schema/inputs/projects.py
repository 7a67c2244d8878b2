"""Inputs of the mutations of projects."""

from typing import Any

import strawberry

from db.removal import expiry
from domain.errors import InvalidArgumentError
from schema.arguments import given, optional
from schema.enums import QuotaPeriod, RunStatus


@strawberry.input(description="For how long runs that ended with a status are kept.")
class RunRetentionInput:
    """For how long runs that ended with a status are kept."""

    status: RunStatus = strawberry.field(description="A final status.")
    days: int = strawberry.field(description="Days after the end of a run until it is deleted, 1 to 36,500.")


def retention_of(rules: list[RunRetentionInput]) -> dict[RunStatus, int]:
    """Returns the days by status.

    Raises:
        InvalidArgumentError: a status has two rules.
    """
    retention = {rule.status: rule.days for rule in rules}
    if len(retention) < len(rules):
        raise InvalidArgumentError("`runRetention` has two rules for one status.")
    return retention


@strawberry.input(description="New limits of a project. Omitted limits stay unchanged.")
class UpdateProjectInput:
    """New limits of a project."""

    project_id: strawberry.ID | None = optional(
        "The project to change. Required for operator keys. Default: the key's project."
    )
    max_concurrent_runs: int | None = optional(
        "The number of runs that can be RUNNING at the same time, 1 to 1,000,000. Null removes the limit.",
        strawberry.UNSET,
    )
    quota_runs: int | None = optional(
        "The number of runs that can be started in each period, 1 to 1,000,000,000. Null, together with "
        "`quotaPeriod`, removes the quota. Runs that were started in the current period before the quota was "
        "set do not count.",
        strawberry.UNSET,
    )
    quota_period: QuotaPeriod | None = optional(
        "The period of the quota. Null, together with `quotaRuns`, removes the quota.", strawberry.UNSET
    )
    retry_limit: int | None = optional(
        "The number of retries that can follow a run in one chain, 0 to 1,000. Cannot be null.", strawberry.UNSET
    )
    retention_days: int | None = optional(
        "Days after the end of a run until its step data are deleted, 1 to 36,500. Null: the default of the service.",
        strawberry.UNSET,
    )
    run_retention: list[RunRetentionInput] | None = optional(
        "For how long runs are kept, by status; at most one rule for each. Runs of a status without a rule are kept for"
        " ever, and with null or an empty list all. `Project.expiredRuns` says what a retention would delete.",
        strawberry.UNSET,
    )
    archive_succeeded_after_days: int | None = optional(
        "Days after the end of a SUCCEEDED run until it is archived, 1 to 36,500. Null: none is archived by itself.",
        strawberry.UNSET,
    )

    def columns(self) -> dict[str, Any]:
        """Returns the new values of the project's columns."""
        columns = given(
            max_concurrent_runs=self.max_concurrent_runs,
            quota_runs=self.quota_runs,
            quota_period=self.quota_period,
            retry_limit=self.retry_limit,
            retention_days=self.retention_days,
            archive_after_days=self.archive_succeeded_after_days,
        )
        if "archive_after_days" in columns:
            columns["archived_through"] = None  # older runs are looked at again
        if self.run_retention is not strawberry.UNSET:
            columns["run_retention"] = expiry.encode(retention_of(self.run_retention or []))
        return columns
