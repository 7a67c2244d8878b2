"""Tests of the time limit of reads through the API."""

from collections.abc import AsyncIterator

import pytest

from db.runs import reads
from tests.db.core.test_query_timeout import count
from tests.support.app import App, run_app

LISTED = "{ flowRuns(first: 1) { nodes { id } } flows { nodes { id } } }"


@pytest.fixture
async def hasty_app(database_url: str) -> AsyncIterator[App]:
    """The service without a worker, whose reads may take 0.2 seconds; no read is compiled."""
    async with run_app(database_url, with_worker=False, query_timeout=0.2, compiled_reads=False) as running:
        yield running


async def test_list_beyond_limit_is_typed_error(hasty_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reads, "page", lambda conn, *_: count(conn))  # This reads as long as the limit allows.
        answer = await hasty_app.execute(LISTED)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "QUERY_TIMEOUT"
    assert error["path"][0] == "flowRuns"
    assert (await hasty_app.query(LISTED))["flowRuns"] == {"nodes": []}
