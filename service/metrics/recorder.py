"""Counts and times what the process reports to its observer."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from domain.observation.observer import AttemptOutcome, Limited, Observer
from service.metrics import declarations
from service.metrics.declarations import Declared
from service.metrics.operation_series import OperationSeries


class Recorder(Observer):
    """The observer of a process that measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers its metrics with `registry`."""

        def counter(declared: Declared) -> Counter:
            return Counter(declared.name, declared.meaning, declared.labels, registry=registry)

        def histogram(declared: Declared) -> Histogram:
            return Histogram(
                declared.name, declared.meaning, declared.labels, registry=registry, buckets=declared.buckets
            )

        self._operations = OperationSeries()
        registry.register(self._operations)
        self._streams_begun = counter(declarations.STREAMS_BEGUN)
        self._streams_ended = counter(declarations.STREAMS_ENDED)
        self._webhook_calls = counter(declarations.WEBHOOK_CALLS)
        self._webhook_headers_dropped = counter(declarations.WEBHOOK_HEADERS_DROPPED)
        self._rate_limited = counter(declarations.RATE_LIMITED)
        for limited in Limited:
            self._rate_limited.labels(limited)  # A rate is known from the first refusal on, if the series began at 0.
        self._runs_claimed = counter(declarations.RUNS_CLAIMED)
        self._runs_ended = counter(declarations.RUNS_ENDED)
        self._attempts = counter(declarations.ATTEMPTS)
        self._step_seconds = histogram(declarations.STEP_SECONDS)
        self._leases_lost = counter(declarations.LEASES_LOST)
        self._delivery_attempts = counter(declarations.DELIVERY_ATTEMPTS)
        self._delivery_seconds = histogram(declarations.DELIVERY_SECONDS)
        self._notification_attempts = counter(declarations.NOTIFICATION_ATTEMPTS)

    def operation_executed(
        self, document: str | None, name: str | None, seconds: float, cost: int | None, *, has_errors: bool
    ) -> None:
        """See `Observer`."""
        self._operations.add((document, name, seconds, cost, has_errors))

    def stream_began(self) -> None:
        """See `Observer`."""
        self._streams_begun.inc()

    def stream_ended(self, reason: str) -> None:
        """See `Observer`."""
        self._streams_ended.labels(reason).inc()

    def webhook_called(self, status: int) -> None:
        """See `Observer`."""
        self._webhook_calls.labels(str(status)).inc()

    def webhook_headers_dropped(self, count: int) -> None:
        """See `Observer`."""
        self._webhook_headers_dropped.inc(count)

    def rate_limited(self, limited: Limited) -> None:
        """See `Observer`."""
        self._rate_limited.labels(limited).inc()

    def runs_claimed(self, count: int) -> None:
        """See `Observer`."""
        self._runs_claimed.inc(count)

    def lease_lost(self) -> None:
        """See `Observer`."""
        self._leases_lost.inc()

    def run_ended(self, status: str) -> None:
        """See `Observer`."""
        self._runs_ended.labels(status).inc()

    def step_executed(self, kind: str, seconds: float) -> None:
        """See `Observer`."""
        self._step_seconds.labels(kind).observe(seconds)

    def attempt_ended(self, kind: str, outcome: AttemptOutcome) -> None:
        """See `Observer`."""
        self._attempts.labels(kind, outcome).inc()

    def delivery_attempted(self, result: str, seconds: float) -> None:
        """See `Observer`."""
        self._delivery_attempts.labels(result).inc()
        self._delivery_seconds.observe(seconds)

    def notification_attempted(self, *, is_sent: bool) -> None:
        """See `Observer`."""
        self._notification_attempts.labels("sent" if is_sent else "failed").inc()
