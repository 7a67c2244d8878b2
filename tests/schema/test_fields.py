"""Every field declares the columns that it reads: selected alone, it returns the same as with all others."""

from datetime import timedelta
from functools import reduce
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_leaf_type

from domain.enums import RunStatus, StepStatus
from domain.time import clock
from schema.build import build_schema
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import RunFamily, make_flow, make_run_family, make_runs

SCHEMA = build_schema()._schema

_ARGUMENTS = {"path": '(path: "customer")', "name": '(name: "b")', "by": "(by: FLOW)"}
"""What is given for required arguments, by name."""

# Paths to a type, with %s for its selection.
WAYS = {
    "Schedule": ["node(id: $schedule) { ... on Schedule { %s } }", "flow(id: $flow) { schedules { %s } }"],
    "BulkOperation": [
        "bulkOperation(id: $bulk) { %s }",
        "node(id: $bulk) { ... on BulkOperation { %s } }",
        "bulkOperations { nodes { %s } }",
        "bulkOperations { edges { node { %s } } }",
    ],
    "BulkOperationConnection": ["bulkOperations { %s }"],
    "BulkOutcome": ["bulkOperation(id: $bulk) { outcomes { nodes { %s } } plan { sample { %s } } }"],
    "BulkOutcomeConnection": ["bulkOperation(id: $bulk) { outcomes { %s } }"],
    "BulkPlan": ["bulkOperation(id: $bulk) { plan { %s } }"],
    "BulkReasonCount": ["bulkOperation(id: $bulk) { reasons { %s } plan { ineligible { %s } } }"],
    "Webhook": ["node(id: $webhook) { ... on Webhook { %s } }", "flow(id: $flow) { webhooks { %s } }"],
    "Secret": ["node(id: $secret) { ... on Secret { %s } }", "viewer { project { secrets { %s } } } secrets { %s }"],
    "FlowRun": [
        "flowRun(id: $failed) { %s }",
        "flowRun(id: $retry) { %s }",
        "node(id: $failed) { ... on FlowRun { %s } }",
        "nodes(ids: [$failed, $retry]) { ... on FlowRun { %s } }",
        "flowRuns { nodes { %s } }",
        "flowRuns { edges { node { %s } } }",
        "flowRuns(orderBy: {field: DURATION}) { nodes { %s } }",
        "flowRun(id: $retry) { retryOf { %s } }",
        "flowRun(id: $failed) { rootRun { %s } }",
        "flowRun(id: $failed) { retries { nodes { %s } } }",
        "flowRun(id: $failed) { childRuns { edges { node { %s } } } }",
        "flowRun(id: $retry) { steps { run { %s } } }",
    ],
    "StepResult": [
        "flowRun(id: $failed) { steps { %s } }",
        'flowRun(id: $retry) { step(name: "a") { %s } }',
        "flowRun(id: $failed) { failedStep { %s } }",
    ],
    "StepAttempt": ["flowRun(id: $failed) { steps { attempts { %s } } }"],
    "StepError": ["flowRun(id: $failed) { failedStep { error { %s } attempts { error { %s } } } }"],
    "RunError": ["flowRun(id: $failed) { error { %s } }"],
    "LogLine": ["flowRun(id: $failed) { logs { nodes { %s } } }"],
    "LogLineConnection": ["flowRun(id: $failed) { logs { %s } }"],
    "RunFile": ["flowRun(id: $failed) { files { %s } }"],
    "InputRequest": [
        "flowRun(id: $paused) { pendingInputs { %s } inputRequests { %s } }",
        "node(id: $request) { ... on InputRequest { %s } }",
        "inputRequests { edges { node { %s } } }",
    ],
    "InputRequestConnection": ["inputRequests { %s }"],
    "WaitingFor": ["flowRun(id: $paused) { waitingFor { %s } }", "flowRun(id: $queued) { waitingFor { %s } }"],
    "Actor": ["auditEvents { nodes { actor { %s } } }", "bulkOperation(id: $bulk) { requestedBy { %s } }"],
    "ApiKey": ["apiKeys { nodes { %s } }", "apiKeys { edges { node { %s } } }"],
    "ApiKeyConnection": ["apiKeys { %s }"],
    "AuditEvent": ["auditEvents { nodes { %s } }", "auditEvents { edges { node { %s } } }"],
    "AuditEventConnection": ["auditEvents { %s }"],
    "StatusChange": ["flowRun(id: $failed) { statusHistory { %s } }"],
    "Retryability": ["flowRun(id: $failed) { retryability { %s } }"],
    "StartCheck": ["flowRun(id: $failed) { rerunnability { %s } }"],
    "Completability": ["flowRun(id: $failed) { completability { %s } }"],
    "Flow": [
        "flow(id: $flow) { %s }",
        "node(id: $flow) { ... on Flow { %s } }",
        "flows { nodes { %s } }",
        "flows { edges { node { %s } } }",
        "flowRun(id: $failed) { flow { %s } }",
        "node(id: $version) { ... on FlowVersion { flow { %s } } }",
    ],
    "FlowVersion": [
        "node(id: $version) { ... on FlowVersion { %s } }",
        "flow(id: $flow) { publishedVersion { %s } }",
        "flow(id: $flow) { versions { nodes { %s } } }",
        "flowRun(id: $failed) { flowVersion { %s } }",
    ],
    "Project": [
        "node(id: $project) { ... on Project { %s } }",
        "viewer { project { %s } }",
        "flow(id: $flow) { project { %s } }",
        "flowRun(id: $failed) { project { %s } }",
    ],
    "ProjectConnection": ["projects { %s }"],
    "ScheduleConnection": ["schedules { %s }"],
    "FlowVersionConnection": ["flow(id: $flow) { versions { %s } }"],
    "FlowDefinitionCheck": [
        'validateFlowDefinition(definition: {steps: [{name: "a", kind: "transform", input: 1}]}) { %s }'
    ],
    "StepDefinition": ["flow(id: $flow) { publishedVersion { steps { %s } } }"],
    "Viewer": ["viewer { %s }"],
    "Limits": ["viewer { limits { %s } }"],
    "PageInfo": ["flowRuns { pageInfo { %s } }", "flows { pageInfo { %s } }"],
    "FlowRunStats": ["flowRunStats { %s }", "flow(id: $flow) { stats { %s } }"],
    "FlowRunGroupStats": [
        "flowRunStats { groupBy(by: FLOW) { %s } }",
        "flow(id: $flow) { stats { groupBy(by: VERSION) { %s } } }",
    ],
    "FailureGroup": ["flowRunStats { failures(first: 2) { %s } }"],
    "FlowCount": ["flowRunStats { failures { flows { %s } } }"],
    "TimeCount": ["flowRunStats { failures { series(size: DAY) { %s } } }"],
    "RunComparison": ["compareRuns(a: $failed, b: $paused) { %s }"],
    "StepComparison": ["compareRuns(a: $failed, b: $paused) { steps { %s } }"],
    "JsonDifferences": ["compareRuns(a: $failed, b: $paused) { metadata { %s } steps { definition { %s } } }"],
    "JsonDifference": ["compareRuns(a: $failed, b: $paused) { metadata { differences { %s } } }"],
    "SavedView": ["savedViews { %s }", "node(id: $view) { ... on SavedView { %s } }"],
    "SavedOrder": ["savedViews { orderBy { %s } }"],
    "Pickers": ["pickers { %s }"],
    "PickerValues": ["pickers { tags { %s } failedSteps { %s } errorCodes { %s } sources { %s } metadataKeys { %s } }"],
    "PickerValue": ["pickers { tags { values { %s } } }"],
    "PickerMetadataValues": ['pickers { metadataValues(path: "customer") { %s } }'],
    "PickerMetadataValue": ['pickers { metadataValues(path: "customer") { values { %s } } }'],
    "StatusCount": ["flowRunStats { byStatus { %s } }", "flowRunStats { timeBuckets { byStatus { %s } } }"],
    "DurationStats": ["flowRunStats { durations { %s } }"],
    "TimeBucket": ["flowRunStats { timeBuckets { %s } }"],
    "FailingStep": ["flowRunStats { topFailingSteps { %s } }"],
    "StepErrorStats": ["flowRunStats { topFailingSteps { errors { %s } } }"],
    "FlowRunConnection": ["flowRuns { %s }", "flowRun(id: $failed) { childRuns { %s } retries { %s } }"],
    "FlowConnection": ["flows { %s }"],
    "Hold": ["flow(id: $flow) { hold { %s } project { hold { %s } } } drain { %s }"],
    "Worker": [
        "node(id: $worker) { ... on Worker { %s } }",
        "workers(first: 5) { nodes { %s } }",
        "workers(first: 5) { edges { node { %s } } }",
    ],
    "WorkerConnection": ["workers { %s }"],
    "Endpoint": ["node(id: $endpoint) { ... on Endpoint { %s } }", "endpoints { edges { node { %s } } }"],
    "EndpointConnection": ["endpoints { %s }"],
    "Delivery": [
        "node(id: $delivery) { ... on Delivery { %s } }",
        "deliveries { edges { node { %s } } }",
        "node(id: $endpoint) { ... on Endpoint { deliveries { nodes { %s } } } }",
    ],
    "DeliveryConnection": ["deliveries { %s }"],
    "DeliveryAttempt": ["deliveries { nodes { attempts { %s } } }"],
    "Alert": ["node(id: $alert) { ... on Alert { %s } }", "alerts { edges { node { %s } } }"],
    "AlertConnection": ["alerts { %s }"],
    "Notification": [
        "node(id: $notification) { ... on Notification { %s } }",
        "node(id: $alert) { ... on Alert { notifications { edges { node { %s } } } } }",
    ],
    "NotificationConnection": ["node(id: $alert) { ... on Alert { notifications { %s } } }"],
    "Queue": ["queues { %s }", "queues(by: PROJECT) { %s }", "queues(by: PRIORITY) { %s }"],
}


PARTS = 4
"""Tests among which the types are divided. Those of one part share a database."""


def fields_of(name: str) -> dict[str, GraphQLField]:
    found = SCHEMA.type_map[name]
    assert isinstance(found, GraphQLObjectType | GraphQLInterfaceType)
    fields: dict[str, GraphQLField] = found.fields
    return fields


def selection(name: str, field: GraphQLField) -> str:
    """A field with the leaves below it."""
    kind = get_named_type(field.type)
    return name + arguments(field) + ("" if is_leaf_type(kind) else f" {{ {leaves(kind.name)} }}")


def arguments(field: GraphQLField) -> str:
    """The arguments that a field needs."""
    return next((text for given, text in _ARGUMENTS.items() if given in field.args), "")


def leaves(name: str) -> str:
    found = [each for each, field in fields_of(name).items() if is_leaf_type(get_named_type(field.type))]
    return " ".join(["__typename", *found])


def document(family: RunFamily, way: str, selections: list[str]) -> str:
    """A query that goes the way once for each selection, as `f0`, `f1`, …; each is read by itself."""
    fields = " ".join(f"f{number}: {way.replace('%s', what)}" for number, what in enumerate(selections))
    names = [name for name in family.variables if f"${name}" in way]
    return (f"query({', '.join(f'${name}: ID!' for name in names)}) " if names else "") + f"{{ {fields} }}"


async def ask(app: App, family: RunFamily, way: str, *selections: str) -> list[Any]:
    data = await app.query(document(family, way, list(selections)), family.variables)
    return list(data.values())


def merged(left: Any, right: Any) -> Any:
    """Two answers of one shape, with the fields of both."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {name: merged(left.get(name), right.get(name)) for name in {**left, **right}}
    if isinstance(left, list) and isinstance(right, list):
        return [merged(*pair) for pair in zip(left, right, strict=True)]
    return right if left is None else left


@pytest.mark.parametrize("part", range(PARTS))
async def test_field_alone_equals_field_selected_with_others(fake_clock: FakeClock, idle_app: App, part: int) -> None:
    family = await make_run_family(idle_app)
    for name in list(WAYS)[part::PARTS]:
        selections = [selection(field_name, field) for field_name, field in fields_of(name).items()]
        for way in WAYS[name]:
            *alone, together = await ask(idle_app, family, way, *selections, " ".join(selections))
            assert reduce(merged, alone) == together, way


async def test_columns_of_fragment_fields_are_read(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    text = """query($id: ID!) { flowRun(id: $id) { ...a ... on FlowRun { tags } ... @include(if: true) { source } } }
        fragment a on FlowRun { ...b status }
        fragment b on FlowRun { metadata flow { ...c } }
        fragment c on Flow { name }"""
    found = (await idle_app.query(text, {"id": family.failed}))["flowRun"]
    assert found == {
        "tags": ["red", "blue"],
        "source": "shop",
        "status": "FAILED",
        "metadata": {"order": 7},
        "flow": {"name": "flow"},
    }


async def test_duration_is_null_then_grows_then_is_frozen(fake_clock: FakeClock, idle_app: App) -> None:
    published = await make_flow(idle_app)
    rows: list[dict[str, Any]] = [{}, {"status": RunStatus.RUNNING}, {"status": RunStatus.FAILED}]
    _, live, _ = await idle_app.database.write(factory.make_runs, published, rows)
    step = {"status": StepStatus.RUNNING, "finished_at": None, "duration_ms": None}
    await idle_app.database.write(factory.make_steps, live, [step])
    text = """{ flowRuns(orderBy: {direction: ASC}) { nodes {
        durationMs stepData steps { durationMs attempts { durationMs } } } } }"""
    start = clock.now()
    for seconds in (0, 90):
        await fake_clock.advance(seconds)
        waiting, running, ended = (await idle_app.query(text))["flowRuns"]["nodes"]
        assert (waiting["durationMs"], waiting["stepData"]) == (None, "NOT_STARTED")
        elapsed = (clock.now() - start) // timedelta(milliseconds=1)
        assert (running["durationMs"], running["stepData"]) == (elapsed, "AVAILABLE")
        assert running["steps"] == [{"durationMs": elapsed, "attempts": [{"durationMs": elapsed}]}]
        assert ended["durationMs"] == 1_000


async def test_step_data_is_purged_after_a_purge(idle_app: App) -> None:
    done = {"status": RunStatus.FAILED, "steps_purged_at": clock.now()}
    await make_runs(idle_app, await make_flow(idle_app), done)
    assert (await idle_app.query("{ flowRuns { nodes { stepData } } }"))["flowRuns"]["nodes"] == [
        {"stepData": "PURGED"}
    ]


def test_every_object_type_is_covered() -> None:
    errors = {"UserError"}
    streamed = {"Subscription", "FlowRunStatusChanged", "FlowRunUpdated", "CaughtUp"}
    streamed |= {"StepChanged", "StepStatusChange", "LogLinesAppended", "BulkOperationProgressed", "BulkCounts"}
    streamed |= {"InputRequestChanged", "FlowRunDeleted"}
    elsewhere = {"Query", "Mutation", "Problem"} | streamed
    elsewhere |= {"FlowRunEdge", "FlowEdge", "LogLineEdge", "BulkOperationEdge", "BulkOutcomeEdge"}
    elsewhere |= {"ApiKeyEdge", "AuditEventEdge", "InputRequestEdge", "FlowVersionEdge", "ScheduleEdge", "ProjectEdge"}
    elsewhere |= {"WorkerEdge", "RunRetention", "ExpiredRuns", "EndpointEdge", "DeliveryEdge"}
    elsewhere |= {"AlertEdge", "NotificationEdge"}
    reachable = {
        name
        for name, kind in SCHEMA.type_map.items()
        if isinstance(kind, GraphQLObjectType)
        and not name.startswith("__")
        and not name.endswith("Success")
        and errors.isdisjoint(face.name for face in kind.interfaces)
    }
    assert reachable - elsewhere == set(WAYS)
