import io
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from engine.file_store import CHUNK_BYTES, FileGoneError, FileStore, FileStoreError, open_store
from tests.support.clock import FakeClock

CONTENT = bytes(range(256)) * 4096


def test_store_urls(tmp_path: Path) -> None:
    bucket = open_store("s3://bucket/some/prefix")
    assert isinstance(bucket, S3Store)
    assert bucket.prefix == "some/prefix"
    assert bucket.config["bucket"] == "bucket"
    for number, url in enumerate((str(tmp_path / "a" / "0"), (tmp_path / "a" / "1").as_uri())):
        folder = open_store(url)
        assert isinstance(folder, LocalStore)
        # Only its owner can read it, as the database.
        assert (tmp_path / "a" / str(number)).stat().st_mode & 0o777 == 0o700
    assert isinstance(open_store("memory:///"), MemoryStore)


@pytest.mark.parametrize("url", ["s3://", "ftp://somewhere/else"])
def test_invalid_store_urls(url: str) -> None:
    with pytest.raises((BaseError, ValueError)):
        open_store(url)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    return FileStore("memory:///" if request.param == "memory" else str(tmp_path / "new" / "folder"))


async def _content(store: FileStore, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in await store.get(key, start, end)])


async def test_stored_content_can_be_read(store: FileStore) -> None:
    content = io.BytesIO(CONTENT)
    content.seek(17)
    await store.put("run/file", content)
    assert await _content(store, "run/file", 0, len(CONTENT)) == CONTENT
    assert await _content(store, "run/file", 3, 7) == CONTENT[3:7]


async def test_files_are_read_in_chunks(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    await store.put("run/file", io.BytesIO(CONTENT))
    pieces = [piece async for piece in await store.get("run/file", 0, len(CONTENT))]
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 2 * CHUNK_BYTES


async def test_missing_files(store: FileStore) -> None:
    with pytest.raises(FileGoneError):
        await store.get("run/none", 0, 1)
    await store.put("run/file", io.BytesIO(b"abc"))
    with pytest.raises(FileGoneError):
        await store.get("run/file", 0, 4)
    await store.delete("run/file")
    await store.delete("run/file")
    with pytest.raises(FileGoneError):
        await store.get("run/file", 0, 3)


async def test_keys_are_listed_in_batches(store: FileStore) -> None:
    assert [keys async for keys in store.keys(3)] == []
    for number in range(7):
        await store.put(f"run{number % 2}/file{number}", io.BytesIO(b"abc"))
    pieces = [keys async for keys in store.keys(3)]
    assert max(map(len, pieces)) <= 3
    assert sorted(key for keys in pieces for key in keys) == sorted(f"run{n % 2}/file{n}" for n in range(7))


async def test_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    store = FileStore(str(tmp_path))
    with pytest.raises(FileStoreError) as refusal:
        await store.put("run/file", io.BytesIO(b"abc"))
    assert "\n" not in str(refusal.value)
    with pytest.raises((FileStoreError, FileGoneError)):
        await store.get("run/file", 0, 1)


async def test_failures_are_logged_and_reported_for_a_while_without_paths(
    fake_clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("in the way")
    store = FileStore(str(tmp_path))
    assert store.problem is None
    with pytest.raises(FileStoreError) as refusal:
        await store.put("run/file", io.BytesIO(b"abc"))
    assert refusal.value.reason == store.problem == "Not a directory"
    (record,) = caplog.records
    assert str(tmp_path) in record.__dict__["reason"]
    await fake_clock.advance(31)
    assert store.problem is None
    # Such a text can have the account of a bucket.
    assert FileStoreError("Generic S3 error: 403 <AWSAccessKeyId>AK").reason == "the file store is unavailable"


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ("error: InvalidCertificate(\n    ExpiredContext {\n", "the certificate is not valid, ExpiredContext"),
        ("error: InvalidCertificate(\n Other(\n OtherError(\n  CaUsedAsEndEntity,", "not valid, CaUsedAsEndEntity"),
        ('code: 111,\n kind: ConnectionRefused,\n message: "Connection refused",', "request: Connection refused"),
    ],
)
async def test_log_says_why_a_bucket_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detail: str, reason: str
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise BaseError(f"Generic S3 error: error sending request\n\nDebug source:\n{detail} Authorization: AK")

    monkeypatch.setattr("obstore.put_async", away)
    with pytest.raises(FileStoreError) as failed:
        await FileStore(str(tmp_path)).put("run/file", io.BytesIO(b"abc"))
    assert str(failed.value).endswith(reason)
    assert failed.value.reason == "the file store is unavailable"
