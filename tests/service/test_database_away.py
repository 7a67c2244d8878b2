"""The database becomes unavailable and available again while the service runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from db import migrate
from domain import reasons
from domain.errors import DatabaseUnavailableError
from tests.support.app import App, run_app
from tests.support.databases.postgres import PostgresServer

LIST = "{ flowRuns { totalCount } viewer { role } }"
ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}


@pytest.fixture
async def own_app(own_postgres: PostgresServer) -> AsyncIterator[App]:
    """A service without a worker, on a server that the test may stop."""
    await asyncio.to_thread(migrate.upgrade, own_postgres.url())
    async with run_app(own_postgres.url(), with_worker=False) as app:
        yield app


async def test_service_reports_an_unavailable_database_and_recovers(
    own_app: App, own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    flow = await own_app.create_flow(ECHO)
    await asyncio.to_thread(own_postgres.stop)
    away = await own_app.post(LIST)
    assert away.status_code == 503
    (error,) = away.json()["errors"]
    assert error["extensions"] == {"code": "DATABASE_UNAVAILABLE"}
    assert "unavailable" in error["message"]
    assert (await own_app.http.get("/readyz")).status_code == 503
    assert (await own_app.http.get("/healthz")).status_code == 200
    with pytest.raises(DatabaseUnavailableError) as unavailable:
        await own_app.database.read(migrate.problem)
    # Where the database is stands in the log alone.
    assert "cannot be reached" in reasons.of_database(unavailable.value)
    for _ in range(3):  # A key that is not remembered is read each time, and the log says so once.
        assert (await own_app.post(LIST, key="fr_unknown")).status_code == 503
    logged = [each.__dict__["reason"] for each in caplog.records if each.message == "requests not answered"]
    assert len(logged) == 1

    await asyncio.to_thread(own_postgres.start)
    assert (await own_app.query(LIST))["viewer"]["role"] == "ADMIN"
    assert (await own_app.start(flow))["__typename"] == "StartRunSuccess"
    assert (await own_app.http.get("/readyz")).status_code == 200


async def test_database_that_goes_away_within_a_request_is_a_coded_error(
    own_app: App, own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = own_app.database.read
    calls = 0

    async def read_once(*args: object) -> object:
        # The key is looked up while the server is there, the runs when it no longer is.
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.to_thread(own_postgres.stop)
        return await read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(own_app.database, "read", read_once)
    response = await own_app.post("{ flowRuns { totalCount } }")
    assert response.status_code == 200
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "DATABASE_UNAVAILABLE"}
    assert error["path"] == ["flowRuns", "totalCount"]


async def test_killed_server_breaks_no_answer_and_its_successor_is_found(
    own_app: App, own_postgres: PostgresServer
) -> None:
    await own_app.query(LIST)
    own_postgres.kill()
    # Its sessions live on until they notice.
    assert (await own_app.post(LIST)).status_code in (200, 503)
    await asyncio.to_thread(own_postgres.start)
    assert (await own_app.query(LIST))["flowRuns"]["totalCount"] == 0
