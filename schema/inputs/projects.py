"""Inputs of the mutations of projects."""

from typing import Any

import strawberry

from schema.arguments import given, optional
from schema.enums import QuotaPeriod


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

    def columns(self) -> dict[str, Any]:
        """Returns the new values of the project's columns."""
        return given(
            max_concurrent_runs=self.max_concurrent_runs,
            quota_runs=self.quota_runs,
            quota_period=self.quota_period,
            retry_limit=self.retry_limit,
            retention_days=self.retention_days,
        )
