"""The tracer that sends spans by OTLP over HTTP. Its exporter and resource are set by OpenTelemetry's own variables.

What is recorded is decided when a trace begins: all of it or nothing, so that the rest costs next to nothing. A span
has no message of an exception, no path of a URL and no parameter of a statement: they can contain secrets.
"""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from domain.log_context import log_fields
from domain.observation import spans
from domain.observation.spans import NO_SPAN, NOTHING, Attributes, Span, SpanKind, Tracer
from service import VERSION
from service.traces.exporter import OtlpExporter

SERVICE_NAME = "flow-runs"
"""The name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say another one."""
CLOSE_SECONDS = 3.0
"""Seconds that the end of a process waits for the last spans to be sent."""
_KINDS = {kind: trace.SpanKind[kind.name] for kind in SpanKind}
_RANDOM_BITS: Final = 62
"""Random bits at the end of a run's ID."""
_propagator = TraceContextTextMapPropagator()


class _Ids(RandomIdGenerator):
    """Gives the next trace the ID that was chosen for it, if one was."""

    chosen: int | None = None

    def generate_trace_id(self) -> int:
        """Returns the ID of a new trace."""
        chosen, self.chosen = self.chosen, None
        return chosen or super().generate_trace_id()


class _HashedResource(Resource):
    """A resource with a kept hash: the encoder asks for it twice for each span, and writes its JSON each time."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash


class _OtlpSpan(Span):
    """A span that is recorded."""

    def __init__(self, tracer: "OtlpTracer", span: trace.Span, named: trace.Span) -> None:
        """`named` is the span of which `traceparent` is the name."""
        self._tracer = tracer
        self._span = span
        self._named = named

    @property
    def traceparent(self) -> str | None:  # type: ignore[override]
        """See `Span`."""
        if not self._span.is_recording():
            return None
        context = self._named.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{TraceFlags.SAMPLED:02x}"

    def child(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        *,
        is_detail: bool = False,
    ) -> AbstractContextManager[Span]:
        """See `Span`. A task that goes on after the end of a span, with its context, begins no children of it."""
        if not self._span.is_recording():
            return NOTHING
        return self._tracer.recording(name, kind, attributes, self._span, self._named if is_detail else None)

    def rename(self, name: str) -> None:
        """See `Span`."""
        self._span.update_name(name)

    def set(self, name: str, value: str | float) -> None:
        """See `Span`."""
        self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        """See `Span`."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """See `Span`."""
        if self._span.is_recording():
            self._span.end()


class OtlpTracer(Tracer):
    """Records the share `ratio` of the traces that begin here, and those that began elsewhere if they are recorded
    there."""

    def __init__(self, ratio: float, exporter: SpanExporter | None = None) -> None:
        self._ratio = ratio
        self._ids = _Ids()
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({"service.version": VERSION} | ({} if named else {"service.name": SERVICE_NAME}))
        self._provider = TracerProvider(
            ALWAYS_ON, _HashedResource(resource), shutdown_on_exit=False, id_generator=self._ids
        )
        self._exporter = exporter or OtlpExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(SERVICE_NAME, VERSION)

    def request(
        self, name: str, traceparent: str | None, kind: SpanKind, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """See `Tracer`."""
        if traceparent is not None and (parent := _remote(traceparent)) is not None:
            return self._continued(parent, name, kind, attributes)
        if random.random() >= self._ratio:  # noqa: S311 - guards nothing
            return NOTHING
        return self.recording(name, kind, attributes, None)

    def run(self, run_id: UUID, traceparent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """See `Tracer`. The trace of a run that no request started has the run's ID."""
        if traceparent is not None and (parent := _remote(traceparent)) is not None:
            return self._continued(parent, "flow run", SpanKind.CONSUMER, attributes)
        if run_id.int % 2**_RANDOM_BITS >= self._ratio * 2**_RANDOM_BITS:
            return NOTHING
        self._ids.chosen = run_id.int
        return self.recording("flow run", SpanKind.CONSUMER, attributes, None)

    def close(self) -> None:
        """See `Tracer`. A collector that is away delays it by CLOSE_SECONDS at most."""
        giving_up = threading.Timer(CLOSE_SECONDS, self._exporter.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def _continued(
        self, parent: SpanContext, name: str, kind: SpanKind, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        if not parent.trace_flags.sampled:
            return NOTHING
        return self.recording(name, kind, attributes, NonRecordingSpan(parent))

    @contextmanager
    def recording(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes | None,
        parent: trace.Span | None,
        named: trace.Span | None = None,
    ) -> Iterator[Span]:
        """A context in which a new span is the current one, also for instrumentations of libraries. Log lines have the
        ID of the trace."""
        context = trace.set_span_in_context(parent or trace.INVALID_SPAN)
        begun = self._tracer.start_span(name, context, _KINDS[kind], dict(attributes or {}))
        span = _OtlpSpan(self, begun, named or begun)
        is_first = spans.current() is NO_SPAN
        attached, before = attach(trace.set_span_in_context(begun)), spans.set_current(span)
        try:
            with log_fields(trace_id=f"{begun.get_span_context().trace_id:032x}") if is_first else nullcontext():
                yield span
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
        finally:
            span.end()
            spans.reset_current(before)
            detach(attached)


def _remote(traceparent: str) -> SpanContext | None:
    """Returns what a header `traceparent` names; None: it is invalid, and the trace begins here."""
    found = trace.get_current_span(_propagator.extract({"traceparent": traceparent})).get_span_context()
    return found if found.is_valid else None
