"""Tests of the time limit of reads through the API."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection

from db.runs import reads
from domain import ids
from domain.ids import IdKind
from tests.db.core.test_query_timeout import ENDLESS, count
from tests.service.metrics.test_metrics import read
from tests.support.app import App, run_app

LISTED = "query Listed { flowRuns(first: 1) { nodes { id } } flows { nodes { id } } }"
NODES = "query($run: ID!, $flow: ID!) { run: flowRun(id: $run) { id } flow(id: $flow) { id } __typename }"


@pytest.fixture(params=[False, True], ids=["general", "compiled"])
async def hasty_app(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[App]:
    """The service without a worker, whose reads may take 0.2 seconds."""
    options = {"query_timeout": 0.2, "compiled_reads": request.param, "metrics": True}
    async with run_app(database_url, with_worker=False, **options) as running:
        yield running


async def test_reads_beyond_limit_are_typed_errors(hasty_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways answer alike, and what is compiled is not read again in the general way."""
    fetch = hasty_app.database.fetch
    tried: list[str] = []

    def endless(*_: object) -> Any:
        tried.append("compiled")
        return fetch(str(ENDLESS), ())

    def counting(conn: Connection, *_: object) -> Any:
        tried.append("general")
        return count(conn)

    with monkeypatch.context() as patched:
        # Both read as long as they are let.
        patched.setattr(hasty_app.database, "fetch", endless)
        patched.setattr(reads, "page", counting)
        patched.setattr(reads, "by_ids", counting)
        listed = await hasty_app.execute(LISTED, operation="Listed")
        is_compiled = "compiled" in tried
        if is_compiled:
            named = {"run": ids.encode(IdKind.RUN, ids.new_uuid()), "flow": ids.encode(IdKind.FLOW, ids.new_uuid())}
            answer = await hasty_app.execute(NODES, named)
            assert answer["data"] == {"run": None, "flow": None, "__typename": "Query"}
            assert [error["path"] for error in answer["errors"]] == [["run"], ["flow"]]
            assert set(tried) == {"compiled"}
    assert listed["data"] is None
    error = listed["errors"][0]
    assert error["extensions"] == {"code": "QUERY_TIMEOUT"}
    assert error["path"][0] == "flowRuns"
    assert error["locations"]
    assert (await hasty_app.query(LISTED, operation="Listed"))["flowRuns"] == {"nodes": []}
    samples = await read(hasty_app.service.metrics)
    results = [samples("operations_total", operation="Listed", type="query", result=each) for each in ("ok", "error")]
    assert results == [1, 1]
