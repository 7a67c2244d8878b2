"""Lists of flows with their details, without a statement for each flow; statistics in groups; failures."""

from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.enums import RunStatus, TriggerMethod
from domain.ids import IdKind
from domain.time import clock
from tests.support import factory
from tests.support.app import App, statements
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow
from tests.support.run_family import make_flow, make_run_families, make_runs

LIST = """query($first: Int!) { flows(first: $first) { nodes {
    name lastRun { id status flow { name } }
    failed: lastRun(filter: {statuses: [FAILED]}) { id }
    runs(first: 2) { totalCount nodes { id } pageInfo { hasNextPage } }
    versions(first: 1) { totalCount nodes { number steps { name kind } } pageInfo { hasNextPage } }
    schedules { id }
    stats { total byStatus { status count } durations { count p50Ms } timeBuckets(size: DAY) { total }
        topFailingSteps { stepName count errors { fingerprint count } } } } } }"""
STATS = """total byStatus { status count } durations { count minMs maxMs meanMs p50Ms p99Ms }
    timeBuckets(size: DAY) { start total byStatus { status count } }
    topFailingSteps { stepName count errors { fingerprint count message } }"""


async def test_flows_with_their_runs_and_statistics_are_as_many_statements_for_many(general_app: App) -> None:
    app = general_app
    await make_run_families(app, 12)
    with statements() as few:
        await app.query(LIST, {"first": 2})
    with statements() as many:
        found = (await app.query(LIST, {"first": 12}))["flows"]["nodes"]
    assert len(few.of_resolvers) == len(many.of_resolvers) <= 20
    assert {flow["runs"]["totalCount"] for flow in found} == {4}
    assert all(flow["lastRun"]["flow"]["name"] == flow["name"] for flow in found)


@pytest.fixture
async def flows(fake_clock: FakeClock, idle_app: App) -> list[PublishedFlow]:
    """Two flows: of the first a version, runs with tags and failures; of the second one run."""
    first, second = await make_flow(idle_app, "first"), await make_flow(idle_app, "second")
    now = clock.now()
    error = {"failed_step_name": "charge", "error_code": "HTTP", "error_message": "503", "error_fingerprint": "f" * 16}
    failed = {"status": RunStatus.FAILED, "tags": ["red", "blue"], **error}
    rows = [
        {"id": factory.uuid_at(now - timedelta(days=3)), "duration_ms": 10, **failed},
        {"id": factory.uuid_at(now - timedelta(hours=2)), "duration_ms": 30, **failed},
        {"id": factory.uuid_at(now, 1), "status": RunStatus.SUCCEEDED, "tags": ["red"], "duration_ms": 20},
        {"id": factory.uuid_at(now, 2), "trigger_method": TriggerMethod.SCHEDULE},
    ]
    await make_runs(idle_app, first, *rows)
    await make_runs(idle_app, second, {"id": factory.uuid_at(now, 3), **failed, "error_fingerprint": "e" * 16})
    return [first, second]


@pytest.mark.parametrize("where", [{}, {"tags": ["red"]}], ids=["counted", "read"])
async def test_statistics_of_a_flow_are_those_of_its_runs(
    idle_app: App, flows: list[PublishedFlow], where: dict[str, Any]
) -> None:
    text = (
        f"query($where: FlowRunFilter) {{ flows(first: 5) {{ nodes {{ id stats(filter: $where) {{ {STATS} }} }} }} }}"
    )
    nodes = (await idle_app.query(text, {"where": where}))["flows"]["nodes"]
    assert len(nodes) == len(flows)
    alone = f"query($where: FlowRunFilter) {{ flowRunStats(filter: $where) {{ {STATS} }} }}"
    for node in nodes:
        of_flow = (await idle_app.query(alone, {"where": {**where, "flowIds": [node["id"]]}}))["flowRunStats"]
        assert node["stats"] == of_flow
    # A filter of other flows leaves nothing.
    other = {"where": {**where, "flowIds": [nodes[1]["id"]]}}
    assert [node["stats"]["total"] for node in (await idle_app.query(text, other))["flows"]["nodes"]] == [
        0,
        nodes[1]["stats"]["total"],
    ]


async def test_runs_are_counted_in_groups(idle_app: App, flows: list[PublishedFlow]) -> None:
    first, second = (ids.encode(IdKind.FLOW, flow.flow_id) for flow in flows)
    version = ids.encode(IdKind.FLOW_VERSION, flows[0].version_id)
    text = """query($by: FlowRunGroup!, $where: FlowRunFilter, $first: Int!) { flowRunStats(filter: $where) {
        groupBy(by: $by, first: $first) { key total byStatus { status count } flow { name } } } }"""

    async def grouped(by: str, first: int = 20, **where: Any) -> list[Any]:
        found = await idle_app.query(text, {"by": by, "where": where, "first": first})
        rows: list[dict[str, Any]] = found["flowRunStats"]["groupBy"]
        for row in rows:
            assert sum(each["count"] for each in row["byStatus"]) == row["total"]
        assert [row["flow"] is not None for row in rows] == [by == "FLOW"] * len(rows)
        return [(row["key"], row["total"]) for row in rows]

    assert await grouped("FLOW") == [(first, 4), (second, 1)]
    assert await grouped("FLOW", tags=["blue"]) == [(first, 2), (second, 1)]
    assert await grouped("FLOW", createdWithin="PT1H") == [(first, 2), (second, 1)]
    assert await grouped("TRIGGER") == [("API", 4), ("SCHEDULE", 1)]
    assert await grouped("TAG") == [("red", 4), ("blue", 3)]
    assert await grouped("TAG", first=1) == [("red", 4)]
    assert (await grouped("VERSION"))[0] == (version, 4)
    assert await grouped("ERROR") == [("f" * 16, 2), ("e" * 16, 1)]
    assert await idle_app.error_code(text, {"by": "TAG", "first": 101}) == "INVALID_ARGUMENT"


async def test_failures_say_when_an_error_was_first_seen(idle_app: App, flows: list[PublishedFlow]) -> None:
    text = """query($where: FlowRunFilter) { flowRunStats(filter: $where) { failures {
        fingerprint count unrecovered code message stepName firstSeenAt lastSeenAt sampleRun { createdAt }
        flows { count flow { name } } series(size: DAY) { count } } } }"""
    both = (await idle_app.query(text))["flowRunStats"]["failures"]
    assert [each["fingerprint"][0] for each in both] == ["f", "e"]
    recent = (await idle_app.query(text, {"where": {"createdWithin": "P1D"}}))["flowRunStats"]["failures"]
    (known,) = (each for each in recent if each["fingerprint"] == "f" * 16)
    assert (known["count"], known["unrecovered"], known["code"], known["message"]) == (1, 1, "HTTP", "503")
    assert (known["stepName"], known["flows"]) == ("charge", [{"count": 1, "flow": {"name": "first"}}])
    # The oldest run of the error does not match the filter.
    assert known["firstSeenAt"] == both[0]["firstSeenAt"] < known["lastSeenAt"]
    series = [each["count"] for each in both[0]["series"]]
    assert (sum(series), max(series), len(series)) == (2, 1, 30)


async def test_versions_schedules_and_projects_are_listed(app: App) -> None:
    flow = await app.create_flow({"steps": [{"name": "a", "kind": "transform", "input": 1}]})
    steps = [
        {"name": "ask", "kind": "humanInput", "input": {"title": "Well?"}, "timeout": 60, "displayName": "Ask"},
        {"name": "b", "kind": "transform", "input": 1, "when": "{{ true }}", "retry": {"delay": 1}},
    ]
    publish = """mutation($flow: ID!, $definition: JSON!) { publishFlowVersion(flowId: $flow, definition: $definition) {
        __typename } }"""
    await app.query(publish, {"flow": flow, "definition": {"steps": steps}})
    text = """query($flow: ID!, $after: String) { flow(id: $flow) { versions(first: 1, after: $after) { totalCount
        pageInfo { endCursor hasNextPage } nodes { number steps {
            position name displayName kind when input maxAttempts timeoutSeconds continueOnFailure } } } } }"""
    newest = (await app.query(text, {"flow": flow}))["flow"]["versions"]
    assert (newest["totalCount"], newest["pageInfo"]["hasNextPage"]) == (2, True)
    ask, second = newest["nodes"][0]["steps"]
    assert (ask["position"], ask["displayName"], ask["timeoutSeconds"], ask["maxAttempts"]) == (0, "Ask", 60, 1)
    assert (second["when"], second["maxAttempts"], second["input"]) == ("{{ true }}", 3, 1)
    oldest = (await app.query(text, {"flow": flow, "after": newest["pageInfo"]["endCursor"]}))["flow"]["versions"]
    assert ([node["number"] for node in oldest["nodes"]], oldest["pageInfo"]["hasNextPage"]) == ([1], False)

    create = """mutation($flow: ID!, $on: Boolean!) { it: createSchedule(input: {
        flowId: $flow, cron: "@daily", enabled: $on}) { ... on CreateScheduleSuccess { schedule { id } } } }"""
    made = [(await app.query(create, {"flow": flow, "on": on}))["it"]["schedule"]["id"] for on in (True, False)]
    listed = """query($where: ScheduleFilter) { schedules(filter: $where) { totalCount nodes { id flow { name } } }
        projects { totalCount nodes { id } } }"""
    for where, expected in (({}, made[::-1]), ({"enabled": True}, made[:1]), ({"flowIds": []}, [])):
        found = await app.query(listed, {"where": where})
        assert [node["id"] for node in found["schedules"]["nodes"]] == expected
        assert found["schedules"]["totalCount"] == len(expected)
    assert [node["id"] for node in found["projects"]["nodes"]] == [app.project]
    elsewhere = await app.query(listed, key=app.keys.other_admin)
    assert (elsewhere["schedules"]["totalCount"], elsewhere["projects"]["nodes"]) == (0, [{"id": app.other_project}])
    assert (await app.query(listed, key=app.keys.all_projects))["projects"]["totalCount"] == 2
