"""Enumerations of the domain. Their values are stored in the database and shown to clients."""

from enum import StrEnum


class RunStatus(StrEnum):
    """Status of a flow run. QUEUED, RUNNING and PAUSED are live; all others are final and never change."""

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
    """Status of one step of a run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    SKIPPED = "SKIPPED"
    STOPPED = "STOPPED"


class AttemptStatus(StrEnum):
    """Status of one attempt of a step."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    """The worker was lost during the attempt; the step gets another attempt."""
    STOPPED = "STOPPED"
    """The run was cancelled during the attempt."""


class InputRequestStatus(StrEnum):
    """Status of a request for a person's input."""

    PENDING = "PENDING"
    ANSWERED = "ANSWERED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    """The run ended before an answer came."""


class WaitKind(StrEnum):
    """What a live run waits for.

    PERSON: the response to an input request. TIME: an instant. CHILDREN: the end of child runs. RETRY: the next attempt
    at a step that failed. SLOT: a concurrency limit. WORKER: the run is due, and no worker has taken it yet.
    """

    PERSON = "PERSON"
    TIME = "TIME"
    CHILDREN = "CHILDREN"
    RETRY = "RETRY"
    SLOT = "SLOT"
    WORKER = "WORKER"


class Environment(StrEnum):
    """Distinguishes real executions of a flow from trials."""

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
    RERUN = "RERUN"


class MissedFires(StrEnum):
    """What a schedule does about fire times that passed while no worker ran.

    SKIP starts no run for them, FIRE_ONCE starts one for the latest, FIRE_ALL starts one for each of the latest 100.
    """

    SKIP = "SKIP"
    FIRE_ONCE = "FIRE_ONCE"
    FIRE_ALL = "FIRE_ALL"


class ScheduleOverlap(StrEnum):
    """What a schedule does at a fire time while a run of it is QUEUED, RUNNING or PAUSED.

    QUEUE starts another run, which waits in the queue if a concurrency limit says so. SKIP starts none.
    CANCEL_PREVIOUS cancels the live runs of the schedule and starts one.
    """

    QUEUE = "QUEUE"
    SKIP = "SKIP"
    CANCEL_PREVIOUS = "CANCEL_PREVIOUS"


class WebhookSignature(StrEnum):
    """How the calls of a webhook are signed.

    HMAC is the HMAC-SHA256 of the body, in hex or base64; the others are those of GitHub, Standard Webhooks, Svix,
    Stripe and Slack.
    """

    HMAC = "HMAC"
    GITHUB = "GITHUB"
    STANDARD_WEBHOOKS = "STANDARD_WEBHOOKS"
    SVIX = "SVIX"
    STRIPE = "STRIPE"
    SLACK = "SLACK"


class SkipReason(StrEnum):
    """Why a schedule started no run at a fire time."""

    MISSED = "MISSED"
    """No worker ran at that time, and the schedule does not catch up."""
    FLOW_DISABLED = "FLOW_DISABLED"
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED"
    OVERLAP = "OVERLAP"
    """A run of the schedule was live, and its `overlap` starts no other beside it."""
    INPUT_INVALID = "INPUT_INVALID"
    """The schedule's input does not match the input schema of the published version."""
    SCHEDULE_INVALID = "SCHEDULE_INVALID"
    """The worker no longer knows the time zone. The schedule does not fire until it is updated."""
    INTERNAL_ERROR = "INTERNAL_ERROR"


class RetryStrategy(StrEnum):
    """Where a retry begins.

    FROM_FAILED_STEP reuses the results of the steps that succeeded. ON_LATEST_VERSION runs every step of the
    published version. FROM_FAILED_STEP_ON_LATEST_VERSION runs the published version, and reuses the results of its
    leading steps that succeeded and whose definitions did not change. FROM_STEP runs the same version from a chosen
    step, at or before the one that failed.
    """

    FROM_FAILED_STEP = "FROM_FAILED_STEP"
    ON_LATEST_VERSION = "ON_LATEST_VERSION"
    FROM_FAILED_STEP_ON_LATEST_VERSION = "FROM_FAILED_STEP_ON_LATEST_VERSION"
    FROM_STEP = "FROM_STEP"


class OnItemFailure(StrEnum):
    """What happens to the other child runs of a loop when one of them fails the step.

    WAIT lets those that have started end, CANCEL cancels them. Further items are not started in either case.
    """

    WAIT = "WAIT"
    CANCEL = "CANCEL"


class Role(StrEnum):
    """What an API key may do: a VIEWER reads, an OPERATOR also runs flows, an ADMIN also changes them."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"

    def includes(self, other: "Role") -> bool:
        """Returns True if this role may do everything that `other` may do."""
        order = list(Role)
        return order.index(self) >= order.index(other)
