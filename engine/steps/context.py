"""What runs a step, and what it is told about the run."""

import asyncio
import logging
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.errors import StepError
from engine.file_spool import FileData, Spool
from engine.run_output import MAX_FILE_BYTES, AttemptRecorder

_logger = logging.getLogger("engine.step")


@dataclass(frozen=True, slots=True)
class _Attempt:
    run_id: str
    """Typed, as clients see it."""
    step: str
    attempt: int
    """Counted from 1."""
    idempotency_key: str
    """The same for all tries of the step: `<run id>:<step>`."""
    timeout: float | None = None
    """Seconds that the definition gives to one try, when it does."""
    notes: AttemptRecorder | None = field(default=None, compare=False, repr=False)
    """Where lines and files go; None: lines go to the service's own log, and files nowhere."""

    def log(self, message: str, level: str = "INFO") -> None:
        """Write a line to the run's log. `level` is DEBUG, INFO, WARNING or ERROR."""
        if self.notes is not None:
            self.notes.log(message, level)
            return
        number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        _logger.log(number, "%s %s: %s", self.run_id, self.step, message)

    @property
    def max_file_bytes(self) -> int:
        """Bytes that a file may have."""
        return MAX_FILE_BYTES if self.notes is None else self.notes.max_file_bytes


@dataclass(frozen=True, slots=True)
class StepContext(_Attempt):
    """The try of a step that is under way."""

    async def store_file(self, name: str, data: FileData, media_type: str | None = None) -> dict[str, Any]:
        """Keep `data` as a file of the run; returns `{id, name, size, mediaType}`, once its bytes are stored.

        A name that the run has already gives one more file of that name. The media type is taken from the name, when
        none is given.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE, FILE_NAME_INVALID, TOO_MANY_FILES, FILES_UNAVAILABLE.
        """
        with Spool(self.max_file_bytes) as spool:
            await spool.gather(data)
            return await _open_notes(self).store(name, spool, media_type)


@dataclass(frozen=True, slots=True)
class ThreadContext(_Attempt):
    """The try of a step that is under way in a thread."""

    def store_file(self, name: str, data: FileData, media_type: str | None = None) -> dict[str, Any]:
        """Like that of StepContext, and returns when the file is stored. An iterator is read in this thread."""
        notes = _open_notes(self)
        with Spool(self.max_file_bytes) as spool:
            if isinstance(data, AsyncIterable):
                asyncio.run_coroutine_threadsafe(spool.gather(data), notes.loop).result()
            else:
                spool.gather_blocking(data)
            return asyncio.run_coroutine_threadsafe(notes.store(name, spool, media_type), notes.loop).result()

    @classmethod
    def of(cls, context: StepContext) -> "ThreadContext":
        """`context`, for an action that runs in a thread."""
        return cls(
            context.run_id, context.step, context.attempt, context.idempotency_key, context.timeout, context.notes
        )


class StepRunner(Protocol):
    """Executes the steps of one kind."""

    async def run(self, input: Any, context: StepContext) -> Any:  # noqa: A002 - the word of the flow language
        """The output of the step, which is JSON. `input` is the step's input, rendered.

        Raises:
            StepError: the try failed.
        """
        ...


def _open_notes(attempt: _Attempt) -> AttemptRecorder:
    if attempt.notes is None:
        raise StepError("FILES_UNAVAILABLE", "There is no file store here.", retryable=False)
    return attempt.notes
