"""Connections to real servers: over TLS, and through PgBouncer."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from db import projects
from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from db.core.pg_rows import PLANNED_WITH_VALUES
from db.core.postgres import ConnectionFailedError, Pooling, PostgresServer
from db.migrate import is_current, upgrade
from domain.errors import DatabaseUnavailableError
from tests.db.core.test_pg_notify import Process, within
from tests.support.account import unprivileged
from tests.support.app import run_app
from tests.support.databases.database_templates import PostgresTemplate
from tests.support.databases.pgbouncer import PROGRAM, Pool, pgbouncer
from tests.support.databases.postgres import PostgresServer as Server
from tests.support.databases.postgres import postgres_server
from tests.support.query import query

FLOW = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
SESSIONS = {"session": 60, "transaction": 3}
"""Sessions of a pool, by its mode: fewer than the connections of a process, where these share them."""


@pytest.fixture
def dialect() -> str:
    return "postgresql"


def one(conn: Connection) -> int:
    number: int = conn.execute(text("SELECT 1")).scalar_one()
    return number


async def use_all_ways(database: Database) -> None:
    """Reads, fetches and writes, more of them at a time than a pooler has sessions."""
    ways = [database.read(one) for _ in range(20)]
    statement = "SELECT $1::int AS n"
    texts = [PLANNED_WITH_VALUES + statement if number % 2 else statement for number in range(20)]
    fetched = [database.fetch(each, [number]) for number, each in enumerate(texts)]
    written = [database.write(projects.create, f"project {uuid4()}") for _ in range(20)]
    assert await asyncio.gather(*ways) == [1] * 20
    assert [rows[0]["n"] for rows in await asyncio.gather(*fetched)] == list(range(20))
    assert len(set(await asyncio.gather(*written))) == 20


async def wake_each_other(url: str) -> None:
    """What one process publishes is received in the other."""
    async with Process(url) as one_, Process(url) as other:
        with other.pubsub.subscribe(pubsub.EVENTS) as received:
            received.clear()
            await one_.database.write(lambda uow: uow.publish_after_commit(pubsub.EVENTS))
            await within(received)


async def test_only_other_statements_are_kept_prepared(database: Database) -> None:
    statement = "SELECT $1::int AS n FROM project"
    for number in range(8):
        assert await database.fetch(statement, [number]) == []
        assert await database.fetch(PLANNED_WITH_VALUES + statement, [number]) == []
    kept = await database.fetch("SELECT name, statement FROM pg_prepared_statements", [])
    assert [row["statement"] for row in kept if row["statement"].endswith(statement)] == [statement]


# PgBouncer


@pytest.fixture(scope="module")
def pooled(
    postgresql_template: PostgresTemplate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """URLs through one PgBouncer: pools in both modes, one with a single session in each, and without a proxy."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    folder = tmp_path_factory.mktemp("clones")
    with ExitStack() as stack:
        clones = {mode: stack.enter_context(postgresql_template.clone(folder)) for mode in SESSIONS}
        pools = {mode: Pool(clones[mode], mode, sessions) for mode, sessions in SESSIONS.items()}
        single = {f"single_{mode}": Pool(clones[mode], mode, 1) for mode in SESSIONS}
        urls = stack.enter_context(pgbouncer({**pools, **single}))
        yield {**urls, "none": clones["session"]}


@pytest.mark.parametrize("name", ["none", "session", "transaction", "single_session", "single_transaction"])
async def test_pooler_and_its_mode_are_found(pooled: Mapping[str, str], name: str) -> None:
    assert await PostgresServer(pooled[name]).find_pooling() is Pooling(name.removeprefix("single_"))


@pytest.mark.parametrize("mode", SESSIONS)
async def test_database_works_through_a_pooler(pooled: Mapping[str, str], mode: str) -> None:
    database = open_database(pooled[mode], query_timeout=5.0)

    def settings(conn: Connection) -> list[str]:
        return [conn.execute(text(f"SHOW {name}")).scalar_one() for name in ("jit", "statement_timeout", "timezone")]

    try:
        for _ in range(3):
            await use_all_ways(database)
        # The settings of sessions apply.
        assert await database.read(settings) == ["off", "5s", "UTC"]
        (row,) = await database.fetch("SELECT current_setting('statement_timeout') AS found", [])
        assert row["found"] == "5s"
        assert (await database.write(lambda uow: settings(uow.conn)))[:2] == ["off", "0"]
    finally:
        await database.close()
    await wake_each_other(pooled[mode])


async def test_database_is_migrated_through_a_pooler_in_transaction_mode(
    pooled: Mapping[str, str], database_url: str
) -> None:
    await query(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    with pgbouncer({"empty": Pool(database_url, "transaction", SESSIONS["transaction"])}) as urls:
        await asyncio.to_thread(upgrade, urls["empty"])
        database = open_database(urls["empty"])
        assert await database.read(is_current)
        await database.close()


@pytest.mark.parametrize("mode", SESSIONS)
async def test_service_runs_through_a_pooler(pooled: Mapping[str, str], mode: str) -> None:
    async with run_app(pooled[mode], with_worker=True) as app:
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
        (data / "pg_hba.conf").write_text(
            "hostssl all guarded 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 trust\n"
        )
        unprivileged().own(data)
        server.stop()
        server.start()
        asyncio.run(query(f"{server.url()}?ssl=require", "CREATE ROLE guarded LOGIN PASSWORD 'p@ss/w#rd?'"))
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
    # Clients never see where the database is.
    assert "127.0.0.1" not in failed.value.message
    await database.close()


async def test_name_that_the_certificate_lacks_is_refused(tls_server: Server, authority: Path) -> None:
    url = plain(tls_server).replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(ConnectionFailedError):
        await PostgresServer(f"{url}?sslmode=verify-full&sslrootcert={authority / 'ca.pem'}").find_pooling()


async def test_password_is_needed_and_may_have_characters_of_urls(tls_server: Server) -> None:
    for password in (":wrong", ""):
        url = plain(tls_server).replace("flowruns@", f"guarded{password}@")
        with pytest.raises(ConnectionFailedError, match="password") as refused:
            await PostgresServer(url).find_pooling()
        assert "wrong" not in str(refused.value)
    url = plain(tls_server).replace("flowruns@", "guarded:p@ss/w#rd?@")
    assert await PostgresServer(url).find_pooling() is Pooling.NONE
