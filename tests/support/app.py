"""The harness `app`: the service in this process, behind an HTTP client without a port."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import Engine, event, insert

from db import api_keys, projects, secret_tokens
from db.assembly import open_database
from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import ApiKey
from db.models.types import table
from db.runs import reads as run_reads
from domain import ids
from domain.actor import SYSTEM
from domain.enums import Role
from domain.ids import IdKind
from domain.observation.spans import NO_TRACES, Tracer
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.secrets.key_ring import new_key
from service.asgi import Service, create_service
from service.http.auth import BrowserSessions
from service.settings import Settings

PATIENCE = 30.0
"""Timeout in seconds for everything that a test waits for. It only ends tests that have failed."""
SECRET_KEY = new_key()
TOKEN_KEY = "a key for tests that signs access tokens"
BASE_URL = "http://flow-runs.test"


class _Settings(Settings):
    """Settings that are the given ones, whatever the environment is: reading it takes a fifth of a test's time."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True)
class Keys:
    """Secrets of active API keys: one for each role in each of two projects, and an operator key for all projects."""

    viewer: str
    operator: str
    admin: str
    other_viewer: str
    other_operator: str
    other_admin: str
    all_projects: str


@dataclass(frozen=True)
class App:
    """A service and a client of it. The client sends the ADMIN key of the first project unless `key` names another."""

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
        """Sends a document and returns the HTTP response."""
        document = {"query": text, "variables": variables, "operationName": operation}
        all_headers = {"authorization": f"Bearer {key or self.keys.admin}", **(headers or {})}
        return await self.http.post("/graphql", json=document, headers=all_headers)

    async def execute(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Sends a document and returns the body of the response."""
        body: dict[str, Any] = (await self.post(text, variables, **more)).json()
        return body

    async def query(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Sends a document and returns its `data`. Fails the test if there are errors."""
        body = await self.execute(text, variables, **more)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def error_code(self, text: str, variables: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Sends a document and returns the code of its only top-level error."""
        (error,) = (await self.execute(text, variables, **more))["errors"]
        code: str = error["extensions"]["code"]
        return code

    async def create_flow(self, definition: Any, name: str = "flow", **more: Any) -> str:
        """Creates a flow, publishes it if there is a definition, and returns its ID."""
        text = """mutation($name: String!, $definition: JSON, $projectId: ID) {
            result: createFlow(name: $name, definition: $definition, projectId: $projectId) {
                ... on CreateFlowSuccess { flow { id } } ... on UserError { code message } } }"""
        variables = {"name": name, "definition": definition, "projectId": more.pop("project", None)}
        flow_id: str = (await self.query(text, variables, **more))["result"]["flow"]["id"]
        return flow_id

    async def start(self, flow_id: str, *, select: str = "id", key: str | None = None, **values: Any) -> Any:
        """Calls `startRun` and returns its result: the run with the fields `select`, or the error."""
        text = f"""mutation($input: StartRunInput!) {{ result: startRun(input: $input) {{
            __typename
            ... on StartRunSuccess {{ run {{ {select} }} }}
            ... on UserError {{ code message }}
            ... on InputInvalid {{ problems {{ path message }} }} }} }}"""
        return (await self.query(text, {"input": {"flowId": flow_id, **values}}, key=key))["result"]

    async def wait_until_final(self, run_id: str, select: str = "status") -> Any:
        """Waits until a run has ended and returns its fields `select`."""
        key = ids.decode(IdKind.RUN, run_id)
        with self.database.pubsub.subscribe(pubsub.run_changed(key)) as changed:
            while not await self._is_final(key):
                await asyncio.wait_for(changed.wait(), PATIENCE)
                changed.clear()
        text = f"query($id: ID!) {{ flowRun(id: $id) {{ {select} }} }}"
        return (await self.query(text, {"id": run_id}, key=self.keys.all_projects))["flowRun"]

    async def _is_final(self, key: UUID) -> bool:
        return (await self.database.read(run_reads.by_ids, [key], {"status"}))[key].status in FINAL


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    """The service with a worker: runs that are started are executed."""
    async with run_app(database_url, with_worker=True) as running:
        yield running


@pytest.fixture
async def idle_app(database_url: str) -> AsyncIterator[App]:
    """The service without a worker: runs that are started stay QUEUED."""
    async with run_app(database_url, with_worker=False) as running:
        yield running


@pytest.fixture
async def general_app(database_url: str) -> AsyncIterator[App]:
    """Like `idle_app`, with all queries executed by the general path."""
    async with run_app(database_url, with_worker=False, compiled_reads=False) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["compiled", "general"])
async def either_app(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[App]:
    """Like `idle_app`, once with compiled queries and once without."""
    async with run_app(database_url, with_worker=False, compiled_reads=request.param) as running:
        yield running


@asynccontextmanager
async def run_app(
    database_url: str, *, with_worker: bool, tracer: Tracer = NO_TRACES, **settings: Any
) -> AsyncIterator[App]:
    """Runs a service on a migrated database, with two projects and their API keys."""
    settings.setdefault("token_keys", TOKEN_KEY)
    settings.setdefault("secret_keys", SECRET_KEY)
    database = open_database(
        database_url, query_timeout=settings.get("query_timeout"), is_traced=tracer is not NO_TRACES
    )
    own, other, keys = await database.write(_populate)
    options = _Settings(database_url=database_url, **settings)
    service = create_service(options, database, own, with_worker=with_worker, tracer=tracer)
    # ASGITransport raises what the application raises: an unhandled exception fails the test.
    transport = httpx.ASGITransport(service.app)
    async with (
        service.app.router.lifespan_context(service.app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http,
    ):
        first, second = (ids.encode(IdKind.PROJECT, key) for key in (own, other))
        yield App(http, database, keys, first, second, service.sessions, service)


def _populate(uow: UnitOfWork) -> tuple[UUID, UUID, Keys]:
    # All keys in one statement: `api_keys.create` would take a seventh of the time of most tests.
    own, other = projects.create(uow, "default"), projects.create(uow, "other")
    owners = [*[(project, role) for project in (own, other) for role in Role], (None, Role.ADMIN)]
    secrets = [api_keys.new_secret() for _ in owners]
    rows = [
        {
            "id": ids.new_uuid(),
            "project_id": project,
            "role": role,
            "payloads": True,
            "name": f"{role.lower()} for tests",
            "secret_hash": secret_tokens.hash_token(secret),
            "hint": secret[: secret_tokens.HINT_LENGTH],
            "created_by": SYSTEM.text,
            "created_at": clock.now(),
        }
        for (project, role), secret in zip(owners, secrets, strict=True)
    ]
    uow.conn.execute(insert(table(ApiKey)).values(rows))
    return own, other, Keys(*secrets)


@dataclass
class Statements:
    """The SQL statements that were executed inside `statements()`."""

    texts: list[str] = field(default_factory=list)

    @property
    def of_resolvers(self) -> list[str]:
        """The statements without the lookup of the API key."""
        return [text for text in self.texts if "api_key" not in text]


@contextmanager
def statements() -> Iterator[Statements]:
    """Collects the SQL statements of every engine in this process."""
    executed = Statements()

    def record(conn: Any, cursor: Any, text: str, *_: Any) -> None:
        executed.texts.append(text)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", record)
