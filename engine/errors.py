"""How a step fails."""

from typing import Any


class StepError(Exception):
    """A try of a step failed.

    `code` is stable and meant for machines, `message` is for people and free of stack traces. `retryable` is False
    where the same try would fail again. `details` is JSON that belongs to the code, such as an HTTP status.
    """

    def __init__(
        self, code: str, message: str, *, retryable: bool = True, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
