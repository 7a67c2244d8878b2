"""Middleware that begins a trace with a request over HTTP, or continues that of its client."""

from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.log_context import REQUEST_ID, current_log_fields
from domain.observation.spans import NOTHING, Attributes, Span, SpanKind, Tracer

_HEADER: Final = b"traceparent"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROUTES = frozenset({"answer", "graphql", "hooks", "sign-in", "sign-out", "runs", "files", "schemas"})
"""First segments of paths that are told apart. A whole path can contain the token of a webhook or a link."""
_NO_ATTRIBUTES: Attributes = {}
_UNTRACED = frozenset({"/healthz", "/readyz"})


class TracedRequests:
    """Begins a span for each request, except for health checks."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handles a request. It is no coroutine, so that a request that is not recorded has no frame more."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            return self._app(scope, receive, send)
        traceparent = None
        for name, value in scope["headers"]:
            if name == _HEADER:
                traceparent = value.decode("latin-1")
                break
        # Its name and attributes follow when it is recorded.
        recording = self._tracer.request("HTTP", traceparent, SpanKind.SERVER, _NO_ATTRIBUTES)
        if recording is NOTHING:
            return self._app(scope, receive, send)
        return self._record(recording, scope, receive, send)

    async def _record(
        self, recording: AbstractContextManager[Span], scope: Scope, receive: Receive, send: Send
    ) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        first = scope["path"].split("/", 2)[1]
        route = f"/{first}" if first in _ROUTES else "/"
        with recording as span:
            span.rename(f"{method} {route}")
            span.set("http.request.method", method)
            span.set("http.route", route)
            span.set("flowruns.request.id", str(current_log_fields().get(REQUEST_ID, "")))

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.fail(str(message["status"]))
                    if any(b"text/event-stream" in value for _, value in message.get("headers", ())):
                        span.end()  # the stream may last for days
                await send(message)

            await self._app(scope, receive, send_with_status)
