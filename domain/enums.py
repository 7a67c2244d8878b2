"""The statuses of runs and steps, and which may follow which: a table of data, drawn in docs/architecture.md."""

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a flow run stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    STOPPED = "STOPPED"


class StepStatus(StrEnum):
    """Where a step of a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    SKIPPED = "SKIPPED"
    STOPPED = "STOPPED"


UNFINISHED = frozenset({StepStatus.PENDING, StepStatus.RUNNING, StepStatus.PAUSED})
"""Of a step whose run is live: it goes on."""


class AttemptStatus(StrEnum):
    """How one try of a step went."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    """The worker was lost while the try was under way; the step is tried again."""
    STOPPED = "STOPPED"
    """The run was cancelled while the try was under way."""


class InputRequestStatus(StrEnum):
    """What became of a question to a person."""

    PENDING = "PENDING"
    ANSWERED = "ANSWERED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    """Its run ended before an answer came."""


class Environment(StrEnum):
    """Whether a run is a live execution or a trial of the flow."""

    PRODUCTION = "PRODUCTION"
    TESTING = "TESTING"


class TriggerMethod(StrEnum):
    """What started a run."""

    API = "API"
    MANUAL = "MANUAL"
    SCHEDULE = "SCHEDULE"
    WEBHOOK = "WEBHOOK"
    PARENT = "PARENT"
    RETRY = "RETRY"


class MissedFires(StrEnum):
    """What becomes of the fire times of a schedule that passed while no worker ran."""

    SKIP = "SKIP"
    FIRE_ONCE = "FIRE_ONCE"
    """One run is started, for the latest."""
    FIRE_ALL = "FIRE_ALL"
    """A run is started for each of the latest 100."""


class SkipReason(StrEnum):
    """Why a schedule started no run at a fire time."""

    MISSED = "MISSED"
    """No worker ran, and the schedule is not to make up for it."""
    FLOW_DISABLED = "FLOW_DISABLED"
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED"
    INPUT_INVALID = "INPUT_INVALID"
    """The published version does not take the schedule's input."""
    SCHEDULE_INVALID = "SCHEDULE_INVALID"
    """The worker does not know the time zone any more. The schedule waits until it is updated."""
    INTERNAL_ERROR = "INTERNAL_ERROR"


class RetryStrategy(StrEnum):
    """How a retry begins."""

    FROM_FAILED_STEP = "FROM_FAILED_STEP"
    ON_LATEST_VERSION = "ON_LATEST_VERSION"


class Role(StrEnum):
    """What a key may do: a VIEWER reads, an OPERATOR also runs flows, an ADMIN also changes them."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


_S = RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.STOPPED, _S.QUOTA_EXCEEDED, _S.INTERNAL_ERROR}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.TIMEOUT, _S.INTERNAL_ERROR, _S.STOPPED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.FAILED, _S.TIMEOUT, _S.INTERNAL_ERROR, _S.STOPPED}),
    **{final: frozenset() for final in list(_S)[3:]},
}
"""From each status, those that may follow. A final status is followed by none."""

LIVE: frozenset[RunStatus] = frozenset(status for status, after in TRANSITIONS.items() if after)
FINAL: frozenset[RunStatus] = frozenset(RunStatus) - LIVE
STOPS: frozenset[RunStatus] = FINAL | {_S.PAUSED}
"""Where a run stays until somebody does something, or some time passes."""
UNSUCCESSFUL: frozenset[RunStatus] = FINAL - {_S.SUCCEEDED}
"""Final and without success: what may be retried."""


def sources_of(target: RunStatus) -> frozenset[RunStatus]:
    """The statuses from which a run may become `target`."""
    return frozenset(status for status, after in TRANSITIONS.items() if target in after)
