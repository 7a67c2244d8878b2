"""The GraphQL endpoint, by the GraphQL-over-HTTP specification."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.unset import UNSET, UnsetType

from db.session import Database
from domain.errors import DatabaseUnavailableError, ErrorCode, FlowRunsError, UnauthenticatedError
from engine.flows import FlowCache
from events.hub import Hub
from resolvers.context import Context, ParentHeaders
from schema.build import FlowRunsSchema
from service.auth import NOBODY, authenticate, error_response, find_viewer, secret_of_params, shown_secret
from service.connections import Connections
from service.explorer import Explorer
from service.sockets import SocketHandler, TextSocket
from service.streams import Streams

_RESPONSE_TYPE = "application/graphql-response+json"
_INIT_TIMEOUT = timedelta(seconds=10)
"""From the handshake of a socket to its `connection_init`."""


class BadRequestError(FlowRunsError):
    """The request is not a GraphQL request."""

    code = ErrorCode.BAD_REQUEST


class GraphQLEndpoint(GraphQL[Context, None]):
    """Answers browsers with the explorer, and everybody else with the results of their queries."""

    def __init__(
        self,
        schema: FlowRunsSchema,
        database: Database,
        flows: FlowCache,
        explorer: Explorer,
        hub: Hub,
        connections: Connections,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            # The older protocol is left out: with it on offer, some clients take it by mistake.
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=_INIT_TIMEOUT,
        )
        self.streams = Streams(schema)
        self.connections = connections
        self._database = database
        self._hub = hub
        self._flows = flows
        self._explorer = explorer

    websocket_adapter_class = TextSocket
    graphql_transport_ws_handler_class = SocketHandler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if self._explorer.is_wanted(request):
            return self._explorer.page()
        try:
            return await self.run(request)
        except UnauthenticatedError as error:
            return error_response(error, 401)
        except DatabaseUnavailableError as error:
            return error_response(error, 503)
        except HTTPException as error:
            return _refusal(error)

    def should_render_graphql_ide(self, request: object) -> bool:
        """The explorer was shown by now to whom it is for."""
        return False

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """What the resolvers know of the request; refuses it when it shows no key."""
        if isinstance(request, WebSocket):
            viewer = await find_viewer(self._database, shown_secret(request)) or NOBODY
            return Context(self._database, self._flows, viewer, long_lived=True, hub=self._hub)
        viewer = await authenticate(request, self._database)
        return Context(self._database, self._flows, viewer, _parent_headers(request.headers))

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Lets a socket in whose handshake or `connection_init` shows a key."""
        if isinstance(context.connection_params, Mapping) and context.connection_params:
            viewer = await find_viewer(self._database, secret_of_params(context.connection_params))
            context.viewer = viewer or context.viewer
        if context.viewer is NOBODY:
            raise ConnectionRejectionError
        nothing_to_say: UnsetType = UNSET
        return nothing_to_say

    async def get_sub_response(self, request: Request) -> Response:  # type: ignore[override]
        """Holds the status until there is a result."""
        response = await super().get_sub_response(request)
        request.state.sub_response = response
        return response

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """The body; a request that was not executed has no `data`, and a status of its own."""
        body = await super().process_result(request, result)
        if result.data is None and all(error.path is None for error in result.errors or ()):
            del body["data"]
            if _accepts_graphql_response(request):
                request.state.sub_response.status_code = 400
        request.state.sub_response.headers["content-type"] = _media_type(request)
        return body

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        """The response."""
        return Response(self.encode_json(response_data), sub_response.status_code or 200, dict(sub_response.headers))

    def decode_json(self, data: str | bytes) -> object:
        """Faster than the standard library's, and as strict. Bytes are a body, text is a parameter of the URL."""
        value = orjson.loads(data)
        if isinstance(data, bytes) and not isinstance(value, dict | list):
            raise HTTPException(400, "The request body must be a JSON object.")
        return value

    def encode_json(self, data: object) -> bytes:
        """JSON columns are in `data` as text, and written as they are."""
        return orjson.dumps(data)


def _refusal(error: HTTPException) -> Response:
    wrong_method = isinstance(error.__cause__, InvalidOperationTypeError)
    response = error_response(BadRequestError(error.reason), 405 if wrong_method else error.status_code)
    if wrong_method:
        response.headers["allow"] = "POST"
    return response


def _accepts_graphql_response(request: Request) -> bool:
    return _RESPONSE_TYPE in request.headers.get("accept", "")


def _media_type(request: Request) -> str:
    return f"{_RESPONSE_TYPE if _accepts_graphql_response(request) else 'application/json'}; charset=utf-8"


def _parent_headers(headers: Mapping[str, str]) -> ParentHeaders:
    # The seed's names for a nested run's arguments.
    fail = headers.get("ap-fail-parent-on-failure")
    return ParentHeaders(headers.get("ap-parent-run-id"), fail.lower() == "true" if fail else None)
