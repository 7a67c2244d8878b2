"""Where the files that steps produce are kept: a folder, or a bucket, by one way.

The store has only bytes under keys; what they are stands in the table `run_file`. A file is put there whole or not at
all. One whose row is never written, because its worker was lost in between, is an orphan; a sweep deletes it
(`engine.housekeeping`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

CHUNK_BYTES = 256 * 1024
"""In which files are read from the store: what a download holds in memory."""
_PART_BYTES = 5 * 1024 * 1024
"""In which a large file is sent to a bucket; the least that S3 takes."""
_PARTS_AT_ONCE = 2
"""Held in memory for each file that is being sent."""
BUCKETS = ("s3", "gs", "az")
"""Schemes of the URLs of buckets; credentials come from the environment, as each cloud's tools read them."""


class FileStoreError(Exception):
    """The file store does not answer, or refuses."""


class FileGoneError(Exception):
    """The store does not have the file."""


class FileStore:
    """Bytes under keys."""

    def __init__(self, url: str) -> None:
        """`url` is a folder (a path, or `file:///…`) or a bucket (`s3://bucket/prefix`); opened when it is used."""
        self._url = url
        self._opened: ObjectStore | None = None

    async def put(self, key: str, content: IO[bytes]) -> None:
        """Keep what `content` has from its beginning.

        Raises:
            FileStoreError: it cannot be kept.
        """
        content.seek(0)
        try:
            await obstore.put_async(self._store(), key, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        except (BaseError, OSError) as error:
            raise FileStoreError(_first_line(error)) from error

    async def get(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, which are more than none, in pieces.

        Raises:
            FileGoneError: there is no such file, or it is shorter.
            FileStoreError: the store does not answer.
        """
        try:
            found = await obstore.get_async(self._store(), key, options={"range": (start, end)})
        except FileNotFoundError as error:
            raise FileGoneError from error
        except (BaseError, OSError) as error:
            raise FileStoreError(_first_line(error)) from error
        if found.range != (start, end):
            raise FileGoneError
        return _pieces(found)

    async def delete(self, key: str) -> None:
        """Remove a file; one that is not there counts as removed.

        Raises:
            FileStoreError: the store does not answer.
        """
        try:
            await obstore.delete_async(self._store(), key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise FileStoreError(_first_line(error)) from error

    async def keys(self, at_once: int) -> AsyncIterator[list[str]]:
        """The keys of all that the store has, so many at a time; what is deleted meanwhile may be among them.

        Raises:
            FileStoreError: the store does not answer.
        """
        try:
            # Listed in a thread: a stream of obstore's own async kind aborts a process that ends soon after.
            found = iter(obstore.list(self._store(), chunk_size=at_once))
            while (some := await asyncio.to_thread(next, found, None)) is not None:
                yield [each["path"] for each in some]
        except (BaseError, OSError) as error:
            raise FileStoreError(_first_line(error)) from error

    def _store(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = open_store(self._url)
        return self._opened


def open_store(url: str) -> "ObjectStore":
    """The store at `url`; makes the folder if need be, and does not connect to a bucket yet.

    Raises:
        ValueError, BaseError: `url` names no store.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalStore.from_url(url, mkdir=True)
    return from_url(url) if parts.scheme else LocalStore(url, mkdir=True)


async def _pieces(found: "GetResult") -> AsyncIterator[bytes]:
    async for piece in found.stream(min_chunk_size=CHUNK_BYTES):
        yield bytes(piece)


def _first_line(error: Exception) -> str:
    # The rest is for debugging, and may hold parts of the request.
    return str(error).partition("\n")[0]
