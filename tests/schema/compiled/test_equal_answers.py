"""Compiled reads answer with the bytes of the general path, or leave the query to it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from db.core.unit_of_work import UnitOfWork
from db.models import RunFile
from db.models.types import table
from domain import ids, json_codec
from domain.enums import RunStatus, StepStatus
from domain.ids import IdKind
from domain.time import clock
from schema.build import build_schema
from schema.compiled.reads import CompiledReads
from tests.schema.compiled.both_ways import answers, compiled, general, viewer_of
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import RunFamily, make_flow, make_run_family

RUN = """fragment run on FlowRun { __typename id status environment triggerMethod scheduledFor tags metadata input
    output failedStepName createdAt startedAt finishedAt updatedAt archivedAt failParentOnFailure attempt externalId
    source durationMs error { __typename code message stepName fingerprint } stepData }"""
STEP = """fragment step on StepResult { name displayName kind status input output error { code message details }
    startedAt finishedAt durationMs attempts { number status startedAt finishedAt durationMs error { d: details code } }
    reusedFrom { id } run { status } }"""
FLOW = """fragment flow on Flow { id name enabled maxConcurrentRuns createdAt updatedAt
    project { id name retryLimit maxConcurrentRuns quotaRuns quotaPeriod retentionDays createdAt }
    publishedVersion { id number stepCount definition createdAt flow { name } }
    schedules { id name enabled cron timeZone missedFires environment tags metadata input nextFireAt lastFiredAt
        lastSkippedAt lastSkippedReason createdAt updatedAt flow { id } }
    webhooks { id name hint environment signatureHeader createdAt rotatedAt flow { id } } }"""
LINKED = """{ totalCount few: totalCount(limit: 1) nodes { id } edges { __typename cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"""

QUERIES = [
    "{ flowRuns { nodes { ...run } } }" + RUN,
    "{ flowRuns(first: 2) { nodes { id status } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }",
    "{ flowRuns(last: 2) { __typename totalCount nodes { id } pageInfo { __typename hasNextPage hasPreviousPage } } }",
    "{ flowRuns(first: 0) { nodes { id } edges { cursor } pageInfo { hasNextPage endCursor } totalCount(limit: 2) } }",
    "{ flowRuns { edges { cursor node { id ...on FlowRun { status } ...on Node { id } } again: cursor } } }",
    *(
        f"{{ flowRuns(orderBy: {{field: {field}, direction: {way}}}) {{ edges {{ cursor node {{ id }} }} }} }}"
        for field in ("CREATED_AT", "STARTED_AT", "FINISHED_AT", "DURATION", "UPDATED_AT")
        for way in ("ASC", "DESC")
    ),
    "{ flowRuns { nodes { parentRun { ...run } rootRun { id } retryOf { id parentRun { id } } recoveredBy { id } } } }"
    + RUN,
    "{ flowRuns { nodes { flow { ...flow } flowVersion { number flow { name } } project { name } } } }" + FLOW,
    "{ flowRuns { nodes { steps { ...step } stepsCount failedStep { ...step } } } }" + STEP,
    'query($name: String = "b") { flowRuns { nodes { step(name: $name) { ...step } a: step(name: "a") { name } } } }'
    + STEP,
    "{ flowRuns { nodes { statusHistory { from to at message } pendingInputs { id stepName title description schema"
    " assignee createdAt expiresAt } files { id name size mediaType stepName attempt createdAt url } } } }",
    "{ flowRuns { nodes { retries " + LINKED + " childRuns(last: 1) " + LINKED + " none: childRuns(first: 0) "
    "{ nodes { id } pageInfo { hasNextPage startCursor } } } } }",
    "{ flowRuns { nodes { childRuns { edges { cursor node { retries(first: 1) { edges { cursor } } } } } } } }",
    "{ flows { totalCount nodes { ...flow } edges { cursor } pageInfo { hasNextPage endCursor } } }" + FLOW,
    "query($failed: ID!) { flowRun(id: $failed) { ...run } again: flowRun(id: $failed) { i: id s: steps { n: name } } }"
    + RUN,
    "query($flow: ID!) { flow(id: $flow) { ...flow } }" + FLOW,
    "query($failed: ID!, $paused: ID!, $flow: ID!, $version: ID!, $project: ID!, $schedule: ID!, $webhook: ID!) {"
    " nodes(ids: [$failed, $flow, $paused, $version, $project, $schedule, $webhook, $failed]) { __typename id"
    " ...on FlowRun { status flow { name } } ...on Flow { name } ...on Project { name } ...on Schedule { cron } } }",
    "query($webhook: ID!) { node(id: $webhook) { id ...on Webhook { name hint } } }",
    "query($failed: ID!, $no: Boolean = false) { flowRun(id: $failed) { id status @include(if: $no) steps"
    " @skip(if: $no) { name } ...@include(if: true) { tags } } }",
    "{ __typename flowRuns { __typename } }",
    # Selections of which nothing is left.
    "query($no: Boolean = false) { flowRuns { edges { cursor @include(if: $no) } pageInfo { endCursor @include(if: $no)"
    " } nodes { flow { id @include(if: $no) } steps { name @include(if: $no) }"
    " childRuns { totalCount @include(if: $no) }"
    " retries { nodes { id @include(if: $no) } pageInfo { endCursor @include(if: $no) } }"
    " error { code @include(if: $no) } } } }",
    "query($no: Boolean = false) { flowRuns { totalCount @include(if: $no) } }",
    "query($failed: ID!) { flowRun(id: $failed) { flow { id } flow { name project { id } } ...more } }"
    " fragment more on FlowRun { flow { enabled project { name } } }",
]

FILTERS: list[dict[str, Any]] = [
    {},
    {"statuses": ["FAILED", "SUCCEEDED"]},
    {"statuses": []},
    {"tags": ["red", "blue"], "metadata": {"order": 7}},
    {"anyTags": ["none", "red"], "errorContains": "503"},
    {"createdAfter": "2000-01-01T00:00:00Z", "minDurationMs": 5},
    {"maxDurationMs": 100_000, "createdWithin": "P1D"},
    {"archived": "INCLUDE", "rootsOnly": True},
    {"not": {"statuses": ["FAILED"]}, "or": [{"statuses": ["QUEUED"]}, {"tags": ["red"]}]},
]

HOSTILE = [
    "".join(map(chr, range(1, 32))),
    "\x7f\x80\x9f\xa0 ß ÿ Ā",
    "quotes \" ' ` backslash \\ \\n \\u0041 slash / </script>",
    "line\u2028 paragraph\u2029 zero\u200b bom\ufeff emoji 😀 👩‍👩‍👧 last \U0010ffff",
    "«now» $1 ?1 :1 %s %% {} {0} ' || '",
    " leading and trailing ",
    "null",
]


async def make_hostile_runs(app: App) -> None:
    """Makes a run for each hostile text, which is in all of its texts."""
    published = await make_flow(app, "hostile " + HOSTILE[2])

    def work(uow: UnitOfWork) -> None:
        for text in HOSTILE:
            document = json_codec.encode({text: [text, 1.5, None, True]}, limit=10_000, what="document")
            error = json_codec.encode({"code": text, "message": text, "details": {text: text}}, limit=10_000, what="")
            (run,) = factory.make_runs(
                uow,
                published,
                [
                    {
                        "status": RunStatus.FAILED,
                        "tags": [text, "", text + text],
                        "metadata": document,
                        "input": document,
                        "output": document,
                        "failed_step_name": text,
                        "error_code": text,
                        "error_message": text,
                        "error_fingerprint": text,
                        "external_id": text,
                        "source": text,
                    }
                ],
            )
            step = {"name": text, "display_name": text, "kind": text, "status": StepStatus.FAILED, "error": error}
            factory.make_steps(uow, run, [{**step, "input": document, "output": document}])
            make_file(uow, run, text)

    await app.database.write(work)


def make_file(uow: UnitOfWork, run: UUID, text: str) -> None:
    """Inserts a file of a run."""
    named = {"step_name": text, "name": text, "media_type": text, "key": text}
    row = {"id": ids.new_uuid(), "run_id": run, "attempt": 1, "size": 2**40, "created_at": clock.now(), **named}
    uow.conn.execute(insert(table(RunFile)), row)


@pytest.fixture
async def family(fake_clock: FakeClock, idle_app: App) -> RunFamily:
    """A family of runs, at instants with every number of digits."""
    made = await make_run_family(idle_app)
    published = await make_flow(idle_app, "instants")
    now = clock.now()
    instants = [now - timedelta(seconds=1), *(now.replace(microsecond=number) for number in (0, 1, 500_000, 999_000))]
    rows = [{"status": RunStatus.RUNNING, "started_at": at, "updated_at": at, "archived_at": None} for at in instants]
    await idle_app.database.write(factory.make_runs, published, rows)
    await make_hostile_runs(idle_app)
    return made


@pytest.mark.parametrize("query", QUERIES)
async def test_answers_are_equal(family: RunFamily, idle_app: App, query: str) -> None:
    found, expected = await answers(idle_app, query, family.variables)
    assert found == expected
    assert b'"errors"' not in found


@pytest.mark.parametrize("where", FILTERS)
async def test_answers_to_filters_are_equal(family: RunFamily, idle_app: App, where: dict[str, Any]) -> None:
    text = "query($filter: FlowRunFilter, $first: Int) { flowRuns(filter: $filter, first: $first) { totalCount"
    text += " nodes { id tags durationMs } pageInfo { hasNextPage endCursor } } }"
    for first in (None, 2):
        found, expected = await answers(idle_app, text, {"filter": where, "first": first})
        assert found == expected


@pytest.mark.parametrize("field", ["CREATED_AT", "DURATION", "FINISHED_AT"])
async def test_pages_in_both_directions_are_equal(family: RunFamily, idle_app: App, field: str) -> None:
    text = """query($order: FlowRunOrder, $first: Int, $after: String, $last: Int, $before: String) {
        flowRuns(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
            nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    order = {"field": field, "direction": "DESC"}
    page = (await idle_app.query(text, {"order": order, "first": 4}))["flowRuns"]["pageInfo"]
    cursors = [{"first": 3, "after": page["endCursor"]}, {"last": 2, "before": page["endCursor"]}]
    cursors += [{"first": 2, "after": page["startCursor"], "before": page["endCursor"]}]
    for cursor in cursors:
        found, expected = await answers(idle_app, text, {"order": order, **cursor})
        assert found == expected


@pytest.mark.parametrize("role", ["viewer", "operator", "other_viewer", "other_admin", "all_projects"])
async def test_answers_to_all_keys_are_equal(family: RunFamily, idle_app: App, role: str) -> None:
    text = """query($failed: ID!, $flow: ID!, $project: ID!, $schedule: ID!) { flowRun(id: $failed) { status }
        flow(id: $flow) { name } nodes(ids: [$project, $schedule, $failed]) { id } flowRuns { nodes { id } }
        flows { nodes { name } } }"""
    found, expected = await answers(idle_app, text, family.variables, getattr(idle_app.keys, role))
    assert found == expected


@pytest.mark.parametrize("field", ["flowRun", "flow", "node"])
async def test_missing_objects_are_null_in_both_ways(idle_app: App, field: str) -> None:
    kind = IdKind.FLOW if field == "flow" else IdKind.RUN
    variables = {"id": ids.encode(kind, ids.new_uuid())}
    found, expected = await answers(idle_app, f"query($id: ID!) {{ x: {field}(id: $id) {{ id }} }}", variables)
    assert found == expected == b'{"data":{"x":null}}'


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("query($x: ID!) { flowRun(id: $x) { id } }", "variables"),
        ('{ flowRun(id: "x") { id } }', "error"),
        ('{ flowRuns(after: "x") { nodes { id } } }', "error"),
        ("{ flowRuns(first: 1001) { nodes { id } } }", "error"),
        ("{ flowRuns(first: 1, last: 1) { nodes { id } } }", "error"),
        ("{ flowRuns(first: 1, last: 1) { totalCount } }", "error"),
        ('{ flows(after: "x") { __typename } }', "error"),
        ("{ flowRuns { totalCount(limit: 0) } }", "totalCount(limit)"),
        ("{ flowRuns { nope } }", "document"),
        ("{ flowRuns {", "document"),
        ("query A { flows { totalCount } } query B { flows { totalCount } }", "document"),
        ("{ flowRuns { nodes { retryability { allowed } } } }", "FlowRun.retryability"),
        ("{ flowRuns { nodes { logs { nodes { message } } } } }", "FlowRun.logs"),
        ("{ viewer { role } }", "Query.viewer"),
        ("{ __schema { queryType { name } } }", "__schema"),
        ('mutation { cancel(runId: "x") { __typename } }', "mutation"),
    ],
)
async def test_other_queries_are_left_to_the_general_path(idle_app: App, query: str, reason: str) -> None:
    reads = CompiledReads(build_schema(), 10)
    viewer = await viewer_of(idle_app)
    for _ in range(2):
        assert await compiled(idle_app, reads, query, {}, viewer) is None
    assert reads.counts.compiled == 0
    assert dict(reads.counts.general) == {reason: 2}


async def test_unknown_status_is_left_to_the_general_path(idle_app: App) -> None:
    published = await make_flow(idle_app)
    await idle_app.database.write(factory.make_run, published, status="NONSENSE")
    reads, viewer = CompiledReads(build_schema(), 10), await viewer_of(idle_app)
    for text in ("{ flowRuns { nodes { status } } }", "{ flowRuns { edges { node { rootRun { status } } } } }"):
        assert await compiled(idle_app, reads, text, {}, viewer) is None
        assert b"INTERNAL_ERROR" in await general(idle_app, text, {}, viewer)
    assert dict(reads.counts.general) == {"unexpected value": 2}


async def test_plans_are_kept_by_the_answers_of_their_variables(family: RunFamily, idle_app: App) -> None:
    text = "query($id: ID!, $yes: Boolean!) { flowRun(id: $id) { id status @include(if: $yes) } }"
    reads, viewer = CompiledReads(build_schema(), 10), await viewer_of(idle_app)
    for yes in (True, False, True):
        variables = {"id": family.failed, "yes": yes}
        found = await compiled(idle_app, reads, text, variables, viewer)
        assert found == await general(idle_app, text, variables, viewer)
    assert reads.counts.compiled == 3


async def test_requests_with_equal_variables_share_no_answer(family: RunFamily, idle_app: App) -> None:
    """What is kept of variables belongs to no viewer, and not to one time."""
    text = (
        "query($where: FlowRunFilter, $id: ID!) { flowRuns(filter: $where) { nodes { id } } flowRun(id: $id) { id } }"
    )
    variables = {"where": {"not": {"statuses": ["QUEUED"]}}, "id": family.failed}
    reads = CompiledReads(build_schema(), 10)
    own, foreign = [await viewer_of(idle_app, key) for key in (idle_app.keys.viewer, idle_app.keys.other_viewer)]
    for _ in range(2):
        for viewer in (own, foreign):
            found = await compiled(idle_app, reads, text, variables, viewer)
            assert found == await general(idle_app, text, variables, viewer)
            assert (family.failed.encode() in found) is (viewer is own)
    payloads = "query($id: ID!) { flowRun(id: $id) { output } }"
    given = {"id": family.failed}
    assert await compiled(idle_app, reads, payloads, given, own) is not None
    blind = replace(own, payloads=False)
    assert await compiled(idle_app, reads, payloads, given, blind) is None
    assert b"FORBIDDEN" in await general(idle_app, payloads, given, blind)
