"""The harness `server`: the service on a port of this machine, for clients that need a real connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.routing import WebSocketRoute

from db.assembly import open_database
from service.asgi import create_service
from service.bootstrap import bootstrap
from service.http.graphql import GraphQLEndpoint
from service.server import server_config
from service.settings import Settings
from tests.support.app import App, run_app
from tests.support.databases.database_templates import SqliteTemplate
from tests.support.processes.listener import listening_with


@dataclass(frozen=True)
class Server:
    """A service on a port of this machine."""

    url: str
    admin_key: str
    sign_in_url: str
    """One-time URL that signs a browser in; empty if the server issued none."""


@dataclass(frozen=True)
class AppServer(Server):
    """A service on a port that tests can reach in process too, through `app`."""

    app: App
    uvicorn: uvicorn.Server

    @property
    def endpoint(self) -> GraphQLEndpoint:
        """The endpoint at /graphql."""
        (endpoint,) = {route.endpoint for route in self.app.service.app.routes if isinstance(route, WebSocketRoute)}
        assert isinstance(endpoint, GraphQLEndpoint)
        return endpoint


@pytest.fixture
async def server(sqlite_template: SqliteTemplate, tmp_path: Path) -> AsyncIterator[Server]:
    """A service as the command `serve` starts it, with worker, demo flows and GraphiQL, on SQLite."""
    with sqlite_template.clone(tmp_path) as database_url:
        async with run_demo_server(database_url) as running:
            yield running


@asynccontextmanager
async def run_demo_server(database_url: str, **settings: Any) -> AsyncIterator[Server]:
    """Runs a service as the command `serve` starts it, on a migrated database: with a worker, and demo flows."""
    values = Settings(database_url=database_url, **settings)
    database = open_database(database_url)
    project = await bootstrap(database, values)
    service = create_service(values, database, project.project_id, with_worker=True)
    config = server_config(service.app, port=0, log_config=None, timeout_graceful_shutdown=5)
    async with listening_with(config) as (url, _):
        assert project.new_secret is not None
        yield Server(url, project.new_secret, f"{url}/sign-in?token={service.sessions.issue_token()}")


@pytest.fixture
async def app_server(database_url: str) -> AsyncIterator[AppServer]:
    """A service with a worker, on a port, on both databases."""
    async with run_server(database_url, with_worker=True) as running:
        yield running


@asynccontextmanager
async def run_server(database_url: str, *, with_worker: bool = False, **settings: Any) -> AsyncIterator[AppServer]:
    """Runs a service on a port, on a migrated database, with two projects and their API keys."""
    async with run_app(database_url, with_worker=with_worker, **settings) as app:
        # `run_app` has started the application's lifespan.
        config = server_config(app.service.app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
        async with listening_with(config) as (url, uvicorn_server):
            yield AppServer(url, app.keys.admin, "", app, uvicorn_server)
