"""What runs a step, and what it is told about the run."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

_logger = logging.getLogger("engine.step")


@dataclass(frozen=True, slots=True)
class StepContext:
    """The try of a step that is under way."""

    run_id: str
    """Typed, as clients see it."""
    step: str
    attempt: int
    """Counted from 1."""
    idempotency_key: str
    """The same for all tries of the step: `<run id>:<step>`."""
    timeout: float | None = None
    """Seconds that the definition gives to one try, when it does."""

    def log(self, message: str, level: str = "INFO") -> None:
        """Write a line to the run's log. `level` is DEBUG, INFO, WARNING or ERROR."""
        number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        _logger.log(number, "%s %s: %s", self.run_id, self.step, message)


class StepRunner(Protocol):
    """Executes the steps of one kind."""

    async def run(self, input: Any, context: StepContext) -> Any:  # noqa: A002 - the word of the flow language
        """The output of the step, which is JSON. `input` is the step's input, rendered.

        Raises:
            StepError: the try failed.
        """
        ...
