"""Connections to real servers: over TLS, and through PgBouncer."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from db import projects
from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from db.core.postgres import ConnectionFailedError, Pooling, PostgresServer
from db.migrate import is_current, upgrade
from domain.errors import DatabaseUnavailableError
from tests.db.core.test_pg_notify import Process, within
from tests.support.account import unprivileged
from tests.support.app import run_app
from tests.support.databases.pgbouncer import PROGRAM, pgbouncer
from tests.support.databases.postgres import PostgresServer as Server
from tests.support.databases.postgres import postgres_server
from tests.support.query import query

FLOW = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
SESSIONS = {"session": 60, "transaction": 3}
"""Sessions that PgBouncer has: fewer than connections, where these share them."""


@pytest.fixture
def dialect() -> str:
    return "postgresql"


def one(conn: Connection) -> int:
    number: int = conn.execute(text("SELECT 1")).scalar_one()
    return number


async def use_all_ways(database: Database) -> None:
    """Reads, fetches and writes, more of them at a time than a pooler has sessions."""
    ways = [database.read(one) for _ in range(20)]
    fetched = [database.fetch("SELECT $1::int AS n", [number]) for number in range(20)]
    written = [database.write(projects.create, f"project {number}") for number in range(20)]
    assert await asyncio.gather(*ways) == [1] * 20
    assert [rows[0]["n"] for rows in await asyncio.gather(*fetched)] == list(range(20))
    assert len(set(await asyncio.gather(*written))) == 20


async def wake_each_other(url: str) -> None:
    """What one process publishes is heard in the other."""
    async with Process(url) as one_, Process(url) as other:
        with other.signals.listen(pubsub.EVENTS) as heard:
            heard.clear()
            await one_.database.write(lambda uow: uow.publish_after_commit(pubsub.EVENTS))
            await within(heard)


# PgBouncer


@pytest.fixture(params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    return str(request.param)


@pytest.fixture
def pooled_url(database_url: str, mode: str) -> Iterator[str]:
    with pgbouncer(database_url, mode, SESSIONS[mode]) as url:
        yield url


async def test_pooler_and_its_mode_are_found(database_url: str, pooled_url: str, mode: str) -> None:
    assert await PostgresServer(database_url).find_pooling() is Pooling.NONE
    assert await PostgresServer(pooled_url).find_pooling() is Pooling(mode)


async def test_only_session_of_a_pooler_is_enough_to_find_its_mode(database_url: str, mode: str) -> None:
    with pgbouncer(database_url, mode, 1) as url:
        assert await PostgresServer(url).find_pooling() is Pooling(mode)


async def test_database_works_through_a_pooler(pooled_url: str) -> None:
    database = open_database(pooled_url, query_timeout=5.0)
    try:
        for _ in range(3):
            await use_all_ways(database)
    finally:
        await database.close()


async def test_settings_of_sessions_hold_through_a_pooler(pooled_url: str) -> None:
    database = open_database(pooled_url, query_timeout=5.0)

    def settings(conn: Connection) -> list[str]:
        return [conn.execute(text(f"SHOW {name}")).scalar_one() for name in ("jit", "statement_timeout", "timezone")]

    try:
        assert await database.read(settings) == ["off", "5s", "UTC"]
        (row,) = await database.fetch("SELECT current_setting('statement_timeout') AS found", [])
        assert row["found"] == "5s"
        assert (await database.write(lambda uow: settings(uow.conn)))[:2] == ["off", "0"]
    finally:
        await database.close()


async def test_processes_wake_each_other_through_a_pooler(pooled_url: str) -> None:
    await wake_each_other(pooled_url)


async def test_database_is_migrated_through_a_pooler(database_url: str, mode: str) -> None:
    await query(database_url, "DROP SCHEMA public CASCADE")
    await query(database_url, "CREATE SCHEMA public")
    with pgbouncer(database_url, mode, SESSIONS[mode]) as url:
        await asyncio.to_thread(upgrade, url)
        database = open_database(url)
        assert await database.read(is_current)
        await database.close()


async def test_service_runs_through_a_pooler(pooled_url: str) -> None:
    async with run_app(pooled_url, with_worker=True) as app:
        flow = await app.create_flow(FLOW)
        runs = [app.start(flow, select="status", input={"n": number}, waitMs=20_000) for number in range(10)]
        assert [(answer["run"]["status"]) for answer in await asyncio.gather(*runs)] == ["SUCCEEDED"] * 10


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority (`ca.pem`), a server's certificate, and another authority."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        _openssl(folder, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    _openssl(folder, "req", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost", "-keyout", "server.key",
             "-out", "server.csr")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    _openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def tls_server(authority: Path) -> Iterator[Server]:
    """A server that takes connections over TLS alone."""
    with postgres_server() as server:
        data = server.directory / "data"
        for name in ("server.pem", "server.key"):
            (data / name).write_bytes((authority / name).read_bytes())
            (data / name).chmod(0o600)
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        unprivileged().own(data)
        server.stop()
        server.start()
        upgrade(f"{server.url()}?sslmode=require")
        yield server


def plain(server: Server) -> str:
    return server.url().replace("postgresql+asyncpg", "postgres")


@pytest.mark.parametrize("parameters", ["sslmode=require", "ssl=true", "sslmode=verify-full&sslrootcert={ca}"])
async def test_pool_and_notifier_use_tls(tls_server: Server, authority: Path, parameters: str) -> None:
    url = f"{plain(tls_server)}?{parameters.format(ca=authority / 'ca.pem')}"
    database = open_database(url)
    try:
        used = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await database.read(lambda conn: conn.execute(used).scalar_one())
        await database.read(one)
        (row,) = await database.fetch("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", [])
        assert row["ssl"]
    finally:
        await database.close()
    await wake_each_other(url)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("sslmode=disable", "no pg_hba.conf entry"),
        ("sslmode=verify-full&sslrootcert={other}", "TLS failed"),
        ("sslmode=verify-ca&sslrootcert=/nowhere.pem", "cannot be"),
    ],
)
async def test_connection_that_is_not_safe_as_asked_is_refused_in_a_sentence(
    tls_server: Server, authority: Path, parameters: str, reason: str
) -> None:
    url = f"{plain(tls_server)}?{parameters.format(other=authority / 'other.pem')}"
    with pytest.raises(ConnectionFailedError, match=reason):
        await PostgresServer(url).find_pooling()
    database = open_database(url)
    with pytest.raises(DatabaseUnavailableError) as failed:
        await database.read(one)
    # Clients are not told where the database is.
    assert "127.0.0.1" not in failed.value.message
    await database.close()


async def test_name_that_the_certificate_lacks_is_refused(tls_server: Server, authority: Path) -> None:
    url = plain(tls_server).replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(ConnectionFailedError):
        await PostgresServer(f"{url}?sslmode=verify-full&sslrootcert={authority / 'ca.pem'}").find_pooling()
