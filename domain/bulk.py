"""Operations on many runs at once: their kinds, how they stand, and what becomes of each run."""

from enum import StrEnum


class BulkKind(StrEnum):
    """What a bulk operation does to runs."""

    CANCEL = "CANCEL"
    RETRY = "RETRY"
    ARCHIVE = "ARCHIVE"
    UNARCHIVE = "UNARCHIVE"


class BulkStatus(StrEnum):
    """Where a bulk operation stands."""

    PREPARING = "PREPARING"
    """The runs that are meant are being looked up."""
    PLANNED = "PLANNED"
    """A dry run: nothing is done until its plan is carried out."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    """Every run has an outcome, whatever it is."""
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    """The process that looked up the runs was lost. Nothing was done to any."""


ENDED = frozenset({BulkStatus.COMPLETED, BulkStatus.CANCELLED, BulkStatus.FAILED})


class BulkResult(StrEnum):
    """What became of one run in a bulk operation."""

    PENDING = "PENDING"
    """Nothing yet; or nothing at all, when the operation was cancelled before."""
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    """The run was not eligible; the reason says why."""
    FAILED = "FAILED"
    """Something went wrong that has nothing to do with the run's state."""


class BulkReason(StrEnum):
    """Why a run was skipped, or failed, in a bulk operation."""

    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    """It was removed since the operation began."""
    RUN_NOT_CANCELLABLE = "RUN_NOT_CANCELLABLE"
    """It had ended."""
    RUN_NOT_RETRYABLE = "RUN_NOT_RETRYABLE"
    """It is live, or succeeded."""
    RETRY_LIMIT_REACHED = "RETRY_LIMIT_REACHED"
    STEP_DATA_EXPIRED = "STEP_DATA_EXPIRED"
    FLOW_DISABLED = "FLOW_DISABLED"
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    """Its project had used up its quota of runs."""
    RUN_NOT_FINAL = "RUN_NOT_FINAL"
    """Only runs that have ended can be archived."""
    RUN_ALREADY_ARCHIVED = "RUN_ALREADY_ARCHIVED"
    RUN_NOT_ARCHIVED = "RUN_NOT_ARCHIVED"
    RUN_CHANGED_SINCE = "RUN_CHANGED_SINCE"
    """It was archived anew since the operation that is undone."""
    INTERNAL_ERROR = "INTERNAL_ERROR"


ELIGIBLE = "ELIGIBLE"
"""What a dry run foretells of a run where it foretells no reason."""
