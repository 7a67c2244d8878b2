"""An upgrade of a database with data: all migrations since an earlier commit, and everything is found again.

The dumps, and what the service of that commit said of them, were made by make_dump.py.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db import migrate
from db.rollups import check
from engine.worker.maintenance import count_old_runs
from tests.conftest import Dialect
from tests.operations.harness import serving
from tests.operations.make_dump import OTHERS, RUNS
from tests.support.query import query

DUMPS = Path(__file__).parent / "64ea727"


@pytest.fixture
async def old_url(dialect: Dialect, new_database_url: Callable[[], str], tmp_path: Path) -> str:
    """A database as that commit left it: its worker was killed, and its API had started some more runs since."""
    script = (DUMPS / f"{dialect}.sql").read_text()
    if dialect == "sqlite":
        with closing(sqlite3.connect(tmp_path / "old.db")) as file:
            file.executescript(script)
        return f"sqlite:///{tmp_path}/old.db"
    url = new_database_url()
    await query(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(script)
    await connection.close()
    return url


async def test_everything_is_found_after_an_upgrade_and_runs_go_on(
    old_url: str, dialect: Dialect, tmp_path: Path
) -> None:
    expected: dict[str, Any] = json.loads((DUMPS / f"{dialect}.json").read_text())
    await asyncio.to_thread(migrate.upgrade, old_url)
    async with serving(old_url, tmp_path, with_worker=False) as api:
        found = {"runs": (await api.ask(RUNS))["flowRuns"]["nodes"], **await api.ask(OTHERS)}
        assert found == expected
        await count_old_runs(api.database)
        assert await api.database.read(check.differences) == []
        counts = await api.ask("{ flowRunStats(filter: {archived: INCLUDE}) { byStatus { status count } } }")
        by_status = {each["status"]: each["count"] for each in counts["flowRunStats"]["byStatus"] if each["count"]}
        assert by_status == Counter(run["status"] for run in expected["runs"])
        tagged = await api.ask('{ flowRuns(filter: {tags: ["vip"], archived: INCLUDE}) { totalCount } }')
        assert tagged["flowRuns"]["totalCount"] == 5

    by_flow: dict[str, list[Any]] = {}
    for run in expected["runs"]:
        by_flow.setdefault(run["flow"]["name"], []).append(run)
    async with serving(old_url, tmp_path, with_worker=True) as api:
        # Queued, interrupted in the middle of a step, paused until a time, waiting for an answer, waiting for children.
        for run in by_flow["greet"] + by_flow["slow"] + by_flow["pause"]:
            assert await api.wait_until(run["id"]) == "SUCCEEDED"
        asking = [run for run in by_flow["ask"] if run["pendingInputs"]]
        for run in asking:
            await api.answer(run["id"], run["pendingInputs"][0]["id"])
        for run in by_flow["parent"] + asking:
            assert await api.wait_until(run["id"]) == "SUCCEEDED"
        (failed, *_) = [run for run in by_flow["broken"] if run["retryOf"] is not None]
        retry = """mutation($id: ID!) { it: retry(runId: $id, strategy: FROM_FAILED_STEP) {
            ... on RetrySuccess { run { id attempt } } ... on UserError { code message } } }"""
        retried = (await api.ask(retry, id=failed["id"]))["it"]["run"]
        assert retried["attempt"] == failed["attempt"] + 1
        assert await api.wait_until(retried["id"]) == "FAILED"
