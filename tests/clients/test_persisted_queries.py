"""Automatic persisted queries by the clients that have them: the text of a document is sent once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import App, run_app
from tests.support.processes.listener import answering
from tests.support.processes.node import running

SCRIPT = Path(__file__).with_name("persisted.mjs").read_text()
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def requests_of(client: str, url: str, key: str) -> list[str]:
    """Returns the requests of a client that asks twice."""
    async with running(SCRIPT, client, f"{url}/graphql", key) as process:
        output, complaint = await process.communicate()
    assert output, complaint.decode()
    result: dict[str, Any] = json.loads(output)
    assert result["roles"] == ["ADMIN", "ADMIN"], result
    requests: list[str] = result["requests"]
    return requests


async def test_apollo_and_urql_send_a_document_once(idle_app: App) -> None:
    async with answering(idle_app.service.app) as url:
        key = idle_app.keys.admin
        assert await requests_of("apollo", url, key) == ["GET hash", "POST text", "GET hash"]
        # The document is known by now, and urql names it in its own spelling.
        assert await requests_of("urql", url, key) == ["GET hash", "GET text", "GET hash"]


async def test_apollo_and_urql_send_texts_to_a_service_without_persisted_queries(database_url: str) -> None:
    async with (
        run_app(database_url, with_worker=False, persisted_queries=0) as app,
        answering(app.service.app) as url,
    ):
        key = app.keys.admin
        assert await requests_of("apollo", url, key) == ["GET hash", "POST text", "POST text"]
        assert await requests_of("urql", url, key) == ["GET hash", "GET text", "GET text"]
