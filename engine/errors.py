"""Errors of steps."""

from typing import Any

from pydantic import ValidationError

from domain.flows.json_schema import path_text

_MAX_LISTED = 5
"""Largest number of problems that one message lists."""


class StepError(Exception):
    """An attempt at a step failed.

    `code` is stable and for programs; `message` is for people and has no stack trace. `retryable` is False if another
    attempt would fail in the same way. `details` is JSON that belongs to the code, such as an HTTP status.
    `retry_after` is the number of seconds before another attempt makes sense; None: at any time.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = True,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = details
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def validation_message(error: ValidationError) -> str:
    """Returns the first problems of a rendered input, with their paths."""
    problems = error.errors(include_url=False)[:_MAX_LISTED]
    return "; ".join(f"{path_text(problem['loc'])}: {problem['msg']}" for problem in problems)
