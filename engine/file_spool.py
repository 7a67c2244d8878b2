"""Spools a file before it is sent to the file store.

A file is written here first, in memory while it is small and to disk when it grows. So the store never receives a file
that is too large, or that is incomplete because the step failed.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeAlias

from domain.json_codec import KIB
from engine.errors import StepError
from engine.secrets.masks import MASK

FileData: TypeAlias = bytes | bytearray | memoryview | PathLike[str] | Iterable[bytes] | AsyncIterable[bytes]
"""The content of a file: bytes, a path to read from, or an iterator of chunks."""

IN_MEMORY_BYTES = 1024 * KIB
"""Bytes that a spool keeps in memory before it uses the disk. Files are read and written in chunks of this size."""


class FileSpool:
    """One file of bounded size. It is deleted at the end of the block."""

    def __init__(self, limit: int) -> None:
        """`limit` is the largest size of the file, in bytes."""
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed with the spool
        self._limit = limit
        self.size = 0
        """Bytes written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def content(self) -> IO[bytes]:
        """The spooled bytes."""
        return self._file

    async def write(self, data: FileData) -> None:
        """Append all of `data`. Blocking reads and writes run in a thread.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE.
        """
        if isinstance(data, AsyncIterable):
            await self._write_stream(data)
        else:
            await asyncio.to_thread(self.write_blocking, data)

    def write_blocking(self, data: FileData) -> None:
        """Append all of `data` in the calling thread.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE.
        """
        for chunk in _chunks(data):
            self._check_size(len(chunk))
            self._file.write(chunk)
            self.size += len(chunk)

    async def _write_stream(self, data: AsyncIterable[bytes]) -> None:
        buffered: list[bytes] = []
        size = 0
        async for chunk in data:
            size += len(chunk)
            self._check_size(size)
            buffered.append(chunk)
            if size >= IN_MEMORY_BYTES:
                await asyncio.to_thread(self.write_blocking, buffered)
                buffered, size = [], 0
        self.write_blocking(buffered)

    def mask(self, forms: Sequence[bytes]) -> None:
        """Replace each of `forms` in the file by the mask, in the calling thread."""
        if not any(any(form in part for form in forms) for part in self._overlapping(max(map(len, forms)))):
            return
        masked = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed with the spool
        # The end of each part is kept back, because a form may continue in the next part.
        kept = max(map(len, forms)) - 1
        rest = b""
        self.size = 0
        self._file.seek(0)
        while part := self._file.read(IN_MEMORY_BYTES):
            rest = _masked(rest + part, forms)
            whole = max(len(rest) - kept, 0)
            self.size += masked.write(rest[:whole])
            rest = rest[whole:]
        self.size += masked.write(rest)
        self._file.close()
        self._file = masked

    def _overlapping(self, overlap: int) -> Iterator[bytes]:
        """Yields the file in parts. Each part begins with the end of the previous one."""
        end = b""
        self._file.seek(0)
        while part := self._file.read(IN_MEMORY_BYTES):
            yield end + part
            end = (end + part)[-overlap:]

    def _check_size(self, more: int) -> None:
        if self.size + more > self._limit:
            message = f"The file is larger than {self._limit:,} bytes."
            raise StepError("FILE_TOO_LARGE", message, retryable=False, details={"limit": self._limit})


def _masked(content: bytes, forms: Sequence[bytes]) -> bytes:
    for form in forms:
        if form in content:
            content = content.replace(form, MASK.encode())
    return content


def _chunks(data: FileData) -> Iterator[bytes | bytearray | memoryview]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield data
    elif isinstance(data, PathLike):
        yield from _chunks_of_file(Path(data))
    elif isinstance(data, Iterable) and not isinstance(data, str):
        yield from data
    else:
        raise TypeError(f"A file must be bytes, a Path or an iterator of bytes, got {type(data).__name__}")


def _chunks_of_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while chunk := source.read(IN_MEMORY_BYTES):
                yield chunk
    except OSError as error:
        raise StepError("FILE_UNREADABLE", f"{path.name} cannot be read: {error.strerror}") from None
