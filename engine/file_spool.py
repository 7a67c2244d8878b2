"""Files on their way into the store.

A file is gathered here first, in memory while it is small and then on disk. So the store never sees one that is too
large, or that ends half-way because the step failed.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeAlias

from domain.json_codec import KIB
from engine.errors import StepError

FileData: TypeAlias = bytes | bytearray | memoryview | PathLike[str] | Iterable[bytes] | AsyncIterable[bytes]
"""What a file may be made of."""

IN_MEMORY_BYTES = 1024 * KIB
"""Beyond which a file goes to disk; so many bytes are also written there at once."""


class Spool:
    """One file, gathered piece by piece, of bounded size; gone at the end of the block."""

    def __init__(self, limit: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed with the spool
        self._limit = limit
        self.size = 0
        """Bytes gathered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def content(self) -> IO[bytes]:
        """What was gathered."""
        return self._file

    async def gather(self, data: FileData) -> None:
        """Take all of `data`; what blocks does so in a thread.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE.
        """
        if isinstance(data, AsyncIterable):
            await self._gather_stream(data)
        else:
            await asyncio.to_thread(self.gather_blocking, data)

    def gather_blocking(self, data: FileData) -> None:
        """Take all of `data`, in this thread.

        Raises:
            StepError: FILE_TOO_LARGE, FILE_UNREADABLE.
        """
        for piece in _pieces(data):
            self._check_room(len(piece))
            self._file.write(piece)
            self.size += len(piece)

    async def _gather_stream(self, data: AsyncIterable[bytes]) -> None:
        waiting: list[bytes] = []
        size = 0
        async for piece in data:
            size += len(piece)
            self._check_room(size)
            waiting.append(piece)
            if size >= IN_MEMORY_BYTES:
                await asyncio.to_thread(self.gather_blocking, waiting)
                waiting, size = [], 0
        self.gather_blocking(waiting)

    def _check_room(self, more: int) -> None:
        if self.size + more > self._limit:
            message = f"The file has more than {self._limit:,} bytes."
            raise StepError("FILE_TOO_LARGE", message, retryable=False, details={"limit": self._limit})


def _pieces(data: FileData) -> Iterator[bytes | bytearray | memoryview]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield data
    elif isinstance(data, PathLike):
        yield from _pieces_of_file(Path(data))
    elif isinstance(data, Iterable) and not isinstance(data, str):
        yield from data
    else:
        raise TypeError(f"A file is made of bytes, a Path or an iterator of bytes, not of {type(data).__name__}")


def _pieces_of_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while piece := source.read(IN_MEMORY_BYTES):
                yield piece
    except OSError as error:
        raise StepError("FILE_UNREADABLE", f"{path.name} cannot be read: {error.strerror}") from None
