"""An upgrade of a database with data: all migrations since an earlier commit, and everything is found again."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from db import migrate
from db.assembly import open_database
from domain.runs.state_machine import FINAL
from service.asgi import create_service
from service.bootstrap import bootstrap
from service.settings import Settings
from tests.conftest import Dialect
from tests.support.app import BASE_URL, PATIENCE
from tests.support.query import query
from tests.upgrade.make_dump import KEY

DUMPS = Path(__file__).parent / "64ea727"
RUNS = """{ flowRuns(first: 100, filter: {archived: INCLUDE}) { nodes { id status environment tags metadata input output
    createdAt finishedAt archivedAt attempt externalId failedStepName error { code message } flow { name }
    project { name } retryOf { id } parentRun { id } rootRun { id } files { name size }
    statusHistory { from to message } steps { name status output error { code } attempts { number status } }
    logs(first: 50) { nodes { number stepName message } } pendingInputs { id stepName title } } } }"""
OTHERS = """{ flows(first: 100) { nodes { id name publishedVersion { number definition } schedules { id cron enabled }
    webhooks { id name } maxConcurrentRuns project { name quotaRuns retentionDays } } }
    bulkOperations { nodes { id kind status succeeded } } }"""


class Api:
    """The service of this version on the old database."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, text: str, **variables: Any) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await self._http.post("/graphql", json={"query": text, "variables": variables}, headers=headers)
        body = answer.json()
        assert "errors" not in body, body
        return body["data"]

    async def all(self) -> dict[str, Any]:
        return {"runs": (await self.ask(RUNS))["flowRuns"]["nodes"], **await self.ask(OTHERS)}


@asynccontextmanager
async def api(url: str, folder: Path, *, with_worker: bool) -> AsyncIterator[Api]:
    settings = Settings.model_validate(
        {"database_url": url, "bootstrap_key": KEY, "seed_demo": False, "files_url": str(folder / "files")}
    )
    database = open_database(url)
    found = await bootstrap(database, settings)
    service = create_service(settings, database, found.project_id, with_worker=with_worker)
    transport = httpx.ASGITransport(service.app)
    async with (
        service.app.router.lifespan_context(service.app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http,
    ):
        yield Api(http)


@pytest.fixture
async def old_url(dialect: Dialect, new_database_url: Callable[[], str], tmp_path: Path) -> str:
    """A database as that commit left it: its API had stopped, and its worker was killed."""
    script = (DUMPS / f"{dialect}.sql").read_text()
    if dialect == "sqlite":
        with sqlite3.connect(tmp_path / "old.db") as file:
            file.executescript(script)
        file.close()
        return f"sqlite:///{tmp_path}/old.db"
    url = new_database_url()
    await query(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(script)
    await connection.close()
    return url


async def test_upgrade(old_url: str, dialect: Dialect, tmp_path: Path) -> None:
    await asyncio.to_thread(migrate.upgrade, old_url)
    expected = json.loads((DUMPS / f"{dialect}.json").read_text())
    async with api(old_url, tmp_path, with_worker=False) as client:
        found = await client.all()
    Path("/tmp/found.json").write_text(json.dumps(found))
    assert found == expected
