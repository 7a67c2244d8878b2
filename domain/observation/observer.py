"""What the service reports about its own work while it does it; metrics are made of these reports.

Code that does something calls an observer, and knows nothing of metrics. The observer of a process that measures
nothing does nothing (`SILENT`). An implementation returns at once and raises nothing.
"""

from enum import StrEnum


class AttemptOutcome(StrEnum):
    """How an attempt at a step ended."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    """It failed, and the step is attempted again."""
    FAILED = "failed"
    """It failed, and was the last one."""


class Limited(StrEnum):
    """What a rate limit limits."""

    KEY = "key"
    WEBHOOK = "webhook"
    ANSWER_LINK = "answer_link"


class Observer:
    """Receives reports, and ignores them. Subclasses use those that they need."""

    def operation_executed(
        self, document: str | None, name: str | None, seconds: float, cost: int | None, *, has_errors: bool
    ) -> None:
        """A query or mutation was answered after `seconds`; `cost` is None if it was not computed."""

    def stream_began(self) -> None:
        """A subscription was started by a client."""

    def stream_ended(self, reason: str) -> None:
        """A subscription ended; `reason` is a code of an error, or a word in lower case."""

    def webhook_called(self, status: int) -> None:
        """A webhook was called, and got a response with this HTTP status."""

    def webhook_headers_dropped(self, count: int) -> None:
        """The template of a webhook's response rendered headers that are invalid."""

    def rate_limited(self, limited: Limited) -> None:
        """A request was refused by a rate limit."""

    def runs_claimed(self, count: int) -> None:
        """A worker has claimed runs."""

    def lease_lost(self) -> None:
        """A worker has lost the lease of a run that it executed, or the run was ended elsewhere."""

    def run_ended(self, status: str) -> None:
        """A worker has ended a run with this final status."""

    def step_executed(self, kind: str, seconds: float) -> None:
        """The code of a step of this kind ran for `seconds`; kinds that only wait run none."""

    def attempt_ended(self, kind: str, outcome: AttemptOutcome) -> None:
        """An attempt at a step of this kind has ended."""

    def delivery_attempted(self, result: str, seconds: float) -> None:
        """An attempt of a delivery has ended after `seconds`; `result` is a word in lower case."""

    def notification_attempted(self, *, is_sent: bool) -> None:
        """An attempt to send a message of an alert has ended."""


SILENT = Observer()
"""Of a process that measures nothing."""
