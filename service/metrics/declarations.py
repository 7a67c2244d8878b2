"""Every metric of the service: its name, type, labels and meaning, declared once. docs/metrics.md lists the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    """The type of a metric, as Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared metric."""

    name: str
    """A counter's samples end in `_total`, which its name leaves out."""
    type: MetricType
    labels: Sequence[str]
    meaning: str
    buckets: Sequence[float] = ()
    """Upper bounds, of a histogram."""


ALL: list[Declared] = []
"""All metrics, in the order of the documentation."""


def _declare(name: str, metric_type: MetricType, labels: str, meaning: str, buckets: Sequence[float] = ()) -> Declared:
    declared = Declared(f"flowruns_{name}", metric_type, tuple(labels.split()), meaning, buckets)
    ALL.append(declared)
    return declared


_C, _G, _H = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)
_COSTS = (10, 100, 1_000, 10_000, 100_000, 500_000)

# Of one process: requests and streams.
OPERATIONS = _declare(
    "operations", _C, "type operation result", "Queries and mutations that were answered; `result` is `ok` or `error`."
)
OPERATION_SECONDS = _declare(
    "operation_seconds", _H, "type operation", "Time from the request to the response, in seconds.", _SECONDS
)
OPERATION_COST = _declare("operation_cost", _H, "type operation", "Query cost, in fields.", _COSTS)
COMPILED_READS = _declare(
    "compiled_reads", _C, "result reason", "Operations by how they were executed: `hit`, or `fallback` with the reason."
)
STREAMS_BEGUN = _declare("streams_begun", _C, "", "Subscriptions that clients started.")
STREAMS_ENDED = _declare(
    "streams_ended",
    _C,
    "reason",
    "Subscriptions that ended: `client`, `complete`, `failure`, or a code such as `SLOW_CONSUMER`.",
)
SUBSCRIBERS = _declare("subscribers", _G, "", "Subscriptions to the event log that are open.")
STREAM_CONNECTIONS = _declare("stream_connections", _G, "", "WebSockets and event streams that are open.")
EVENT_LOG_LAG = _declare(
    "event_log_lag_events", _G, "", "Events that are committed and not yet published here; absent without subscribers."
)
WEBHOOK_CALLS = _declare("webhook_calls", _C, "status", "Calls of webhooks, by the HTTP status returned.")
WEBHOOK_HEADERS_DROPPED = _declare(
    "webhook_headers_dropped", _C, "", "Headers that webhooks' responses lack: their templates rendered them invalid."
)
RATE_LIMITED = _declare(
    "rate_limited", _C, "by", "Requests that a rate limit refused: of a `key`, a `webhook` or an `answer_link`."
)
# Of one process: the worker.
RUNS_CLAIMED = _declare("runs_claimed", _C, "", "Claims of runs by the worker.")
RUNS_ENDED = _declare("runs_ended", _C, "status", "Runs that the worker ended, by final status.")
RUNS_EXECUTING = _declare("runs_executing", _G, "", "Runs that the worker executes now.")
WORKER_CONCURRENCY = _declare("worker_concurrency", _G, "", "Runs that the worker executes at most.")
ATTEMPTS = _declare("attempts", _C, "kind outcome", "Attempts that ended: `succeeded`, `retried` or `failed`.")
STEP_SECONDS = _declare(
    "step_seconds", _H, "kind", "Time that the code of one attempt at a step ran, in seconds.", _LONG_SECONDS
)
LEASES_LOST = _declare(
    "leases_lost", _C, "", "Executions that were aborted: the lease was lost, or the run was cancelled."
)
DELIVERY_ATTEMPTS = _declare(
    "delivery_attempts",
    _C,
    "result",
    "Attempts to deliver events to endpoints: `delivered`, or an `AttemptError` in lower case.",
)
DELIVERY_SECONDS = _declare(
    "delivery_seconds", _H, "", "Time until the receiver answered or the attempt was given up, in seconds.", _SECONDS
)
NOTIFICATION_ATTEMPTS = _declare(
    "notification_attempts", _C, "result", "Attempts to send messages of alerts: `sent` or `failed`."
)
# Of one process: its connections.
POOL_SIZE = _declare("pool_size", _G, "pool", "Database connections that the process keeps open at most.")
POOL_IN_USE = _declare("pool_in_use", _G, "pool", "Database connections in use.")
POOL_WAITING = _declare("pool_waiting", _G, "pool", "Statements that wait for a connection; absent where unknown.")
DATABASE_WRITABLE = _declare(
    "database_writable", _G, "", "0 if a write of the process failed within 30 s, as on a full disk; otherwise 1."
)
FILES_UP = _declare(
    "file_store_up", _G, "", "0 if the file store failed for the process within 30 s, as on a full disk; otherwise 1."
)
# Of the database: the same from every process.
DATABASE_UP = _declare("database_up", _G, "", "1 if the database answered; 0 if not, and what follows is absent.")
RUNS = _declare(
    "runs", _G, "project flow status", "Runs, from the kept counts; flows beyond the 100 largest are `other`."
)
QUEUE_DUE = _declare("queue_due_runs", _G, "priority", "Due runs that no worker has claimed, up to 100,000.")
QUEUE_OLDEST = _declare("queue_oldest_due_seconds", _G, "", "Seconds for which the first due run has been due.")
QUEUE_BLOCKED = _declare("queue_waiting_for_slot_runs", _G, "", "Runs in wait queues, up to 100,000.")
QUEUE_BLOCKED_OLDEST = _declare(
    "queue_waiting_for_slot_seconds", _G, "", "Seconds for which a run has waited for a slot, at most."
)
SLOTS_LIMIT = _declare("slots_limit", _G, "project flow", "Concurrency limit; `flow` is empty for that of a project.")
SLOTS_IN_USE = _declare("slots_in_use", _G, "project flow", "Slots in use under the limit.")
BULK_OPERATIONS = _declare("bulk_operations", _G, "kind", "Bulk operations that are being processed.")
BULK_MATCHED = _declare("bulk_matched_runs", _G, "kind", "Runs that these operations cover.")
BULK_PROCESSED = _declare("bulk_processed_runs", _G, "kind", "Runs of these operations that were processed.")
DELIVERIES_PENDING = _declare("deliveries_pending", _G, "", "Deliveries that have not ended, up to 100,000.")
DELIVERIES_OLDEST = _declare(
    "deliveries_oldest_due_seconds", _G, "", "Seconds for which the first delivery to an enabled endpoint has been due."
)
EVENT_LOG_POSITION = _declare("event_log_position", _G, "", "Newest position of the event log.")
