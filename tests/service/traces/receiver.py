"""A collector of OpenTelemetry, for tests: it receives spans by OTLP over HTTP."""

import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.processes.listener import answering


class Receiver:
    """What was received."""

    def __init__(self) -> None:
        self.url = ""
        self.refuses = False
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []

    def named(self, name: str) -> list[Span]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        """The only span with this name."""
        (span,) = self.named(name)
        return span

    def below(self, span: Span) -> Sequence[Span]:
        """The spans whose parent is `span`, in the order in which they began."""
        children = (each for each in self.spans if each.parent_span_id == span.span_id)
        return sorted(children, key=lambda each: each.start_time_unix_nano)

    async def receive(self, request: Request) -> Response:
        """Takes the spans of an export."""
        body = await request.body()
        if self.refuses:
            return Response("who are you", 401)
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert request.headers["content-type"] == "application/x-protobuf"
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(values(group.resource))
            self.spans += [span for scope in group.scope_spans for span in scope.spans]
        return Response(ExportTraceServiceResponse().SerializeToString(), media_type="application/x-protobuf")


def values(of: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def has_failed(span: Span) -> bool:
    """True if the span is marked as failed."""
    return bool(span.status.code == Status.StatusCode.STATUS_CODE_ERROR)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = Starlette(routes=[Route("/v1/traces", receiver.receive, methods=["POST"])])
    async with answering(app) as url:
        receiver.url = url
        yield receiver
