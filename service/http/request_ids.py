"""An ID for each request, in its log lines and in its response."""

import random
import re
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import InternalError
from domain.log_context import REQUEST_ID, add_log_fields, current_log_fields
from service.http.auth import error_response

HEADER = "x-request-id"
_RAW_HEADER = HEADER.encode()

_SAFE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Matches the IDs that are accepted from a client or a proxy: printable ASCII that needs no quotes, of bounded
length."""
_HEAD_TYPES = ("http.response.start", "websocket.accept")


class RequestIds:
    """Middleware that takes the request's ID from `X-Request-ID`, or creates one, and returns it in the same header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == _RAW_HEADER), "")
        request_id = given if _SAFE.fullmatch(given) else f"{random.getrandbits(64):016x}"
        # The field is not removed afterwards: each request has a task of its own, in which the server logs the
        # exception that leaves the application.
        add_log_fields(**{REQUEST_ID: request_id})

        async def send_with_id(message: Message) -> None:
            if message["type"] in _HEAD_TYPES:
                message["headers"] = [*message.get("headers", ()), (_RAW_HEADER, request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


async def abandoned(_: Request, __: Exception) -> Response:
    """Returns the response to a request whose client has disconnected. It is never read, and it is not a failure."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


class MaskedErrors:
    """Middleware that responds to a request in which the service failed; the server logs the exception.

    It is the innermost one, so that the response has the headers of the others: without those of CORS, a page of
    another origin could not read it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = scope["type"] != "http"

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if not has_begun:
                request_id = str(current_log_fields().get(REQUEST_ID, ""))
                await error_response(InternalError(request_id))(scope, receive, send)
            raise
