"""Buffers the log lines and files of a run until they are written to the database.

They are buffered in memory and written with the run's next journal write, in the same transaction. During a long
attempt, they are also written once a second. Each write is fenced by the run's lease, so the output of a worker that
has lost the lease is dropped.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.runs import step_journal
from db.runs.output.logs import Line
from domain import ids
from domain.ids import IdKind
from domain.runs import run_file
from domain.runs.run_log import MAX_LINES, MAX_MESSAGE, LogLevel, storable
from domain.time import clock
from engine.errors import StepError
from engine.file_spool import FileSpool
from engine.file_store import FileStore, FileStoreError
from engine.secrets.run_secrets import RunSecrets

FLUSH_SECONDS = 1.0
"""Time between two writes of the output of a running attempt, in seconds."""
MAX_FILE_BYTES = 100 * 1024 * 1024
"""Largest size of one file in bytes, unless the operator sets another limit."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Limits of log lines and files of runs, and the store of the files."""

    files: FileStore | None = None
    """The file store; None: steps cannot store files."""
    max_lines: int = MAX_LINES
    """Largest number of lines in the log of one run."""
    max_file_bytes: int = MAX_FILE_BYTES
    """Largest size of one file, in bytes."""


class RunOutputBuffer:
    """The log lines and files of a claimed run that are not written yet. Thread-safe."""

    def __init__(
        self,
        run_id: UUID,
        limits: OutputLimits,
        count_files: Callable[[], Awaitable[int]],
        secrets: RunSecrets | None = None,
    ) -> None:
        """`count_files` returns the number of files that the run has in the database; `secrets` are masked."""
        self.run_id = run_id
        self.secrets = secrets
        self.limits = limits
        self._count_files = count_files
        self._files_count: int | None = None
        self._lock = threading.Lock()
        self._log_lines: list[Line] = []
        self._files: list[Mapping[str, Any]] = []

    def log(self, step: str, attempt: int, message: str, level: LogLevel = LogLevel.INFO) -> None:
        """Add a line."""
        if self.secrets is not None:
            message = self.secrets.log_line(message)
        line = Line(clock.now(), level, step, attempt, storable(message, MAX_MESSAGE))
        with self._lock:
            # One line more than the log keeps: the database then records that lines were dropped.
            if len(self._log_lines) <= self.limits.max_lines:
                self._log_lines.append(line)

    @property
    def has_any(self) -> bool:
        """True if output is buffered."""
        return bool(self._log_lines or self._files)

    def take(self) -> step_journal.RunOutput | None:
        """Empty the buffer and return its content; None if it was empty."""
        if not self.has_any:
            return None
        with self._lock:
            output = step_journal.RunOutput(self._log_lines, self.limits.max_lines, self._files)
            self._log_lines, self._files = [], []
        return output

    def put_back(self, output: step_journal.RunOutput) -> None:
        """Put output that could not be written back at the beginning of the buffer."""
        with self._lock:
            self._log_lines[:0] = output.log_lines
            self._files[:0] = output.files

    async def reserve_file(self) -> None:
        """Reserve a file of the run under the limit.

        Raises:
            StepError: TOO_MANY_FILES.
        """
        if self._files_count is None:
            count = await self._count_files()
            # Another file may have been reserved during the await.
            self._files_count = count if self._files_count is None else self._files_count
        if self._files_count >= run_file.MAX_FILES:
            message = f"A run can have at most {run_file.MAX_FILES:,} files."
            raise StepError("TOO_MANY_FILES", message, retryable=False)
        self._files_count += 1

    def add_file(self, row: Mapping[str, Any]) -> None:
        """Add a file whose content has been stored; `row` is its row of `run_file`."""
        with self._lock:
            self._files.append(row)


class AttemptRecorder:
    """Records the log lines and files of one attempt, and flushes them once a second while it runs."""

    def __init__(self, output: RunOutputBuffer, step: str, attempt: int, flush: Callable[[], Awaitable[None]]) -> None:
        self._output = output
        self._step = step
        self._attempt = attempt
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._is_closed = False
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the attempt."""
        return self._loop

    @property
    def max_file_bytes(self) -> int:
        """Largest size of a file, in bytes."""
        return self._output.limits.max_file_bytes

    def log(self, message: str, level: str) -> None:
        """Add a line to the run's log, from any thread. Ignored after the attempt has ended."""
        if self._is_closed:
            return
        self._output.log(self._step, self._attempt, str(message), LogLevel.of(level))
        self._ensure_flushing()

    async def store(self, name: str, spool: FileSpool, media_type: str | None) -> dict[str, Any]:
        """Store a spooled file; returns `{id, name, size, mediaType}`.

        Raises:
            StepError: FILE_NAME_INVALID, TOO_MANY_FILES, FILES_UNAVAILABLE, ATTEMPT_OVER.
        """
        store = self._output.limits.files
        if store is None:
            raise StepError("FILES_UNAVAILABLE", "This worker has no file store.", retryable=False)
        if (secrets := self._output.secrets) is not None and (forms := secrets.byte_forms()):
            await asyncio.to_thread(spool.mask, forms)
            name = secrets.text(name)
        row = self._row(name, spool.size, media_type)
        await self._output.reserve_file()
        try:
            await store.put(row["key"], spool.content)
        except FileStoreError as error:
            raise StepError("FILES_UNAVAILABLE", f"The file cannot be stored: {error.reason}.") from None
        if self._is_closed:
            with suppress(FileStoreError):
                await store.delete(row["key"])
            raise StepError("ATTEMPT_OVER", "The attempt has ended and cannot store files any more.")
        self._output.add_file(row)
        self._ensure_flushing()
        file_id = ids.encode(IdKind.FILE, row["id"])
        return {"id": file_id, "name": row["name"], "size": row["size"], "mediaType": row["media_type"]}

    async def close(self) -> None:
        """End the recording. Output that is still buffered is written with the next journal write."""
        self._is_closed = True
        self._closed.set()
        if self._flushing is not None:
            await self._flushing

    def _row(self, name: str, size: int, media_type: str | None) -> dict[str, Any]:
        safe_name = run_file.safe_name(storable(name, len(name)))
        if safe_name is None:
            raise StepError("FILE_NAME_INVALID", f"{name[:100]!r} is not a valid file name.", retryable=False)
        file_id = ids.new_uuid()
        return {
            "id": file_id,
            "run_id": self._output.run_id,
            "step_name": self._step,
            "attempt": self._attempt,
            "name": safe_name,
            "size": size,
            "media_type": run_file.media_type(media_type, safe_name),
            "key": f"{self._output.run_id.hex}/{file_id.hex}",
            "created_at": ids.created_at(file_id),
        }

    def _ensure_flushing(self) -> None:
        """Start the periodic flush with the first output: most attempts have no output."""
        if self._is_flushing:
            return
        self._is_flushing = True
        with suppress(RuntimeError):  # The event loop is closed: the process ends.
            self._loop.call_soon_threadsafe(self._start_flushing)

    def _start_flushing(self) -> None:
        if not self._is_closed:
            self._flushing = self._loop.create_task(self._flush_periodically())

    async def _flush_periodically(self) -> None:
        while not await clock.wait_for(self._closed, FLUSH_SECONDS):
            await self._flush()
