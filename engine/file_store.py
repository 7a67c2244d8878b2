"""The store of the files of runs: a folder or a bucket, behind one interface.

The store has only bytes under keys; their names and types are in the table `run_file`. A file is stored as a whole or
not at all. A file whose row is never written, because its worker was lost in between, is an orphan; maintenance deletes
it (`engine.worker.maintenance`).
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from domain.time import clock

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

CHUNK_BYTES = 256 * 1024
"""Bytes that are read from the store at once. A download holds one such chunk in memory."""
_PART_BYTES = 5 * 1024 * 1024
"""Size in bytes of one part of a large file that is sent to a bucket. S3 does not accept smaller parts."""
_MAX_CONCURRENT_PARTS = 2
"""Parts of one file that are sent at the same time. They are held in memory."""
BUCKETS = ("s3", "gs", "az")
"""URL schemes of buckets. Credentials come from the environment variables of each cloud's own tools."""
_SYSTEM_ERROR = re.compile(r": ([A-Za-z ]+) \(os error \d+\)")
_DETAIL = re.compile(r'InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)|message: "([^"]+)"')
"""Matches why a bucket could not be reached, in what the library says for debugging: the certificate, or the system."""
_PROBLEM_AGE = timedelta(seconds=30)
"""Time for which a failure is reported: longer than Prometheus and probes take between two looks."""
_logger = logging.getLogger(__name__)


class FileStoreError(Exception):
    """The file store is unavailable, or refuses the request. The message is for the log: it can name paths, buckets and
    accounts."""

    @property
    def reason(self) -> str:
        """Returns the reason for clients: that of the operating system, if there is one."""
        found = _SYSTEM_ERROR.search(str(self))
        return found.group(1) if found else "the file store is unavailable"


class FileGoneError(Exception):
    """The store does not have the file."""


class FileStore:
    """A store of files: bytes under keys."""

    def __init__(self, url: str) -> None:
        """`url` is a folder (a path or `file:///…`) or a bucket (`s3://bucket/prefix`). It is opened at first use."""
        self._url = url
        self._opened: ObjectStore | None = None
        self._failure: tuple[datetime, str] | None = None

    @property
    def problem(self) -> str | None:
        """Why the store failed within the last `_PROBLEM_AGE`, for clients; None if it did not."""
        if self._failure is None or clock.now() - self._failure[0] > _PROBLEM_AGE:
            return None
        return self._failure[1]

    async def put(self, key: str, content: IO[bytes]) -> None:
        """Store all of `content` under `key`.

        Raises:
            FileStoreError: the file cannot be stored.
        """
        content.seek(0)
        try:
            await obstore.put_async(
                self._store(), key, content, chunk_size=_PART_BYTES, max_concurrency=_MAX_CONCURRENT_PARTS
            )
        except (BaseError, OSError) as error:
            raise self._failed(error) from error

    async def get(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Returns the bytes from `start` up to `end`, at least one, in chunks.

        Raises:
            FileGoneError: the file does not exist, or is shorter.
            FileStoreError: the store is unavailable.
        """
        try:
            result = await obstore.get_async(self._store(), key, options={"range": (start, end)})
        except FileNotFoundError as error:
            raise FileGoneError from error
        except (BaseError, OSError) as error:
            raise self._failed(error) from error
        if result.range != (start, end):
            raise FileGoneError
        return _chunks(result)

    async def delete(self, key: str) -> None:
        """Delete a file. A file that does not exist counts as deleted.

        Raises:
            FileStoreError: the store is unavailable.
        """
        try:
            await obstore.delete_async(self._store(), key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._failed(error) from error

    async def keys(self, batch: int) -> AsyncIterator[list[str]]:
        """Yields the keys of all files, `batch` at a time. Files deleted during the iteration may be included.

        Raises:
            FileStoreError: the store is unavailable.
        """
        try:
            # The keys are listed in a thread: an async stream of obstore aborts a process that ends soon after it.
            pages = iter(obstore.list(self._store(), chunk_size=batch))
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                yield [entry["path"] for entry in page]
        except (BaseError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> FileStoreError:
        # The other lines are for debugging, and may contain parts of the request.
        first, _, details = str(error).partition("\n")
        found = _DETAIL.search(details)
        if found is not None:
            certificate, system = found.groups()
            first += f": {system}" if certificate is None else f": the certificate is not valid, {certificate}"
        failure = FileStoreError(first)
        self._failure = clock.now(), failure.reason
        _logger.warning("file store failed", extra={"reason": str(failure)})
        return failure

    def _store(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = open_store(self._url)
        return self._opened


def open_store(url: str) -> "ObjectStore":
    """Returns the store at `url`. Creates a missing folder; does not connect to a bucket yet.

    Raises:
        ValueError, BaseError: `url` is not the URL of a store.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return from_url(url)
    folder = url2pathname(parts.path) if parts.scheme else url
    with suppress(OSError):  # The store reports what is wrong with the folder.
        # Its files contain the data of runs, so only the owner can read them.
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore.from_url(url, mkdir=True) if parts.scheme else LocalStore(url, mkdir=True)


async def _chunks(result: "GetResult") -> AsyncIterator[bytes]:
    async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
        yield bytes(chunk)
