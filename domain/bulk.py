"""Bulk operations: their kinds and statuses, and the results of single runs."""

from domain.described_enum import DescribedEnum


class BulkKind(DescribedEnum):
    """The kind of a bulk operation: what it does to each run."""

    CANCEL = "CANCEL", "Cancels live runs."
    RETRY = "RETRY", "Retries runs that ended without success."
    ARCHIVE = "ARCHIVE", "Archives runs that have ended."
    UNARCHIVE = "UNARCHIVE", "Unarchives runs."
    ERASE = "ERASE", "Erases the payloads of runs that have ended. The runs stay."
    DELETE = "DELETE", "Deletes runs that have ended."


class BulkStatus(DescribedEnum):
    """The status of a bulk operation."""

    PREPARING = "PREPARING", "The selected runs are being pinned."
    PLANNED = "PLANNED", "A dry run: no run is changed until its plan is executed."
    RUNNING = "RUNNING", "Runs are being processed."
    COMPLETED = "COMPLETED", "All runs have been processed. Single runs may have been skipped or may have failed."
    CANCELLED = "CANCELLED", "The operation was cancelled. Runs that it had not reached stay as they are."
    FAILED = "FAILED", "The process that pinned the runs was lost. No run was changed."


ENDED = frozenset({BulkStatus.COMPLETED, BulkStatus.CANCELLED, BulkStatus.FAILED})
"""The final statuses."""


class BulkResult(DescribedEnum):
    """The result of one run in a bulk operation."""

    PENDING = "PENDING", "The run has not been processed. It stays PENDING if the operation is cancelled first."
    SUCCEEDED = "SUCCEEDED", "The run was changed."
    SKIPPED = "SKIPPED", "The run was not eligible, see the reason."
    FAILED = "FAILED", "The run was eligible but could not be changed, see the reason."


class BulkReason(DescribedEnum):
    """Why a run was skipped or failed in a bulk operation."""

    RUN_NOT_FOUND = "RUN_NOT_FOUND", "The run was deleted after the operation began."
    RUN_NOT_CANCELLABLE = "RUN_NOT_CANCELLABLE", "The run had already ended."
    RUN_NOT_RETRYABLE = "RUN_NOT_RETRYABLE", "The run is live, or has succeeded."
    RETRY_UNDER_WAY = "RETRY_UNDER_WAY", "A retry of the run is live."
    ALREADY_RECOVERED = "ALREADY_RECOVERED", "A retry of the run has succeeded."
    RETRIED_SINCE = (
        "RETRIED_SINCE",
        "The run was retried without success: only the last run of a chain of retries can be retried.",
    )
    COVERED_BY_PARENT = (
        "COVERED_BY_PARENT",
        "The retry of its parent, which the operation selected too, repeats the run.",
    )
    RETRY_LIMIT_REACHED = (
        "RETRY_LIMIT_REACHED",
        "The chain of retries has reached its limit.",
    )
    STEP_DATA_EXPIRED = "STEP_DATA_EXPIRED", "Retention or an erasure has deleted data that the retry would use."
    STEP_NOT_REACHED = (
        "STEP_NOT_REACHED",
        "The run has no step with the name `stepName` at or before the one at which it ended.",
    )
    FLOW_DISABLED = "FLOW_DISABLED", "The flow is disabled."
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED", "The flow has no published version."
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED", "The project's quota of runs was used up."
    RUN_NOT_FINAL = "RUN_NOT_FINAL", "Only runs that have ended can be archived, erased or deleted."
    FAMILY_NOT_FINAL = (
        "FAMILY_NOT_FINAL",
        "A run of its family is live: only families whose runs have all ended can be erased or deleted.",
    )
    RUN_ALREADY_ERASED = "RUN_ALREADY_ERASED", "The run is erased already."
    RUN_ALREADY_ARCHIVED = "RUN_ALREADY_ARCHIVED", "The run is archived already."
    RUN_NOT_ARCHIVED = "RUN_NOT_ARCHIVED", "The run is not archived."
    RUN_CHANGED_SINCE = (
        "RUN_CHANGED_SINCE",
        "The run was archived again after the operation that this one undoes.",
    )
    INTERNAL_ERROR = "INTERNAL_ERROR", "The run could not be changed. The service log has the reason."


ELIGIBLE = "ELIGIBLE"
"""The planned reason of runs that a dry run found eligible."""
