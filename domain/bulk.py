"""Bulk operations: their kinds and statuses, and the results of single runs."""

from enum import StrEnum


class BulkKind(StrEnum):
    """What a bulk operation does to runs."""

    CANCEL = "CANCEL"
    RETRY = "RETRY"
    ARCHIVE = "ARCHIVE"
    UNARCHIVE = "UNARCHIVE"


class BulkStatus(StrEnum):
    """The status of a bulk operation."""

    PREPARING = "PREPARING"
    """The selected runs are being pinned."""
    PLANNED = "PLANNED"
    """A dry run: no run is changed until its plan is executed."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    """Every run was processed, whatever the result."""
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    """The process that pinned the runs was lost. No run was changed."""


ENDED = frozenset({BulkStatus.COMPLETED, BulkStatus.CANCELLED, BulkStatus.FAILED})
"""The final statuses."""


class BulkResult(StrEnum):
    """The result of one run in a bulk operation."""

    PENDING = "PENDING"
    """Not processed yet, or never: the operation was cancelled before."""
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    """The run was not eligible; the reason says why."""
    FAILED = "FAILED"
    """The run was eligible but could not be changed; the reason says why."""


class BulkReason(StrEnum):
    """Why a run was skipped or failed in a bulk operation."""

    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    """The run was deleted after the operation began."""
    RUN_NOT_CANCELLABLE = "RUN_NOT_CANCELLABLE"
    """The run had already ended."""
    RUN_NOT_RETRYABLE = "RUN_NOT_RETRYABLE"
    """The run is live, or has succeeded."""
    RETRY_UNDER_WAY = "RETRY_UNDER_WAY"
    """A retry of the run is live."""
    ALREADY_RECOVERED = "ALREADY_RECOVERED"
    """A retry of the run has succeeded."""
    RETRIED_SINCE = "RETRIED_SINCE"
    """The run was retried without success: only the last run of a chain of retries can be retried."""
    COVERED_BY_PARENT = "COVERED_BY_PARENT"
    """The retry of its parent, which the operation selected too, repeats the run."""
    RETRY_LIMIT_REACHED = "RETRY_LIMIT_REACHED"
    STEP_DATA_EXPIRED = "STEP_DATA_EXPIRED"
    STEP_NOT_REACHED = "STEP_NOT_REACHED"
    """The run has no step with the name `stepName` at or before the one at which it ended."""
    FLOW_DISABLED = "FLOW_DISABLED"
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    """The project's quota of runs was used up."""
    RUN_NOT_FINAL = "RUN_NOT_FINAL"
    """Only runs that have ended can be archived."""
    RUN_ALREADY_ARCHIVED = "RUN_ALREADY_ARCHIVED"
    RUN_NOT_ARCHIVED = "RUN_NOT_ARCHIVED"
    RUN_CHANGED_SINCE = "RUN_CHANGED_SINCE"
    """The run was archived again after the operation that is undone."""
    INTERNAL_ERROR = "INTERNAL_ERROR"


ELIGIBLE = "ELIGIBLE"
"""The planned reason of runs that a dry run found eligible."""
