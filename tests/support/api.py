"""The service for tests: in this process behind a client, or on a port of this machine, for a browser."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, event
from starlette.routing import WebSocketRoute

from db import api_keys, projects
from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.migrate import upgrade
from db.runs import reads as run_reads
from domain import ids
from domain.enums import Role
from domain.ids import IdKind
from domain.state_machine import FINAL
from service.asgi import Service, create_service
from service.auth import BrowserSessions
from service.bootstrap import bootstrap
from service.graphql import GraphQLEndpoint
from service.server import server_config
from service.settings import Settings
from tests.support.listening import listening_with

PATIENCE = 30.0
"""Seconds after which what was to come is given up: a test that waits so long has failed."""
BASE_URL = "http://flow-runs.test"


@dataclass(frozen=True)
class Keys:
    """The secrets of keys in force: of each role in two projects, and the operator's for all of them."""

    viewer: str
    operator: str
    admin: str
    other_viewer: str
    other_operator: str
    other_admin: str
    all_projects: str


@dataclass(frozen=True)
class Api:
    """A service, and a client that shows the key of the first project's ADMIN unless told otherwise."""

    http: httpx.AsyncClient
    database: Database
    keys: Keys
    project: str
    other_project: str
    sessions: BrowserSessions
    service: Service

    async def post(
        self,
        text: str,
        variables: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        operation: str | None = None,
    ) -> httpx.Response:
        """The response to a document."""
        document = {"query": text, "variables": variables, "operationName": operation}
        shown = {"authorization": f"Bearer {key or self.keys.admin}", **(headers or {})}
        return await self.http.post("/graphql", json=document, headers=shown)

    async def execute(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The body of the response to a document."""
        body: dict[str, Any] = (await self.post(text, variables, **more)).json()
        return body

    async def query(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The data that a document asks for; there must be no error."""
        body = await self.execute(text, variables, **more)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def refused(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The code of the one top-level error that a document meets."""
        (error,) = (await self.execute(text, variables, **more))["errors"]
        code: str = error["extensions"]["code"]
        return code

    async def create_flow(self, definition: Any, name: str = "flow", **more: Any) -> str:
        """The ID of a new flow, published when there is a definition."""
        text = """mutation($name: String!, $definition: JSON, $projectId: ID) {
            result: createFlow(name: $name, definition: $definition, projectId: $projectId) {
                ... on CreateFlowSuccess { flow { id } } ... on UserError { code message } } }"""
        variables = {"name": name, "definition": definition, "projectId": more.pop("project", None)}
        flow_id: str = (await self.query(text, variables, **more))["result"]["flow"]["id"]
        return flow_id

    async def start(self, flow_id: str, *, select: str = "id", key: str | None = None, **values: Any) -> Any:
        """What `startRun` answers: the run's fields `select`, or the error."""
        text = f"""mutation($input: StartRunInput!) {{ result: startRun(input: $input) {{
            __typename
            ... on StartRunSuccess {{ run {{ {select} }} }}
            ... on UserError {{ code message }}
            ... on InputInvalid {{ problems {{ path message }} }} }} }}"""
        return (await self.query(text, {"input": {"flowId": flow_id, **values}}, key=key))["result"]

    async def finished(self, run_id: str, select: str = "status") -> Any:
        """The fields `select` of a run, once it is final."""
        key = ids.decode(IdKind.RUN, run_id)
        with self.database.signals.listen(pubsub.run_changed(key)) as changed:
            while not await self._is_final(key):
                await asyncio.wait_for(changed.wait(), PATIENCE)
                changed.clear()
        text = f"query($id: ID!) {{ flowRun(id: $id) {{ {select} }} }}"
        return (await self.query(text, {"id": run_id}, key=self.keys.all_projects))["flowRun"]

    async def _is_final(self, key: UUID) -> bool:
        return (await self.database.read(run_reads.by_ids, [key], {"status"}))[key].status in FINAL


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service that executes the runs which are started."""
    async with serving(database_url, with_worker=True) as served:
        yield served


@pytest.fixture
async def idle_api(database_url: str) -> AsyncIterator[Api]:
    """A service without a worker: what is started stays QUEUED."""
    async with serving(database_url, with_worker=False) as served:
        yield served


@asynccontextmanager
async def serving(database_url: str, *, with_worker: bool, **settings: Any) -> AsyncIterator[Api]:
    """A service on a migrated database, with two projects and their keys."""
    database = open_database(database_url)
    own, other, keys = await database.write(_populate)
    service = create_service(Settings(database_url=database_url, **settings), database, own, with_worker=with_worker)
    # An exception that leaves the application is a bug, and fails the test.
    transport = httpx.ASGITransport(service.app)
    async with (
        service.app.router.lifespan_context(service.app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http,
    ):
        first, second = (ids.encode(IdKind.PROJECT, key) for key in (own, other))
        yield Api(http, database, keys, first, second, service.sessions, service)


def _populate(uow: UnitOfWork) -> tuple[UUID, UUID, Keys]:
    own, other = projects.create(uow, "default"), projects.create(uow, "other")

    def key(project: UUID | None, role: Role) -> str:
        return api_keys.create(uow, project_id=project, role=role, name=f"{role.lower()} for tests")

    secrets = [key(project, role) for project in (own, other) for role in Role]
    return own, other, Keys(*[*secrets, key(None, Role.ADMIN)])


@dataclass(frozen=True)
class LiveServer:
    """A service on a port of this machine."""

    url: str
    admin_key: str
    sign_in_url: str


@dataclass(frozen=True)
class LiveApi:
    """A service behind a client, and on a port."""

    api: Api
    server: LiveServer

    @property
    def endpoint(self) -> GraphQLEndpoint:
        """What answers at /graphql."""
        (found,) = {route.endpoint for route in self.api.service.app.routes if isinstance(route, WebSocketRoute)}
        assert isinstance(found, GraphQLEndpoint)
        return found


@pytest.fixture
async def live_server(tmp_path: Path) -> AsyncIterator[LiveServer]:
    """A service as `serve` starts it, with worker, demo flows and explorer, on SQLite."""
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'live.db'}")
    await asyncio.to_thread(upgrade, settings.database_url)
    database = open_database(settings.database_url)
    found = await bootstrap(database, settings)
    service = create_service(settings, database, found.project_id, with_worker=True)
    async with listening_with(server_config(service.app, port=0, log_config=None, timeout_graceful_shutdown=5)) as (
        url,
        _,
    ):
        assert found.new_secret is not None
        yield LiveServer(url, found.new_secret, f"{url}/sign-in?token={service.sessions.issue_token()}")


@dataclass(frozen=True)
class Listening:
    """A service on a port of this machine, on the dialect of the test."""

    url: str
    api: Api
    server: uvicorn.Server


@pytest.fixture
async def listening(database_url: str) -> AsyncIterator[Listening]:
    """A service that executes runs, on a port; its `api` reaches it without one."""
    async with listening_on(database_url) as found:
        yield found


@asynccontextmanager
async def listening_on(database_url: str, **settings: Any) -> AsyncIterator[Listening]:
    """A service on a migrated database."""
    async with serving(database_url, with_worker=True, **settings) as api:
        config = server_config(api.service.app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
        async with listening_with(config) as (url, server):
            yield Listening(url, api, server)


@asynccontextmanager
async def serving_live(database_url: str, *, with_worker: bool = False, **settings: Any) -> AsyncIterator[LiveApi]:
    """A service on a port, with two projects and their keys."""
    async with serving(database_url, with_worker=with_worker, **settings) as api:
        # Its lifespan is under way.
        config = server_config(api.service.app, port=0, log_config=None, timeout_graceful_shutdown=5, lifespan="off")
        async with listening_with(config) as (url, _):
            yield LiveApi(api, LiveServer(url, api.keys.admin, ""))


@dataclass
class Statements:
    """The SQL statements that were executed meanwhile."""

    texts: list[str] = field(default_factory=list)

    @property
    def of_resolvers(self) -> list[str]:
        """Those that a query costs beyond looking up its key."""
        return [text for text in self.texts if "api_key" not in text]


@contextmanager
def statements() -> Iterator[Statements]:
    """Collects the statements of every engine in this process."""
    found = Statements()

    def note(conn: Any, cursor: Any, text: str, *_: Any) -> None:
        found.texts.append(text)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)
