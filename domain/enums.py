"""Enumerations of the domain. Their values are stored in the database and shown to clients."""

from domain.described_enum import DescribedEnum


class RunStatus(DescribedEnum):
    """Status of a flow run. QUEUED, RUNNING and PAUSED are live; all others are final and never change."""

    QUEUED = "QUEUED", "The run waits for a worker."
    RUNNING = "RUNNING", "A worker executes the run, or the run waits for the next attempt at a step."
    PAUSED = "PAUSED", "The run waits for a person's input, for a time, or for child runs."
    SUCCEEDED = "SUCCEEDED", "Every step succeeded, was skipped, or failed with `continueOnFailure`."
    FAILED = "FAILED", "A step failed, or the output of the flow could not be rendered."
    TIMEOUT = "TIMEOUT", "The run took longer than its time limit."
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED", "The project had used up its quota of runs. No step was executed."
    INTERNAL_ERROR = (
        "INTERNAL_ERROR",
        "The service could not execute the run, for example because its workers were lost again and again.",
    )
    STOPPED = "STOPPED", "The run was cancelled."


class StepStatus(DescribedEnum):
    """Status of one step of a run."""

    PENDING = "PENDING", "The step has not been executed, or waits for its next attempt."
    RUNNING = "RUNNING", "An attempt is being executed."
    SUCCEEDED = "SUCCEEDED", "The step succeeded and has its output."
    FAILED = "FAILED", "The last attempt failed."
    PAUSED = "PAUSED", "The step waits for a person's input, for a time, or for child runs."
    SKIPPED = "SKIPPED", "The step's `when` was false, or a person skipped it."
    STOPPED = "STOPPED", "The run was cancelled during the step."


class AttemptStatus(DescribedEnum):
    """Status of one attempt of a step."""

    RUNNING = "RUNNING", "The attempt is being executed."
    SUCCEEDED = "SUCCEEDED", "The attempt returned an output."
    FAILED = "FAILED", "The attempt ended with an error."
    INTERRUPTED = "INTERRUPTED", "The worker was lost during the attempt; the step gets another attempt."
    STOPPED = "STOPPED", "The run was cancelled during the attempt."


class InputRequestStatus(DescribedEnum):
    """Status of a request for a person's input."""

    PENDING = "PENDING", "The request waits for an answer."
    ANSWERED = "ANSWERED", "Was answered."
    EXPIRED = "EXPIRED", "The request expired before an answer arrived."
    CANCELLED = "CANCELLED", "The run ended before an answer arrived."


class WaitKind(DescribedEnum):
    """What a live run waits for."""

    PERSON = "PERSON", "The run waits for the response to an input request."
    TIME = "TIME", "The run waits for an instant, such as the end of a delay."
    CHILDREN = "CHILDREN", "The run waits for the end of child runs."
    RETRY = "RETRY", "The run waits for the next attempt at a failed step."
    SLOT = "SLOT", "The run waits for a slot of the concurrency limit of its flow or project."
    RELEASE = "RELEASE", "The run waits for the release of its flow or project, whose starts are held."
    WORKER = "WORKER", "The run is due, and no worker has claimed it yet."


class Environment(DescribedEnum):
    """The environment of a run. It separates real executions of a flow from trials."""

    PRODUCTION = "PRODUCTION", "A real execution."
    TESTING = "TESTING", "A trial."


class TriggerMethod(DescribedEnum):
    """What started a run."""

    API = "API", "A program called `startRun`."
    MANUAL = "MANUAL", "A person called `startRun`, for example in the console. The caller of `startRun` states this."
    SCHEDULE = "SCHEDULE", "A schedule."
    WEBHOOK = "WEBHOOK", "A webhook was called."
    PARENT = "PARENT", "A step of another run started it."
    RETRY = "RETRY", "Another run was retried."
    RERUN = "RERUN", "Another run was run again."


class MissedFires(DescribedEnum):
    """How a schedule handles fire times that passed while no worker ran."""

    SKIP = "SKIP", "Starts no run for missed fire times."
    FIRE_ONCE = "FIRE_ONCE", "Starts one run, for the latest missed fire time."
    FIRE_ALL = "FIRE_ALL", "Starts a run for each of the latest 100 missed fire times."


class ScheduleOverlap(DescribedEnum):
    """How a schedule handles a fire time while a run of it is QUEUED, RUNNING or PAUSED."""

    QUEUE = "QUEUE", "Starts another run. The run waits in the queue if a concurrency limit requires that."
    SKIP = "SKIP", "Starts no run."
    CANCEL_PREVIOUS = "CANCEL_PREVIOUS", "Cancels the live runs of the schedule and starts one."


class WebhookSignature(DescribedEnum):
    """The form in which the calls of a webhook are signed."""

    HMAC = "HMAC", "The HMAC-SHA256 of the body, in hex or base64."
    GITHUB = "GITHUB", "The signature of GitHub."
    STANDARD_WEBHOOKS = "STANDARD_WEBHOOKS", "The signature of the Standard Webhooks specification."
    SVIX = "SVIX", "The signature of Svix."
    STRIPE = "STRIPE", "The signature of Stripe."
    SLACK = "SLACK", "The signature of Slack."


class SkipReason(DescribedEnum):
    """The reason why a schedule started no run at a fire time."""

    MISSED = "MISSED", "No worker ran at that time, and the schedule does not catch up."
    FLOW_DISABLED = "FLOW_DISABLED", "The flow was disabled."
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED", "The flow had no published version."
    OVERLAP = "OVERLAP", "A run of the schedule was live, and the schedule's `overlap` allows no second one."
    INPUT_INVALID = "INPUT_INVALID", "The schedule's input does not match the input schema of the published version."
    SCHEDULE_INVALID = (
        "SCHEDULE_INVALID",
        "The worker does not know the time zone any more. The schedule does not fire until it is updated.",
    )
    INTERNAL_ERROR = "INTERNAL_ERROR", "The run could not be started. The service log has the reason."


class RetryStrategy(DescribedEnum):
    """Where a retry begins."""

    FROM_FAILED_STEP = (
        "FROM_FAILED_STEP",
        "Executes the same version from the step at which the run ended, and keeps the results of the steps "
        "that succeeded.",
    )
    ON_LATEST_VERSION = "ON_LATEST_VERSION", "Executes every step of the published version."
    FROM_FAILED_STEP_ON_LATEST_VERSION = (
        "FROM_FAILED_STEP_ON_LATEST_VERSION",
        "Executes the published version, and keeps the results of its leading steps that succeeded and whose"
        " definitions did not change.",
    )
    FROM_STEP = (
        "FROM_STEP",
        "Executes the same version from a chosen step, at or before the one at which the run ended.",
    )


class OnItemFailure(DescribedEnum):
    """How a loop handles its other child runs when one of them fails the step.

    No further items are started in either case.
    """

    WAIT = "WAIT", "Child runs that have started continue."
    CANCEL = "CANCEL", "Child runs that have started are cancelled."


class Role(DescribedEnum):
    """The rights of an API key."""

    VIEWER = "VIEWER", "Reads."
    OPERATOR = "OPERATOR", "Also starts, retries, cancels, resumes and archives runs."
    ADMIN = "ADMIN", "Also changes flows, schedules, webhooks, secrets and the settings of the project."

    def includes(self, other: "Role") -> bool:
        """Returns True if this role may do everything that `other` may do."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class WorkerStatus(DescribedEnum):
    """Whether a worker lives, and claims runs."""

    ACTIVE = "ACTIVE", "It claims runs and executes them."
    DRAINING = "DRAINING", "It was asked to stop: it claims no more runs, and ends those that it executes."
    LOST = (
        "LOST",
        "It has not reported itself for 20 seconds: it was killed, or does not reach the database. Its runs go on"
        " elsewhere when their leases end.",
    )


class QueuePriority(DescribedEnum):
    """Priority of a run in the queue of due runs. Higher ones go first, and within a priority the longest due."""

    INTERACTIVE = "INTERACTIVE", "The highest: retries and reruns of single runs, for which a person waits."
    STARTED = "STARTED", "Runs that a worker has begun: they are finished before new work is begun."
    NEW = "NEW", "The lowest: all other runs."


class QueueGroup(DescribedEnum):
    """What the runs of one row of `queues` have in common."""

    FLOW = "FLOW", "The flow."
    PROJECT = "PROJECT", "The project."
    PRIORITY = "PRIORITY", "The priority."
