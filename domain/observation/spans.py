"""Spans: what the service does, from when to when, and because of what. Traces are made of them.

Code that does something begins a child of the current span. While nothing is recorded, the current span is `NO_SPAN`,
whose children are nothing as well. The current span is a context variable: tasks and threads that are started with a
copy of the context go on in it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from enum import StrEnum
from uuid import UUID

Attributes = Mapping[str, str | int | float | bool]
"""Attributes of a span, by their names in OpenTelemetry's semantic conventions, or with the prefix `flowruns.`."""


class SpanKind(StrEnum):
    """Which side of a call a span is."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span:
    """A span that is not recorded. A tracer's own spans are."""

    traceparent: str | None = None
    """The value of the header `traceparent` (W3C Trace Context) with which other services continue the trace; None: the
    span is not recorded, or has ended."""

    def child(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        *,
        is_detail: bool = False,
    ) -> "AbstractContextManager[Span]":
        """Returns a context in which a new child of this span is the current one. An exception marks it as failed.

        What a detail starts is continued from its parent, whose `traceparent` it has.
        """
        return NOTHING

    def rename(self, name: str) -> None:
        """Change the name."""

    def set(self, name: str, value: str | float) -> None:
        """Set an attribute."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed. The reason is a code or a type: messages may contain secrets."""

    def end(self) -> None:
        """End before the context does. What follows in it belongs to no span."""


class Tracer:
    """Begins traces. This one begins none."""

    def request(
        self, name: str, traceparent: str | None, kind: SpanKind, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """Returns a context with the span of a request, which continues the trace that `traceparent` names.

        It is `NOTHING` if the request is not recorded.
        """
        return NOTHING

    def run(self, run_id: UUID, traceparent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """Returns a context with the span of an execution of a run.

        It continues the trace of the request that started the run, if `traceparent` names one. All executions of a run
        are in the same trace.
        """
        return NOTHING

    def close(self) -> None:
        """Sends what is left. It may wait for seconds."""


NO_SPAN = Span()
NO_TRACES = Tracer()
"""Of a process that traces nothing."""
NOTHING = nullcontext(NO_SPAN)
"""The context of a span that is not recorded."""

_current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)
set_current, reset_current = _current.set, _current.reset
"""For tracers: make a span the current one, and undo that."""

current: Callable[[], Span] = _current.get
"""Returns the current span. A look-up without a frame of Python: statements of untraced requests do nothing else."""
