"""Assembles the application from its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from db import migrate
from db.core import pg_notify
from db.core.database import UNREADABLE, Database
from db.queue import holds
from domain.observation.observer import SILENT, Limited
from domain.observation.spans import NO_TRACES, Tracer
from engine.compiled_flow import FlowCache
from engine.file_store import FileStore
from engine.secrets.key_ring import KeyRing
from engine.steps import KINDS
from live.hub import Hub
from resolvers.rates.budgets import Budgets
from schema.build import build_schema
from service.answers.routes import AnswerPages
from service.http.auth import BrowserSessions
from service.http.cross_origin import OtherOrigins
from service.http.documents import Documents, PersistedDocuments, TrustedDocuments, read_trusted
from service.http.downloads import Downloads
from service.http.graphql import GRAPHQL_PATH, GraphQLEndpoint
from service.http.pages import Pages
from service.http.public_path import PublicUrl
from service.http.request_ids import MaskedErrors, RequestIds, abandoned
from service.http.request_limits import BodyLimit
from service.http.viewers import Viewers
from service.http.webhooks import Webhooks
from service.keys.secret_keys import load_key_ring, missing_keys
from service.keys.token_keys import load_token_keys
from service.metrics.collector import Metrics
from service.settings import Settings
from service.sign_in.config import openid_config
from service.sign_in.openid import OpenIdSignIn
from service.sign_in.provider import OpenIdProvider
from service.streams.connection_registry import ConnectionRegistry, Limits
from service.traces.requests import TracedRequests
from service.worker import Worker, new_standby

WEB = Path(__file__).parent.parent / "web" / "dist"
CONSOLE_DOCUMENTS = WEB / "documents.json"
"""The documents of the console, which are trusted like those of the operator. The file is missing if the pages are not
built."""


@dataclass(frozen=True, slots=True)
class Service:
    """An application, and the parts of it that its process uses."""

    app: Starlette
    sessions: BrowserSessions
    hub: Hub
    metrics: Metrics | None
    """None: nothing is measured."""


def create_service(
    settings: Settings,
    database: Database,
    project_id: UUID,
    *,
    with_worker: bool,
    with_standby: bool = False,
    tracer: Tracer = NO_TRACES,
) -> Service:
    """Creates the application. It closes `database` and `tracer` at its end; browsers sign in to `project_id`.

    With a standby it sends alerts while no worker runs. A process with a worker needs none.
    """
    flows = FlowCache(database)
    token_keys = load_token_keys(settings)
    viewers = Viewers(database, token_keys)
    public_url = PublicUrl(settings.public_url.rstrip("/"))
    config = openid_config(settings)
    provider = OpenIdProvider(config) if config else None
    openid = OpenIdSignIn(config, provider, database, viewers, public_url) if config and provider else None
    pages = Pages(WEB, sign_in_label=config.label if config else "")
    sessions = BrowserSessions(database, viewers, project_id, public_url=public_url, provider_sessions=openid)
    hub = Hub(database)
    limits = Limits(settings.max_connections_per_key, settings.max_subscriptions_per_key)
    connections = ConnectionRegistry(database, limits)
    metrics = Metrics(database) if settings.metrics else None
    observer = metrics.recorder if metrics is not None else SILENT
    budgets = Budgets(database, settings.cost_per_minute, observer=observer)
    calls = Budgets(database, settings.webhook_calls_per_minute or None, limited=Limited.WEBHOOK, observer=observer)
    answers = Budgets(database, limited=Limited.ANSWER_LINK, observer=observer)
    files = FileStore(settings.files_location)
    downloads = Downloads(database, viewers, flows, files, connections, budgets)
    origins = OtherOrigins(settings.origins, settings.cors_credentials)
    keys = load_key_ring(settings)
    documents = _documents(settings)
    worker = Worker(database, flows, settings, keys, observer, tracer, files) if with_worker else None
    standby = new_standby(database, settings, keys, observer) if with_standby else None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Registered first, for the case that the start fails: open threads of SQLite would keep the process alive.
            stack.push_async_callback(asyncio.to_thread, tracer.close)
            stack.push_async_callback(database.close)
            stack.push_async_callback(viewers.write_uses)
            stack.enter_context(viewers.forget_revoked())
            notifications = pg_notify.listen_for_other_processes(database, settings.database_url)
            await stack.enter_async_context(notifications)
            works = [connections.watch(), viewers.record_uses()]
            if openid and provider:
                stack.push_async_callback(provider.close)
                works.append(openid.report_provider())
            beside = [asyncio.create_task(work) for work in works]
            task = asyncio.create_task(worker.run()) if worker else None
            waiting = asyncio.create_task(standby.run()) if standby else None
            yield
            for running in beside:
                running.cancel()
            if standby and waiting:
                standby.stop()
                await waiting
            if worker and task:
                worker.stop()
                await task
            await hub.close()

    endpoint = GraphQLEndpoint(
        build_schema(),
        database,
        viewers,
        flows,
        pages,
        hub,
        connections,
        settings.max_body_bytes,
        documents=documents,
        origins=origins,
        compiled_reads=settings.compiled_reads,
        budgets=budgets,
        report_costs=settings.report_costs,
        secret_keys=keys,
        token_keys=token_keys,
        observer=observer,
        tracer=tracer,
    )
    if metrics is not None:
        metrics.watch_streams(hub, connections)
        metrics.watch_files(files)
        if endpoint.reads is not None:
            metrics.watch_reads(endpoint.reads.counts)
        if worker is not None:
            metrics.watch_worker(worker)
    traced = [] if tracer is NO_TRACES else [Middleware(TracedRequests, tracer)]
    app = Starlette(
        routes=[
            endpoint.route(),
            WebSocketRoute(GRAPHQL_PATH, endpoint),
            *Webhooks(database, flows, settings.max_body_bytes, keys, calls, observer).routes(),
            *AnswerPages(database, token_keys, keys, answers).routes(),
            Route("/sign-in", sessions.sign_in_by_token, methods=["GET"]),
            Route("/sign-in", sessions.sign_in_by_key, methods=["POST"]),
            *(openid.routes() if openid else ()),
            Route("/sign-out", sessions.sign_out, methods=["POST"]),
            Route("/runs/{run_id}/log", downloads.log),
            Route("/files/{file_id}", downloads.file),
            *pages.routes(),
            Route("/schemas/flow-definition.json", _flow_definition_schema),
            Route("/healthz", _healthz),
            Route("/readyz", _Readiness(database, keys, files)),
            Route("/{path:path}/", public_url.without_slash, methods=["GET", "POST"]),
        ],
        middleware=[
            Middleware(RequestIds),
            *traced,
            *origins.middleware(),
            # Behind those that add headers: pages of other origins can read its answer.
            Middleware(BodyLimit, settings.max_body_bytes, other_paths={GRAPHQL_PATH}),
            Middleware(MaskedErrors),
        ],
        exception_handlers={ClientDisconnect: abandoned, 404: pages.not_found},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return Service(app, sessions, hub, metrics)


def _documents(settings: Settings) -> Documents:
    """Returns the documents that may be executed: all, or those of the operator and the console."""
    files = settings.trusted_document_files
    if not files:
        return PersistedDocuments(settings.persisted_queries)
    return TrustedDocuments(read_trusted([*files, *filter(Path.exists, [CONSOLE_DOCUMENTS])]))


async def _flow_definition_schema(_: Request) -> Response:
    return JSONResponse(KINDS.language.json_schema(), media_type="application/schema+json")


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


class _Readiness:
    """Reports readiness: the database is available, has the schema that this version needs, and this service has the
    keys of all secrets."""

    def __init__(self, database: Database, keys: KeyRing, files: FileStore) -> None:
        self._files = files
        self._database = database
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._response())(scope, receive, send)

    async def _response(self) -> Response:
        try:
            problem = await self._database.read(migrate.problem)
            missing = await missing_keys(self._database, self._keys) if problem is None else {}
            drained_since = await self._database.read(holds.drained_since) if problem is None else None
        except UNREADABLE as error:
            return PlainTextResponse(f"{error.message}\n", status_code=503)
        if problem is not None:
            return PlainTextResponse(f"{problem}\n", status_code=503)
        if missing:
            listed = ", ".join(f"{key} ({count} secrets)" for key, count in missing.items())
            message = f"Keys of secrets are missing in FLOWRUNS_SECRET_KEYS: {listed}"
            return PlainTextResponse(f"{message}\n", status_code=503)
        # A service that is drained still answers, so it is ready.
        state = "ready" if drained_since is None else f"ready, drained since {drained_since:%Y-%m-%dT%H:%M:%SZ}"
        if self._database.write_problem is not None:
            # Reads are answered, so it is ready for them.
            state += f". Writes fail: {self._database.write_problem}"
        if self._files.problem is not None:
            state += f". The file store fails: {self._files.problem}."
        return PlainTextResponse(f"{state}\n")
