"""Traces, as a collector receives them: from the request over the run to what a step calls."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import JSONResponse

from db.core.traced import statement_name
from domain.log_context import current_log_fields
from domain.observation import spans
from domain.observation.spans import NO_SPAN, NO_TRACES, SpanKind
from service.settings import Settings
from service.traces.exporter import OtlpExporter
from service.traces.loading import load_tracer
from service.traces.otlp import OtlpTracer
from tests.service.streams.test_socket import answer, signed_in
from tests.service.traces.receiver import Receiver, has_failed, receiving, values
from tests.support import factory
from tests.support.app import App, run_app
from tests.support.processes.commands import ROOT
from tests.support.processes.listener import answering
from tests.support.processes.server import run_server
from tests.support.run_family import make_flow

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = "b7ad6b7169203331"
RECORDED = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
MARK = "what-nobody-may-read"


@asynccontextmanager
async def traced(database_url: str, receiver: Receiver, ratio: float) -> AsyncIterator[App]:
    """A service with a worker that sends its traces to `receiver`; at the end all are sent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracer = load_tracer(Settings(database_url=database_url, traces=True, traces_ratio=ratio))
    async with run_app(database_url, with_worker=True, tracer=tracer, http_allow_private=True) as app:
        yield app


async def test_a_trace_leads_from_the_client_over_the_run_to_the_called_service(database_url: str) -> None:
    called: list[str | None] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        called.append(Request(scope).headers.get("traceparent"))
        await JSONResponse({"ok": MARK})(scope, receive, send)

    async with receiving() as receiver, answering(service) as url, traced(database_url, receiver, 0) as app:
        sent = {"url": f"{url}/?{MARK}", "method": "POST", "body": MARK}
        own = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"}
        flow_id = await app.create_flow(
            {
                "steps": [
                    {"name": "call", "kind": "http", "input": sent},
                    {"name": "own", "kind": "http", "input": {**sent, "headers": own}},
                    {"name": "fails", "kind": "transform", "input": "{{ 1 / 0 }}", "continueOnFailure": True},
                ]
            }
        )
        start = """mutation Begin($id: ID!, $in: JSON) { startRun(input: {flowId: $id, input: $in}) {
            ... on StartRunSuccess { run { id } } } }"""
        variables = {"id": flow_id, "in": {"a": MARK}}
        started = await app.query(start, variables, operation="Begin", headers=RECORDED)
        await app.wait_until_final(started["startRun"]["run"]["id"])
        await app.execute("query Wrong { nothing }", operation="Wrong", headers=RECORDED)
        await app.query("query Unrecorded { viewer { role } }", headers={"traceparent": f"00-{TRACE}-{CLIENT}-00"})
        await app.query("{ viewer { role } }")
        await app.http.get("/healthz", headers=RECORDED)

    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert receiver.resources[0]["service.name"] == "flow-runs"
    request, refused = sorted(receiver.named("POST /graphql"), key=lambda span: span.start_time_unix_nano)
    assert request.parent_span_id.hex() == CLIENT
    assert request.kind == Span.SpanKind.SPAN_KIND_SERVER
    assert values(request)["http.response.status_code"] == 200
    wrong = receiver.one("query Wrong")
    assert (wrong.parent_span_id, has_failed(wrong)) == (refused.span_id, True)
    operation = receiver.one("mutation Begin")
    assert operation.parent_span_id == request.span_id
    assert values(operation)["graphql.operation.type"] == "mutation"
    below = receiver.below(operation)
    transaction = next(span for span in below if span.name == "transaction")
    assert "INSERT flow_run" in [span.name for span in receiver.below(transaction)]

    run = receiver.one("flow run")
    assert run in below
    assert values(run)["flowruns.run.id"] == started["startRun"]["run"]["id"]
    assert values(run)["flowruns.run.status"] == "SUCCEEDED"
    assert not has_failed(run)
    steps = [span for span in receiver.below(run) if span.name.startswith("step ")]
    assert [span.name for span in steps] == ["step call", "step own", "step fails"]
    assert [has_failed(span) for span in steps] == [False, False, True]
    assert called == [f"00-{TRACE}-{steps[0].span_id.hex()}-01", own["traceparent"]]
    statements = [span for span in receiver.spans if "db.query.text" in values(span)]
    assert {values(span)["db.system.name"] for span in statements} == {app.database.dialect}
    assert MARK.encode() not in b"".join(receiver.bodies)


async def test_runs_that_no_request_started_have_traces_of_their_own(database_url: str) -> None:
    async with receiving() as receiver, traced(database_url, receiver, 1) as app:
        published = await make_flow(app, "alone")
        run_id = await app.database.write(factory.create_run, published)
        await app.wait_until_final(factory.encode_run_id(run_id))
        failing = await app.create_flow({"steps": [{"name": "no", "kind": "transform", "input": "{{ 1 / 0 }}"}]}, "no")
        failed = (await app.start(failing))["run"]["id"]
        await app.wait_until_final(failed)
        child = {"name": "child", "kind": "flow", "input": {"flow": "alone"}}
        parent = (await app.start(await app.create_flow({"steps": [child]}, "parent")))["run"]["id"]
        await app.wait_until_final(parent)

    by_run = {values(span)["flowruns.run.id"]: span for span in receiver.named("flow run")}
    alone = by_run[factory.encode_run_id(run_id)]
    assert (alone.trace_id, alone.parent_span_id) == (run_id.bytes, b"")
    assert has_failed(by_run[failed])
    assert by_run[failed].status.message == "FAILED"
    of_parent = [span for span in receiver.named("flow run") if values(span)["flowruns.run.id"] == parent]
    assert len({span.trace_id for span in of_parent}) == 1
    waits = [span for span in receiver.named("step child") if not has_failed(span)]
    (started,) = [
        span for span in receiver.named("flow run") if span.parent_span_id in {each.span_id for each in waits}
    ]
    assert started.trace_id == of_parent[0].trace_id
    assert values(started)["flowruns.run.id"] not in (parent, factory.encode_run_id(run_id))


async def test_operations_over_sockets_and_streams_are_traced(database_url: str) -> None:
    async with receiving() as receiver:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
            tracer = OtlpTracer(1)
        async with run_server(database_url, tracer=tracer) as server, signed_in(server) as socket:
            assert await answer(socket, "query Socket { viewer { role } }") == {"viewer": {"role": "ADMIN"}}
    assert receiver.one("query Socket").parent_span_id == b""


def test_spans_end_with_their_context_and_name_the_trace_in_log_lines() -> None:
    kept = InMemorySpanExporter()
    tracer = OtlpTracer(1, kept)
    with tracer.request("outer", RECORDED["traceparent"], SpanKind.SERVER, {}) as outer:
        assert current_log_fields()["trace_id"] == TRACE
        with pytest.raises(ValueError, match=MARK), spans.current().child("inner"):
            raise ValueError(MARK)
        outer.end()
        with spans.current().child("late") as late:
            assert (late, outer.traceparent) == (NO_SPAN, None)
    assert (spans.current(), current_log_fields()) == (NO_SPAN, {})
    with tracer.request("new", "00-wrong-header-01", SpanKind.SERVER, {}) as begun:
        assert begun.traceparent is not None
        assert TRACE not in begun.traceparent
    tracer.close()
    inner, first, new = kept.get_finished_spans()
    assert [each.name for each in (inner, first, new)] == ["inner", "outer", "new"]
    assert (inner.status.is_ok, inner.status.description, len(inner.events)) == (False, "ValueError", 0)


async def test_a_collector_that_is_away_is_one_line_and_its_return_another(caplog: pytest.LogCaptureFixture) -> None:
    async with receiving() as receiver:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
            exporter = OtlpExporter()
        kept = InMemorySpanExporter()
        tracer = OtlpTracer(1, kept)
        with tracer.request("first", None, SpanKind.SERVER, {}), spans.current().child("second"):
            pass
        tracer.close()

        async def export() -> SpanExportResult:
            return await asyncio.to_thread(exporter.export, kept.get_finished_spans())

        assert await export() is SpanExportResult.SUCCESS
        receiver.refuses = True
        assert [await export() for _ in range(3)] == [SpanExportResult.FAILURE] * 3
        receiver.refuses = False
        assert [await export() for _ in range(2)] == [SpanExportResult.SUCCESS] * 2
        exporter.shutdown()
        exporter.shutdown()
        assert await export() is SpanExportResult.FAILURE
    begun, ended, closed = (
        each.getMessage() for each in caplog.records if each.name.startswith(("service.traces", "opentelemetry"))
    )
    assert begun.startswith("The collector does not take traces")
    assert "401" in begun
    assert ended == "The collector takes traces again. At least 6 spans were lost"
    assert "already shutdown" in closed
    assert len(receiver.spans) == 2 * 3


async def test_nothing_is_traced_and_imported_by_default() -> None:
    assert load_tracer(Settings()) is NO_TRACES
    code = "import sys, service.cli; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0].decode().strip() == "False"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT a.b FROM flow_run AS a", "SELECT flow_run"),
        ('INSERT INTO "flow_run" (id) VALUES (?)', "INSERT flow_run"),
        ("WITH x AS (SELECT 1) SELECT id FROM step_result", "SELECT step_result"),
        ("UPDATE flow SET a = 1", "UPDATE flow"),
        ("BEGIN IMMEDIATE", "BEGIN"),
    ],
)
def test_statements_are_named_by_what_they_do(statement: str, name: str) -> None:
    assert statement_name(statement) == name
