import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.databases.binaries import find_binaries, system_directories
from tests.support.databases.postgres import PostgresServer, postgres_server
from tests.support.query import query


async def test_an_own_server_stops_and_starts_at_the_same_address(own_postgres: PostgresServer) -> None:
    url = own_postgres.url()
    await query(own_postgres.url(), "CREATE TABLE kept AS SELECT 5 AS value")
    own_postgres.stop()
    assert not own_postgres.running
    with pytest.raises(ConnectionError):
        await query(own_postgres.url(), "SELECT 1")
    own_postgres.start()
    assert own_postgres.url() == url
    assert await query(own_postgres.url(), "SELECT value FROM kept") == 5


async def test_a_killed_server_starts_again(own_postgres: PostgresServer) -> None:
    await query(own_postgres.url(), "CREATE TABLE kept AS SELECT 5 AS value")
    own_postgres.kill()
    own_postgres.start()
    assert await query(own_postgres.url(), "SELECT value FROM kept") == 5


def test_the_wheel_serves_a_machine_without_postgresql() -> None:
    with postgres_server(find_binaries([])) as server:
        assert asyncio.run(query(server.url(), "SELECT 1")) == 1


def test_links_lead_to_the_programs_beside_the_original(tmp_path: Path) -> None:
    original = tmp_path / "lib"
    common = tmp_path / "bin"
    original.mkdir()
    common.mkdir()
    for name in ("initdb", "postgres", "pg_ctl"):
        (original / name).touch()
    (common / "initdb").symlink_to(original / "initdb")
    assert find_binaries([tmp_path, common]) == original


def test_the_newest_version_of_the_machine_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/somewhere")
    first, *others = system_directories()
    assert first == Path("/somewhere")
    versions = [int(place.parent.name) for place in others]
    assert versions == sorted(versions, reverse=True)


def wait_until_gone(path: Path, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.02)


def test_no_server_outlives_its_owner() -> None:
    owner = """
import sys
from tests.support.databases.postgres import postgres_server
with postgres_server() as server:
    print(server.url(), server.directory, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, directory = process.stdout.readline().split()
        assert asyncio.run(query(url, "SELECT 1")) == 1
        process.kill()
    wait_until_gone(Path(directory))
    with pytest.raises(ConnectionError):
        asyncio.run(query(url, "SELECT 1"))
