"""The service of this version in this process, on a database that exists already."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import FINAL
from service.asgi import create_service
from service.bootstrap import bootstrap
from service.settings import Settings
from tests.support.app import BASE_URL, PATIENCE

KEY = "a-key-fixed-by-the-operator"
LEASE_SECONDS = 2.0
"""How long the runs of a worker that is gone wait for another one, on PostgreSQL."""


class Api:
    """The service, as its ADMIN calls it."""

    def __init__(self, http: httpx.AsyncClient, database: Database) -> None:
        self._http = http
        self.database = database

    async def ask(self, text: str, **variables: Any) -> Any:
        """Returns the `data` of a document; it must have no error, neither a top-level one nor one of a mutation."""
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await self._http.post("/graphql", json={"query": text, "variables": variables}, headers=headers)
        body = answer.json()
        assert "errors" not in body, body
        data = body["data"]
        assert not [result for result in data.values() if isinstance(result, dict) and result.get("code")], data
        return data

    async def get(self, path: str) -> httpx.Response:
        """Requests a path without a key."""
        return await self._http.get(path)

    async def create_flow(self, name: str, *steps: Any) -> str:
        """Publishes a flow; returns its ID."""
        text = """mutation($name: String!, $definition: JSON) { it: createFlow(name: $name, definition: $definition) {
            ... on CreateFlowSuccess { flow { id } } ... on UserError { code message } } }"""
        found: str = (await self.ask(text, name=name, definition={"steps": steps}))["it"]["flow"]["id"]
        return found

    async def start(self, flow_id: str, **values: Any) -> str:
        """Starts a run; returns its ID."""
        text = """mutation($input: StartRunInput!) { it: startRun(input: $input) {
            ... on StartRunSuccess { run { id } } ... on UserError { code message } } }"""
        found: str = (await self.ask(text, input={"flowId": flow_id, **values}))["it"]["run"]["id"]
        return found

    async def statuses(self) -> dict[str, str]:
        """Returns the statuses of all runs, by ID."""
        text = "{ flowRuns(first: 1000, filter: {archived: INCLUDE}) { nodes { id status } } }"
        return {run["id"]: run["status"] for run in (await self.ask(text))["flowRuns"]["nodes"]}

    async def wait_until(self, run_id: str, statuses: Collection[RunStatus] = FINAL) -> str:
        """Waits until a run has one of these statuses; returns it."""
        text = "query($id: ID!) { flowRun(id: $id) { status } }"
        with self.database.pubsub.subscribe(pubsub.run_changed(ids.decode(IdKind.RUN, run_id))) as changed:
            while (status := (await self.ask(text, id=run_id))["flowRun"]["status"]) not in statuses:
                await asyncio.wait_for(changed.wait(), PATIENCE)
                changed.clear()
        found: str = status
        return found

    async def answer(self, run_id: str, request_id: str) -> None:
        """Answers an input request."""
        text = """mutation($run: ID!, $request: ID!) { it: resumeRun(runId: $run, requestId: $request, response: {}) {
            ... on UserError { code message } } }"""
        await self.ask(text, run=run_id, request=request_id)


@asynccontextmanager
async def serving(url: str, folder: Path, *, with_worker: bool) -> AsyncIterator[Api]:
    """The API, and a worker if one is wanted; files of runs are in `folder`."""
    settings = Settings.model_validate(
        {
            "database_url": url,
            "bootstrap_key": KEY,
            "seed_demo": False,
            "files_url": str(folder / "files"),
            "worker_lease_seconds": LEASE_SECONDS,
            "shutdown_grace_seconds": 0,
            "actions": "tests.operations.actions",
        }
    )
    database = open_database(url)
    found = await bootstrap(database, settings)
    service = create_service(settings, database, found.project_id, with_worker=with_worker)
    async with (
        service.app.router.lifespan_context(service.app),
        httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url=BASE_URL) as http,
    ):
        yield Api(http, database)
