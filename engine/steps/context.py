"""The context of an attempt: its IDs, and functions that log lines and store files."""

import asyncio
import logging
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any

from engine.errors import StepError
from engine.file_spool import FileData, FileSpool
from engine.run_output import MAX_FILE_BYTES, AttemptRecorder

_logger = logging.getLogger("engine.step")


@dataclass(frozen=True, slots=True)
class _Attempt:
    run_id: str
    """ID of the run as clients see it."""
    step: str
    """Name of the step."""
    attempt: int
    """Number of the attempt, from 1."""
    idempotency_key: str
    """The step's `idempotencyKey`, or `<ID of the first run>:<step>`. It is the same for all attempts at the step, and
    for retries from the failed step."""
    timeout: float | None = None
    """Longest duration of one attempt, in seconds; None: unlimited."""
    recorder: AttemptRecorder | None = field(default=None, compare=False, repr=False)
    """Records log lines and files. None: lines go to the service log, and files cannot be stored."""

    def log(self, message: str, level: str = "INFO") -> None:
        """Write a line to the run's log. `level` is DEBUG, INFO, WARNING or ERROR."""
        if self.recorder is not None:
            self.recorder.log(message, level)
            return
        number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        fields = {"run_id": self.run_id, "step": self.step, "attempt": self.attempt, "line": message}
        _logger.log(number, "step log line", extra=fields)

    @property
    def max_file_bytes(self) -> int:
        """Largest size in bytes of a file that the step may store."""
        return MAX_FILE_BYTES if self.recorder is None else self.recorder.max_file_bytes


@dataclass(frozen=True, slots=True)
class StepContext(_Attempt):
    """The running attempt of a step on the event loop."""

    async def store_file(self, name: str, data: FileData, media_type: str | None = None) -> dict[str, Any]:
        """Store `data` as a file of the run; returns `{id, name, size, mediaType}`.

        A run may have several files of the same name. The default media type is derived from the name.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE, FILE_NAME_INVALID, TOO_MANY_FILES, FILES_UNAVAILABLE.
        """
        with FileSpool(self.max_file_bytes) as spool:
            await spool.write(data)
            return await _recorder_of(self).store(name, spool, media_type)


@dataclass(frozen=True, slots=True)
class ThreadContext(_Attempt):
    """The running attempt of a step in a thread."""

    def store_file(self, name: str, data: FileData, media_type: str | None = None) -> dict[str, Any]:
        """Like `StepContext.store_file`; returns when the file is stored. An iterator is read in this thread."""
        recorder = _recorder_of(self)
        with FileSpool(self.max_file_bytes) as spool:
            if isinstance(data, AsyncIterable):
                asyncio.run_coroutine_threadsafe(spool.write(data), recorder.loop).result()
            else:
                spool.write_blocking(data)
            return asyncio.run_coroutine_threadsafe(recorder.store(name, spool, media_type), recorder.loop).result()

    @classmethod
    def of(cls, context: StepContext) -> "ThreadContext":
        """Returns `context` for an action that runs in a thread."""
        return cls(
            context.run_id, context.step, context.attempt, context.idempotency_key, context.timeout, context.recorder
        )


def _recorder_of(attempt: _Attempt) -> AttemptRecorder:
    if attempt.recorder is None:
        raise StepError("FILES_UNAVAILABLE", "There is no file store for this attempt.", retryable=False)
    return attempt.recorder
