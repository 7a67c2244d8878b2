"""Automatic persisted queries by the clients that have them: the text of a document is sent once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.app import run_app
from tests.support.processes.listener import answering
from tests.support.processes.node import running

SCRIPT = Path(__file__).with_name("persisted.mjs").read_text()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_apollo_and_urql_send_a_document_once_to_services_that_keep_it(
    new_database_url: Callable[[], str],
) -> None:
    async with (
        run_app(new_database_url(), with_worker=False) as keeping,
        run_app(new_database_url(), with_worker=False, persisted_queries=0) as refusing,
        answering(keeping.service.app) as keeping_url,
        answering(refusing.service.app) as refusing_url,
    ):
        services = [f"{keeping_url}/graphql", keeping.keys.admin, f"{refusing_url}/graphql", refusing.keys.admin]
        async with running(SCRIPT, *services) as process:
            output, complaint = await process.communicate()
    assert output, complaint.decode()
    found = json.loads(output)
    assert [each["roles"] for each in found] == [["ADMIN", "ADMIN"]] * 4
    # urql names the document in a spelling of its own, so Apollo's text does not serve it.
    assert [each["requests"] for each in found] == [
        ["GET hash", "POST text", "GET hash"],
        ["GET hash", "GET text", "GET hash"],
        ["GET hash", "POST text", "POST text"],
        ["GET hash", "GET text", "GET text"],
    ]
