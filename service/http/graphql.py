"""The GraphQL endpoint, which follows the GraphQL-over-HTTP specification."""

import time
from codecs import BOM_UTF8
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from functools import lru_cache
from json import JSONDecodeError
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException, StarletteRequestAdapter
from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.unset import UNSET, UnsetType

from db.core.database import Database
from domain import json_codec
from domain.access_token import NO_TOKEN_KEYS, TokenKeys
from domain.errors import (
    BadRequestError,
    FlowRunsError,
    NotAcceptableError,
    NumberOutOfRangeError,
    RateLimitedError,
    TooManyConnectionsError,
)
from domain.http.body_text import charset_of, known_charset, media_type
from domain.observation import spans
from domain.observation.observer import SILENT, Observer
from domain.observation.spans import NO_SPAN, NO_TRACES, Span, Tracer
from engine.compiled_flow import FlowCache
from engine.secrets.key_ring import NO_KEYS, KeyRing
from live.hub import Hub
from live.stats_feed import StatsFeeds
from resolvers.context import Context, ParentHeaders, Viewer
from resolvers.rates.budgets import Budgets
from schema.build import FlowRunsSchema
from schema.charging import admit, asks_for_cost, refusals_charged
from schema.compiled.reads import CompiledReads
from service.http.auth import ANONYMOUS, authenticate, error_response, secret_of_params, shown_secret, shows_secret
from service.http.compression import compression
from service.http.cross_origin import OtherOrigins
from service.http.documents import Documents
from service.http.media_types import is_graphql_response, response_type
from service.http.pages import Pages
from service.http.request_limits import read_body
from service.http.revalidation import revalidated
from service.http.viewers import Viewers
from service.metrics.operations import describe
from service.streams.connection_registry import ConnectionRegistry
from service.streams.sockets import SocketHandler, TextSocket
from service.streams.sse import EventStream, accepts_stream, operation_type, prefers_json, stopping_function
from service.streams.subscription_rendering import Operation, Streams

GRAPHQL_PATH = "/graphql"
_STREAM_TYPES = ("event-stream", "multipart")
"""Parts of the media types of protocols by which a response may come in several parts."""
_OBJECT = (dict, type(None))
"""The types of members of a request that must be objects, if they are given."""
_KEPT_HEADERS = 256
"""Number of `Accept` headers of which is kept whether they name streams: clients send the same ones repeatedly."""
_JSON_CHARSETS = ("utf-8", "ascii")
"""Charsets of JSON that a request can declare. ASCII is a part of UTF-8."""
_PARENT_HEADERS = (b"ap-parent-run-id", b"ap-fail-parent-on-failure")
"""The headers that nested runs send, as ASGI names them."""
_NO_PARENT = ParentHeaders()
_INIT_TIMEOUT = timedelta(seconds=10)
"""Time that a socket has between its handshake and its `connection_init`."""


class _Request(Request):
    """A request whose body has a limit. Its body is not a stream: its generator would cost as much as parsing it."""

    def __init__(self, scope: Scope, receive: Receive, max_body_bytes: int) -> None:
        super().__init__(scope, receive)
        self._max_body_bytes = max_body_bytes

    async def body(self) -> bytes:
        """Returns the body.

        Raises:
            PayloadTooLargeError
        """
        if not hasattr(self, "_body"):
            self._body = await read_body(self.receive, self._max_body_bytes)
        return self._body


class _RequestAdapter(StarletteRequestAdapter):
    """Reads media types without regard to case, as HTTP defines them."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.state = request.state
        self.query_string: bytes = request.scope["query_string"]

    @property
    def content_type(self) -> str | None:
        content_type = super().content_type
        return content_type.lower() if content_type is not None else None


class GraphQLEndpoint(GraphQL[Context, None]):
    """Serves GraphiQL to browsers, and results or event streams to other clients."""

    def __init__(
        self,
        schema: FlowRunsSchema,
        database: Database,
        viewers: Viewers,
        flows: FlowCache,
        pages: Pages,
        hub: Hub,
        connections: ConnectionRegistry,
        max_body_bytes: int,
        *,
        documents: Documents,
        origins: OtherOrigins,
        compiled_reads: bool,
        budgets: Budgets,
        report_costs: bool = False,
        secret_keys: KeyRing = NO_KEYS,
        token_keys: TokenKeys = NO_TOKEN_KEYS,
        observer: Observer = SILENT,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            # The older protocol is not offered, because some clients would choose it by mistake.
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=_INIT_TIMEOUT,
            allowed_origins=origins.allowed,
        )
        self._observer = observer
        # Chosen once: a service that neither measures nor traces executes nothing of either.
        self._measured_answer = self._answer if observer is SILENT else self._observed_answer
        self._response_of = self._measured_answer if tracer is NO_TRACES else self._traced_answer
        self.streams = Streams(schema, is_compiled=compiled_reads, observer=observer, tracer=tracer)
        self.documents = documents
        self._origins = origins
        self._flow_runs_schema = schema
        self.connections = connections
        self._database = database
        self._viewers = viewers
        self._token_keys = token_keys
        self._hub = hub
        self._flows = flows
        self._stats = StatsFeeds(database, hub)
        self._secret_keys = secret_keys
        self._budgets = budgets
        self._report_costs = report_costs
        self._pages = pages
        self.max_body_bytes = max_body_bytes
        """Largest size in bytes of a request over HTTP, and of a message of a socket."""
        self.reads = CompiledReads(schema) if compiled_reads else None
        """Answers queries of declared fields; None if the setting `compiled_reads` is off."""

    def route(self) -> Route:
        """Returns the route of the endpoint."""
        return Route(GRAPHQL_PATH, self, methods=["GET", "POST"], middleware=[compression()])

    request_adapter_class = _RequestAdapter
    websocket_adapter_class = TextSocket
    graphql_transport_ws_handler_class = SocketHandler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        response = await self._respond(_Request(scope, receive, self.max_body_bytes))
        try:
            await response(scope, receive, send)
        except TooManyConnectionsError as error:
            await _error_response(Request(scope), error)(scope, receive, send)

    async def _respond(self, request: Request) -> Response | EventStream:
        if self._pages.is_page_request(request):
            return self._pages.graphiql(request)
        try:
            return await self._stream(request) or revalidated(request, await self._response_of(request))
        except FlowRunsError as error:
            return _error_response(request, error)
        except HTTPException as error:
            return _refusal(request, error)

    def _traced_answer(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Returns the response to a query or mutation, with a span of it if the request is traced."""
        if (parent := spans.current()) is NO_SPAN:
            return self._measured_answer(request)
        return self._answer_with_span(request, parent)

    async def _answer_with_span(self, request: Request, parent: Span) -> Response:
        with parent.child("GraphQL") as span:
            response = await self._measured_answer(request)
            data = getattr(request.state, "parsed_body", None)
            if isinstance(data, GraphQLRequestData):
                describe(span, data.query, data.operation_name)
            if response.status_code >= 400 or request.state.context.has_errors:
                span.fail("errors")
            return response

    async def _observed_answer(self, request: Request) -> Response:
        """Returns the response to a query or mutation, and reports it."""
        begun = time.perf_counter()
        has_errors = True
        # The attributes of `request.state`, in which a missing one is no exception: that would cost a microsecond.
        state = request.scope.setdefault("state", {})
        try:
            response = await self._answer(request)
            has_errors = response.status_code >= 400 or state["context"].has_errors
        finally:
            # Requests without an operation, such as those with a wrong key, have no part in the metrics of operations.
            data: object = state.get("parsed_body")
            context: Context | None = state.get("context")
            if isinstance(data, GraphQLRequestData) and context is not None:
                seconds = time.perf_counter() - begun
                self._observer.operation_executed(
                    data.query, data.operation_name, seconds, context.cost, has_errors=has_errors
                )
        return response

    async def _answer(self, request: Request) -> Response:
        context = request.state.context = await self._context_of(request)
        await admit(context)
        with refusals_charged(context):
            if self.reads is not None and (body := await self._compiled(self.reads, request, context)) is not None:
                return Response(body, headers={"content-type": response_type(request)})
            return await self.run(request, context=context)

    async def _compiled(self, reads: CompiledReads, request: Request, context: Context) -> bytes | None:
        """Returns the body of the response to a query that is compiled; None for all others, and for bad requests."""
        try:
            data = await self.parse_http_body(self.request_adapter_class(request))
        except (HTTPException, JSONDecodeError):
            return None
        if isinstance(data, list) or data.protocol != "http":
            return None
        context.reports_cost |= asks_for_cost(data.extensions)
        return await reads.execute(data.query, data.variables, data.operation_name, context)

    async def _stream(self, request: Request) -> EventStream | None:
        """Returns an event stream if the client accepts one and needs or prefers it; None otherwise."""
        if not accepts_stream(request):
            return None
        viewer = await authenticate(request, self._viewers)
        parent, resume_after = _parent_headers(request), request.headers.get("last-event-id") or None
        context = self._context(viewer, parent=parent, stats=self._stats, resume_after=resume_after)
        await admit(context)
        with refusals_charged(context):
            operation = _operation(await self._parsed(request))
            kind = operation_type(operation)
            if kind is not OperationType.SUBSCRIPTION and prefers_json(request):
                return None
            if kind is OperationType.MUTATION and request.method == "GET":
                raise HTTPException(405, "Mutations are executed by POST.")
        return EventStream(self.streams, self.connections, operation, context)

    async def _parsed(self, request: Request) -> GraphQLRequestData | list[GraphQLRequestData]:
        try:
            return await self.parse_http_body(self.request_adapter_class(request))
        except JSONDecodeError as error:
            raise HTTPException(400, "Unable to parse request body as JSON") from error

    async def execute_single(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        """Returns the result of a query or mutation; refuses subscriptions, which need a stream."""
        operation, context = _operation(kwargs["request_data"]), kwargs["context"]
        context.reports_cost |= operation.asks_for_cost
        # Searching the text avoids parsing most documents here.
        if "subscription" in (operation.query or "") and operation_type(operation) is OperationType.SUBSCRIPTION:
            return await self._refused(operation, context)
        result = await super().execute_single(*args, **kwargs)
        for error in result.errors or ():
            if (extensions := error.extensions or {}).get("code") == RateLimitedError.code:
                raise RateLimitedError(extensions["retryAfter"])
        return result

    async def _refused(self, operation: Operation, context: Context) -> ExecutionResult:
        """Returns the errors of a subscription whose client does not accept a stream.

        Raises:
            NotAcceptableError: the subscription has no other error.
        """
        begun = await self._flow_runs_schema.subscribe_to(operation.query, operation.variables, operation.name, context)
        if isinstance(begun, list):
            return ExecutionResult(None, begun)
        if begun is not None:
            await begun.source.aclose()
        raise NotAcceptableError

    def should_render_graphql_ide(self, request: object) -> bool:
        """Returns False: `_respond` has served GraphiQL already."""
        return False

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Returns the context of the request. Only sockets may show their key later."""
        if isinstance(request, WebSocket):
            shown = shown_secret(request) if self._origins.may_show_cookie(request) else None
            viewer = await self._viewers.find(shown) or ANONYMOUS
            return self._context(viewer, long_lived=True, stats=self._stats)
        return await self._context_of(request)

    async def _context_of(self, request: Request) -> Context:
        viewer = await authenticate(request, self._viewers)
        return self._context(viewer, parent=_parent_headers(request), is_stopping=stopping_function(request.scope))

    def _context(self, viewer: Viewer, **more: Any) -> Context:
        return Context(
            self._database,
            self._flows,
            viewer,
            compiles=self.reads is not None,
            hub=self._hub,
            secret_keys=self._secret_keys,
            token_keys=self._token_keys,
            budgets=self._budgets,
            reports_cost=self._report_costs,
            **more,
        )

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Accepts a socket whose handshake or `connection_init` shows a valid key."""
        params = context.connection_params
        if isinstance(params, Mapping) and shows_secret(params):
            # A wrong key is an error even if the handshake has a valid cookie.
            context.viewer = await self._viewers.find(secret_of_params(params)) or ANONYMOUS
        if context.viewer is ANONYMOUS:
            raise ConnectionRejectionError
        nothing_to_say: UnsetType = UNSET
        return nothing_to_say

    async def get_sub_response(self, request: Request) -> Response:  # type: ignore[override]
        """Stores the response, whose status `process_result` may set."""
        response = await super().get_sub_response(request)
        request.state.sub_response = response
        return response

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """Returns the body. A request that was not executed has no `data`, and a status of its own."""
        body = await super().process_result(request, result)
        request.state.context.has_errors |= bool(result.errors)
        if result.data is None and all(error.path is None for error in result.errors or ()):
            del body["data"]
            if is_graphql_response(request):
                request.state.sub_response.status_code = 400
        request.state.sub_response.headers["content-type"] = response_type(request)
        return body

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        """Returns the response."""
        return Response(self.encode_json(response_data), sub_response.status_code or 200, dict(sub_response.headers))

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        """Returns the request. If its content type is not JSON, it is refused as the specification requires.

        A request is parsed once, though both ways of execution call this.
        """
        assert isinstance(request, _RequestAdapter)
        known: GraphQLRequestData | list[GraphQLRequestData] | None = getattr(request.state, "parsed_body", None)
        if known is None:
            known = request.state.parsed_body = await self._checked_body(request)
        return known

    async def _checked_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        assert isinstance(request, _RequestAdapter)
        if request.method == "POST":
            _check_content_type(request.content_type or "")
        else:
            _check_encoding(request.query_string)
        data = await self._parsed_body(request)
        if isinstance(data, GraphQLRequestData):
            data.operation_name = None if data.operation_name == "" else data.operation_name
        return data

    async def _parsed_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        if request.method == "POST" and not _names_stream(request.headers.get("accept") or ""):
            # Most requests have this content type. Parsing it again would cost more than parsing their JSON.
            data = self.parse_json(await request.get_body())
            if isinstance(data, dict) and isinstance(query := data.get("query"), str):
                variables, extensions = data.get("variables"), data.get("extensions")
                if isinstance(variables, _OBJECT) and isinstance(extensions, _OBJECT):
                    return GraphQLRequestData(query, variables, data.get("operationName"), extensions)
        return await super().parse_http_body(request)

    def parse_query_params(self, params: Mapping[str, str | None]) -> dict[str, Any]:
        """Returns the request of a GET. Parameters without a value count as absent: forms and proxies send them."""
        data = super().parse_query_params({name: value for name, value in params.items() if value})
        return {**data, "query": self.documents.text_of(data)}

    def parse_json(self, data: str | bytes) -> Any:
        """Parses a request body or a URL parameter, and adds the text of the document that a body names."""
        value = super().parse_json(data)
        if isinstance(data, bytes) and isinstance(value, dict):
            value["query"] = self.documents.text_of(value)
        return value

    def decode_json(self, data: str | bytes) -> object:
        """Parses JSON with orjson, which is as strict as `json` and faster. Bytes are a body, text a URL parameter."""
        # A byte order mark says nothing in UTF-8; some libraries write one (RFC 8259, 8.1).
        text = data.removeprefix(BOM_UTF8) if isinstance(data, bytes) else data.encode(errors="surrogatepass")
        try:
            value = json_codec.parse(text)
        except NumberOutOfRangeError:
            value = json_codec.parse_out_of_range(text)
        if isinstance(data, bytes) and not isinstance(value, dict | list):
            raise HTTPException(400, "The request body must be a JSON object.")
        return value

    def encode_json(self, data: object) -> bytes:
        """Encodes a response. JSON columns in `data` are text already, and are written unchanged."""
        return orjson.dumps(data)


def _check_content_type(content_type: str) -> None:
    if content_type == "application/json":
        return  # Most requests have it.
    if media_type(content_type) != "application/json":
        raise HTTPException(415, "The content type must be application/json.")
    charset = charset_of(content_type)
    if charset is not None and known_charset(charset) not in _JSON_CHARSETS:
        raise HTTPException(415, "The charset of the request body must be UTF-8.")


def _check_encoding(query_string: bytes) -> None:
    """Refuses parameters that are not UTF-8: parsing them would replace the invalid bytes."""
    try:
        unquote_to_bytes(query_string).decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "The parameters of the URL must be percent-encoded UTF-8.") from None


def _operation(data: GraphQLRequestData | list[GraphQLRequestData]) -> Operation:
    assert not isinstance(data, list)  # Batches are refused before.
    return Operation(data.query, data.variables, data.operation_name, asks_for_cost(data.extensions))


def _error_response(request: Request, error: FlowRunsError, status: int | None = None) -> Response:
    """Returns `error` in the media type that the client accepts: some clients do not read the body of another type."""
    response = error_response(error, status)
    response.headers["content-type"] = response_type(request)
    return response


def _refusal(request: Request, error: HTTPException) -> Response:
    wrong_method = error.status_code == 405 or isinstance(error.__cause__, InvalidOperationTypeError)
    response = _error_response(request, BadRequestError(error.reason), 405 if wrong_method else error.status_code)
    if wrong_method:
        response.headers["allow"] = "POST"
    return response


@lru_cache(_KEPT_HEADERS)
def _names_stream(accepted: str) -> bool:
    accepted = accepted.lower()
    return any(media_type in accepted for media_type in _STREAM_TYPES)


def _parent_headers(request: Request) -> ParentHeaders:
    # Most requests have neither, which their raw headers say at once.
    if not any(name in _PARENT_HEADERS for name, _ in request.scope["headers"]):
        return _NO_PARENT
    run_id, fail = (request.headers.get(name.decode()) for name in _PARENT_HEADERS)
    return ParentHeaders(run_id, fail.lower() == "true" if fail else None)
