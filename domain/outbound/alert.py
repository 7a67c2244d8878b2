"""Alerts: which events people are notified of, and how many equal events become one message."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.described_enum import DescribedEnum
from domain.enums import RunStatus


class AlertCondition(DescribedEnum):
    """When an alert sends a message."""

    FAILURE = (
        "FAILURE",
        "A run ended as FAILED, TIMEOUT or INTERNAL_ERROR. Failures with the same fingerprint are one message.",
    )
    NEW_ERROR = "NEW_ERROR", "A run failed with a fingerprint that no earlier run of the project has."
    CONSECUTIVE_FAILURES = (
        "CONSECUTIVE_FAILURES",
        "At least `threshold` runs of a flow in a row have failed. A run that succeeds ends the row.",
    )
    LATE = (
        "LATE",
        "A QUEUED run has been due for `threshold` milliseconds, and no worker has claimed it; or a schedule, and no "
        "worker has started its run. Messages are sent even if no worker runs at all.",
    )
    SLOW = (
        "SLOW",
        "A run that succeeded took at least `threshold` percent of the 95th percentile of the flow's runs before it.",
    )
    ENDPOINT_DISABLED = "ENDPOINT_DISABLED", "The service has disabled an endpoint. The filter does not apply."


class NotificationStatus(DescribedEnum):
    """The state of a notification."""

    PENDING = "PENDING", "It waits for its first or its next attempt."
    SENT = "SENT", "The service of the target has accepted it."
    FAILED = "FAILED", "No attempt succeeded for three days."


DEFAULT_THRESHOLDS = {
    AlertCondition.CONSECUTIVE_FAILURES: 3,
    AlertCondition.LATE: 300_000,
    AlertCondition.SLOW: 200,
}
"""Default thresholds of the conditions that have one: a number of runs, milliseconds, percent."""
MAX_THRESHOLD = 2**31 - 1
"""Largest threshold: 24 days in milliseconds."""
FAILURES = frozenset({RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.INTERNAL_ERROR})
"""Final statuses that count as failures. Runs that were stopped, or refused by a quota, do not."""
COLLECTED_FOR = timedelta(seconds=30)
"""How long equal events are collected before the first message: an incident fails many runs within seconds."""
MIN_QUIET = timedelta(minutes=1)
"""Shortest quiet period after a message."""
MAX_QUIET = timedelta(days=7)
"""Longest quiet period after a message."""
DEFAULT_QUIET = "PT1H"
"""Quiet period after a message, unless the alert has another one. What happens in it is one further message."""
KEPT_SAMPLES = 200
"""Successful runs of a flow whose durations are usual."""
MIN_SAMPLES = 20
"""Successful runs from which on the usual duration of a flow is known."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that an alert counts."""

    alert_id: UUID
    project_id: UUID
    condition: AlertCondition
    threshold: int | None
    group: str
    """What equal events share: the fingerprint of an error, or the ID of a flow or endpoint."""
    flow_id: UUID | None
    run_id: UUID | None
    at: datetime
    ends_row: bool = False
    """True: the event is a success, which ends a row of failures and is not counted."""
