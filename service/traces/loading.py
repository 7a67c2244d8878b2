"""Loads the tracer of a process. OpenTelemetry is imported only if traces are on: that takes most of a second."""

import importlib

from domain.observation.spans import NO_TRACES, Tracer
from service.settings import Settings


def load_tracer(settings: Settings) -> Tracer:
    """Returns the tracer that the settings ask for."""
    if not settings.traces:
        return NO_TRACES
    tracer: Tracer = importlib.import_module("service.traces.otlp").OtlpTracer(settings.traces_ratio)
    return tracer
