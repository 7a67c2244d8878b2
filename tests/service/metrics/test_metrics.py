"""The metrics of the service, as Prometheus reads them."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from db import projects
from domain import ids
from domain.enums import Role
from domain.ids import IdKind
from domain.observation.observer import SILENT
from engine.compiled_flow import FlowCache
from live.hub import Hub
from resolvers.context import Context, Viewer
from schema.build import build_schema
from schema.relay.connection import DEFAULT_PAGE
from service.metrics import declarations
from service.metrics.collector import Metrics
from service.metrics.operation_series import MAX_OPERATIONS
from service.metrics.operations import OTHER
from service.metrics.recorder import Recorder
from service.metrics.server import metrics_app
from service.streams.subscription_rendering import Failure, Operation, Streams
from tests.support.app import PATIENCE, App, run_app
from tests.support.processes import commands

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
FLOW = {"steps": [{"name": "one", "kind": "transform", "input": 1}]}
FAILING = {"steps": [{"name": "one", "kind": "transform", "input": "{{ 1 / 0 }}"}]}


class Samples:
    """The samples of one reading."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of a sample; None: there is no such sample."""
        return self._values.get((f"flowruns_{name}", frozenset(labels.items())))

    def labels(self, name: str) -> Iterable[dict[str, str]]:
        """The labels of all samples of a name."""
        return [dict(labels) for each, labels in self._values if each == f"flowruns_{name}"]


async def read(metrics: Metrics | None) -> Samples:
    """Reads as Prometheus does, through the application of the port."""
    assert metrics is not None
    transport = httpx.ASGITransport(metrics_app(metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics.test") as http:
        response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Samples(response.text)


@pytest.fixture
async def measured(database_url: str) -> AsyncIterator[App]:
    """A service with a worker that measures, and reads the database each time."""
    async with run_app(database_url, with_worker=True, metrics=True) as app:
        assert app.service.metrics is not None
        app.service.metrics.reader.max_age = 0
        yield app


async def test_requests_runs_and_the_queue_are_measured(measured: App) -> None:
    flow_id = await measured.create_flow(FLOW, name="good")
    failing_id = await measured.create_flow(FAILING, name="bad")
    for each in (flow_id, flow_id, failing_id):
        await measured.wait_until_final(await _started(measured, each))
    await measured.query("query Names { flows { nodes { name } } }", operation="Names")
    await measured.execute("query Wrong { nothing }", operation="Wrong")
    await measured.execute("{ flows { nodes { name } } }", key="no key")
    await measured.http.post("/hooks/none", json={})

    samples = await read(measured.service.metrics)

    assert samples("operations_total", type="query", operation="Names", result="ok") == 1
    assert samples("operations_total", type="query", operation="Wrong", result="error") == 1
    assert samples("operation_seconds_count", type="query", operation="Names") == 1
    assert samples("operation_cost_sum", type="query", operation="Names") == 1 + DEFAULT_PAGE * 2
    assert samples("compiled_reads_total", result="hit", reason="") == 1 + 3
    assert samples("compiled_reads_total", result="fallback", reason="mutation") == 5
    assert samples("webhook_calls_total", status="404") == 1
    assert samples("attempts_total", kind="transform", outcome="succeeded") == 2
    assert samples("attempts_total", kind="transform", outcome="failed") == 1
    assert samples("step_seconds_count", kind="transform") == 2
    assert samples("runs_ended_total", status="SUCCEEDED") == 2
    assert samples("runs_ended_total", status="FAILED") == 1
    assert samples("runs_claimed_total") == 3
    assert samples("runs", project="default", flow="good", status="SUCCEEDED") == 2
    assert samples("runs", project="default", flow="bad", status="FAILED") == 1
    assert samples("queue_due_runs", priority="new") == 0
    assert samples("queue_oldest_due_seconds") == 0
    assert samples("runs_executing") == 0
    assert samples("worker_concurrency") == 64
    assert (samples("database_up"), samples("database_writable")) == (1, 1)
    assert samples("subscribers") == 0
    assert samples("pool_in_use", pool="read") is not None
    assert samples("event_log_position")


async def _started(app: App, flow_id: str) -> str:
    run_id: str = (await app.start(flow_id))["run"]["id"]
    return run_id


async def test_queue_slots_and_bulk_operations_are_measured(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, metrics=True) as app:
        flow_id = await app.create_flow(FLOW, name="waiting")
        key = ids.decode(IdKind.PROJECT, app.project)
        await app.database.write(projects.change, key, {"max_concurrent_runs": 3})
        for _ in range(2):
            await _started(app, flow_id)

        samples = await read(app.service.metrics)

        assert samples("queue_due_runs", priority="new") == 2
        assert samples("queue_oldest_due_seconds") is not None
        assert samples("slots_limit", project="default", flow="") == 3
        assert samples("slots_in_use", project="default", flow="") == 0
        assert samples("deliveries_pending") == 0
        assert samples("deliveries_oldest_due_seconds") == 0
        assert samples("runs", project="default", flow="waiting", status="QUEUED") == 2
        assert not list(samples.labels("event_log_lag_events"))
        again = await read(app.service.metrics)
        assert again("queue_due_runs", priority="new") == 2, "the state is used again"


async def test_nothing_is_measured_unless_it_is_switched_on(idle_app: App) -> None:
    assert idle_app.service.metrics is None
    assert (await idle_app.http.get("/metrics")).status_code == 404
    assert type(SILENT).operation_executed is not Recorder.operation_executed


def test_documentation_lists_every_metric() -> None:
    rows = re.findall(r"^\| `(flowruns_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [
        (each.name, each.type.value, " ".join(f"`{label}`" for label in each.labels), each.meaning)
        for each in declarations.ALL
    ]


def test_names_of_operations_are_bounded() -> None:
    registry = CollectorRegistry()
    recorder = Recorder(registry)
    for number in range(2 * MAX_OPERATIONS):
        recorder.operation_executed(f"query Q{number} {{ a }}", None, 0.1, None, has_errors=False)
    recorder.operation_executed("not a document {", None, 0.1, None, has_errors=True)
    recorder.operation_executed("{" + "a " * 50_000 + "}", None, 0.1, None, has_errors=True)

    samples = Samples(generate_latest(registry).decode())

    names = {labels["operation"] for labels in samples.labels("operations_total")}
    assert len(names) <= MAX_OPERATIONS
    assert samples("operations_total", type="query", operation=OTHER, result="ok") == MAX_OPERATIONS + 2
    assert samples("operations_total", type="invalid", operation="", result="error") == 1
    assert samples("operations_total", type="large", operation=OTHER, result="error") == 1


async def test_each_process_serves_its_metrics(database_url: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    settings = {"DATABASE_URL": database_url, "PORT": "0", "METRICS": "on", "METRICS_PORT": "0"}
    environment = {**kept, **{f"FLOWRUNS_{name}": value for name, value in settings.items()}}
    for command, own in (("api", "subscribers"), ("worker", "worker_concurrency")):
        process = await commands.start(environment, command)
        try:
            url = await _metrics_url(process)
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
                samples = Samples((await http.get("/metrics")).text)
                exact = await http.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        finally:
            await commands.stop(process)
        assert samples(own) is not None
        assert samples("database_up") == 1
        assert exact.text.endswith("# EOF\n")


async def _metrics_url(process: Any) -> str:
    """Where a process says that its metrics are read."""
    while True:
        line = (await process.stderr.readline()).decode()
        assert line, "the process has ended"
        if found := re.search(r"metrics served host=(\S+) port=(\d+)", line):
            return f"http://{found[1]}:{found[2]}"


def test_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((DOCS.parent / "grafana" / "flow-runs.json").read_text())
    expressions = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    shown = {re.sub("_(total|bucket|sum|count)$", "", name) for name in re.findall(r"flowruns_\w+", expressions)}
    assert shown == {each.name for each in declarations.ALL}


@pytest.mark.parametrize(("leave", "reason"), [(True, "client"), (False, "SLOW_CONSUMER")])
async def test_streams_and_why_they_end_are_measured(measured: App, leave: bool, reason: str) -> None:
    assert measured.service.metrics is not None
    streams = Streams(build_schema(), observer=measured.service.metrics.recorder)
    hub = measured.service.hub if leave else Hub(measured.database, max_queued=0)
    viewer = Viewer(ids.new_uuid(), None, Role.VIEWER, "watcher")
    context = Context(measured.database, FlowCache(measured.database), viewer, hub=hub)
    document = "subscription { flowRunStatusChanged { __typename ... on FlowRunStatusChanged { runId } } }"
    flow_id = await measured.create_flow(FLOW, name="followed")
    async with aclosing(streams.results(Operation(document), context)) as results:
        first = await anext(results)
        assert not isinstance(first, Failure), first.errors
        if leave:
            assert (await read(measured.service.metrics))("subscribers") == 1
            assert (await read(measured.service.metrics))("event_log_lag_events") is not None
        else:
            await _started(measured, flow_id)
            assert isinstance(await anext(results), Failure)
    await hub.close()

    samples = await read(measured.service.metrics)

    assert samples("streams_begun_total") == 1
    assert samples("streams_ended_total", reason=reason) == 1
