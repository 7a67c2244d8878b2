"""A service that neither measures nor traces executes no code of metrics and traces on a request."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.traces.otlp import OtlpTracer
from tests.support.app import App, run_app

PARTS = (
    "/service/metrics/",
    "/service/traces/",
    "/domain/observation/",
    "/db/core/traced.py",
    "/opentelemetry/",
    "/prometheus_client/",
)
COMPILED = "query Names { flows { nodes { name } } }"
GENERAL = "query Types { __schema { queryType { name } } }"


@contextmanager
def functions(executed: set[str]) -> Iterator[None]:
    """Collects the functions of metrics and traces that this thread, and threads that it starts, call meanwhile."""

    def record(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and "/tests/" not in file and any(part in file for part in PARTS):
            executed.add(frame.f_code.co_qualname)

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def requests(app: App, flow_id: str) -> None:
    """Sends a query on each path, one that fails, and a mutation."""
    await app.query(COMPILED, operation="Names")
    await app.query(GENERAL, operation="Types")
    await app.execute("query Wrong { nothing }", operation="Wrong")
    await app.start(flow_id)


@pytest.mark.parametrize("on", ["neither", "metrics", "traces"])
async def test_requests_execute_no_code_of_metrics_or_traces_unless_they_are_on(database_url: str, on: str) -> None:
    settings: dict[str, Any] = {"metrics": on == "metrics"}
    if on == "traces":
        settings["tracer"] = OtlpTracer(1, InMemorySpanExporter())
    executed: set[str] = set()
    async with run_app(database_url, with_worker=False, **settings) as app:
        flow_id = await app.create_flow({"steps": [{"name": "one", "kind": "transform", "input": 1}]})
        with functions(executed):
            await requests(app, flow_id)

    if on == "neither":
        assert executed == set()
    else:
        assert ("Recorder.operation_executed" in executed) == (on == "metrics")
        assert ("OtlpTracer.request" in executed) == ("TracedDatabase._span" in executed) == (on == "traces")
