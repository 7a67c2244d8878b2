"""What runs log and store while they are executed, on its way into the database.

Lines and files are gathered in memory and written with the run's next journal write, in its transaction. An attempt
that takes long also has them written once a second. Each write shows the run's lease, so what a worker notes that lost
it is never seen.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.runs import step_journal
from db.runs.logs import Line
from domain import clock, ids, run_file
from domain.ids import IdKind
from domain.run_log import MAX_LINES, MAX_MESSAGE, LogLevel
from domain.text import storable
from engine.errors import StepError
from engine.file_spool import Spool
from engine.file_store import FileStore, FileStoreError

FLUSH_SECONDS = 1.0
"""After which lines of an attempt under way are written."""
MAX_FILE_BYTES = 100 * 1024 * 1024
"""Of one file, unless the operator decides otherwise."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much runs may log and store, and where."""

    files: FileStore | None = None
    """None: steps cannot store files."""
    max_lines: int = MAX_LINES
    """Of the log of a run."""
    max_file_bytes: int = MAX_FILE_BYTES


class RunOutputBuffer:
    """What a claimed run logged and stored since its last write. Lines come from any thread."""

    def __init__(self, run_id: UUID, settings: OutputLimits, count_files: Callable[[], Awaitable[int]]) -> None:
        """`count_files` tells how many files the run has in the database."""
        self.run_id = run_id
        self.settings = settings
        self._count_files = count_files
        self._files_count: int | None = None
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._files: list[Mapping[str, Any]] = []

    def log(self, step: str, attempt: int, message: str, level: LogLevel = LogLevel.INFO) -> None:
        """Note a line."""
        line = Line(clock.now(), level, step, attempt, storable(message, MAX_MESSAGE))
        with self._lock:
            # One more than the log takes, so that it says that there were more.
            if len(self._lines) <= self.settings.max_lines:
                self._lines.append(line)

    @property
    def has_any(self) -> bool:
        """Whether there is something to write."""
        return bool(self._lines or self._files)

    def take(self) -> step_journal.RunOutput | None:
        """What there is to write, which is then no longer here; None: nothing."""
        if not self.has_any:
            return None
        with self._lock:
            taken = step_journal.RunOutput(self._lines, self.settings.max_lines, self._files)
            self._lines, self._files = [], []
        return taken

    def give_back(self, notes: step_journal.RunOutput) -> None:
        """Have what could not be written written next time."""
        with self._lock:
            self._lines[:0] = notes.lines
            self._files[:0] = notes.files

    async def reserve_file(self) -> None:
        """Make sure that the run may have one more file.

        Raises:
            StepError: TOO_MANY_FILES.
        """
        if self._files_count is None:
            found = await self._count_files()
            # Meanwhile somebody else may have asked, and gone on counting.
            self._files_count = found if self._files_count is None else self._files_count
        if self._files_count >= run_file.MAX_FILES:
            raise StepError("TOO_MANY_FILES", f"A run has at most {run_file.MAX_FILES:,} files.", retryable=False)
        self._files_count += 1

    def keep_file(self, row: Mapping[str, Any]) -> None:
        """Note a file whose bytes are in the store."""
        with self._lock:
            self._files.append(row)


class AttemptRecorder:
    """Takes down what one attempt logs and stores, and has it written now and then while the attempt is under way."""

    def __init__(self, notes: RunOutputBuffer, step: str, attempt: int, flush: Callable[[], Awaitable[None]]) -> None:
        self._notes = notes
        self._step = step
        self._attempt = attempt
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._is_over = False
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the attempt."""
        return self._loop

    @property
    def max_file_bytes(self) -> int:
        """Bytes that a file may have."""
        return self._notes.settings.max_file_bytes

    def log(self, message: str, level: str) -> None:
        """Note a line; from any thread. Once the attempt is over, nobody listens any more."""
        if self._is_over:
            return
        self._notes.log(self._step, self._attempt, str(message), LogLevel.of(level))
        self._flush_from_now_on()

    async def store(self, name: str, spool: Spool, media_type: str | None) -> dict[str, Any]:
        """Keep a gathered file; returns `{id, name, size, mediaType}`.

        Raises:
            StepError: FILE_NAME_INVALID, TOO_MANY_FILES, FILES_UNAVAILABLE, ATTEMPT_OVER.
        """
        store = self._notes.settings.files
        if store is None:
            raise StepError("FILES_UNAVAILABLE", "There is no file store here.", retryable=False)
        row = self._row(name, spool.size, media_type)
        await self._notes.reserve_file()
        try:
            await store.put(row["key"], spool.content)
        except FileStoreError as error:
            raise StepError("FILES_UNAVAILABLE", f"The file cannot be stored: {error}") from None
        if self._is_over:
            with suppress(FileStoreError):
                await store.delete(row["key"])
            raise StepError("ATTEMPT_OVER", "The attempt is over: it can store nothing any more.")
        self._notes.keep_file(row)
        self._flush_from_now_on()
        told = {name: row[name] for name in ("name", "size")}
        return {"id": ids.encode(IdKind.FILE, row["id"]), **told, "mediaType": row["media_type"]}

    async def close(self) -> None:
        """The attempt is over: what it noted goes with the next journal write."""
        self._is_over = True
        self._over.set()
        if self._flushing is not None:
            await self._flushing

    def _row(self, name: str, size: int, media_type: str | None) -> dict[str, Any]:
        safe = run_file.safe_name(storable(name, len(name)))
        if safe is None:
            raise StepError("FILE_NAME_INVALID", f"{name[:100]!r} is not the name of a file.", retryable=False)
        key = ids.new_uuid()
        return {
            "id": key,
            "run_id": self._notes.run_id,
            "step_name": self._step,
            "attempt": self._attempt,
            "name": safe,
            "size": size,
            "media_type": run_file.media_type(media_type, safe),
            "key": f"{self._notes.run_id.hex}/{key.hex}",
            "created_at": ids.created_at(key),
        }

    def _flush_from_now_on(self) -> None:
        if self._is_flushing:
            return
        self._is_flushing = True
        with suppress(RuntimeError):  # the loop is closed, and with it everything is over
            self._loop.call_soon_threadsafe(self._start_flushing)

    def _start_flushing(self) -> None:
        if not self._is_over:
            self._flushing = self._loop.create_task(self._flush_regularly())

    async def _flush_regularly(self) -> None:
        while not await clock.wait_for(self._over, FLUSH_SECONDS):
            await self._flush()
