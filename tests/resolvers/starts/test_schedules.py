"""Tests of schedules through the API: settings, errors and permissions."""

from typing import Any

import pytest
from sqlalchemy import update as update_runs

from db import schedules
from db.models import FlowRun
from db.models.types import table
from domain import ids
from domain.ids import IdKind
from domain.time import clock
from tests.support.app import App, statements

DEFINITION = {"steps": [{"name": "a", "kind": "transform", "input": "{{ run.scheduledFor }}"}]}
STRICT = {**DEFINITION, "inputSchema": {"type": "object", "required": ["n"]}}
FIELDS = """id name enabled cron description warnings timeZone missedFires overlap environment tags metadata input
    nextFireAt lastFiredAt lastSkippedAt lastSkippedReason nextFires(count: 2) createdAt updatedAt flow { id }"""
CREATE = f"""mutation($input: CreateScheduleInput!) {{ result: createSchedule(input: $input) {{
    __typename ... on CreateScheduleSuccess {{ schedule {{ {FIELDS} }} }} ... on UserError {{ code message }}
    ... on ScheduleInvalid {{ problems {{ path message }} }} ... on InputInvalid {{ problems {{ path }} }} }} }}"""
UPDATE = (
    CREATE.replace("createSchedule", "updateSchedule")
    .replace("CreateSchedule", "UpdateSchedule")
    .replace("{ schedule {", "{ cancelledRuns schedule {")
)
DELETE = """mutation($id: ID!, $cancel: Boolean! = false) { result: deleteSchedule(id: $id, cancelBacklog: $cancel) {
    __typename ... on DeleteScheduleSuccess { scheduleId cancelledRuns } ... on UserError { code } } }"""
DEFAULTS: dict[str, Any] = {
    "name": None,
    "timeZone": "UTC",
    "missedFires": "SKIP",
    "overlap": "QUEUE",
    "environment": "PRODUCTION",
    "tags": [],
    "metadata": {},
}
NODE = f"query($id: ID!) {{ node(id: $id) {{ __typename ... on Schedule {{ {FIELDS} }} }} }}"


async def create(app: App, flow: str, cron: str = "0 9 * * *", **values: Any) -> Any:
    key = values.pop("key", None)
    return (await app.query(CREATE, {"input": {"flowId": flow, "cron": cron, **values}}, key=key))["result"]


async def update(app: App, schedule: str, **values: Any) -> Any:
    key = values.pop("key", None)
    return (await app.query(UPDATE, {"input": {"id": schedule, **values}}, key=key))["result"]


async def test_created_schedule_has_given_settings(idle_app: App) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    settings = {
        "name": "nightly",
        "timeZone": "Europe/Berlin",
        "missedFires": "FIRE_ONCE",
        "overlap": "SKIP",
        "environment": "TESTING",
        "tags": ["a", "b"],
        "metadata": {"x": [1]},
        "input": {"n": 1},
    }
    schedule = (await create(idle_app, flow, " 0  9 * * MON-FRI ", **settings))["schedule"]
    assert schedule["id"].startswith("sched_")
    assert {name: schedule[name] for name in settings} == settings
    assert schedule["cron"] == "0 9 * * MON-FRI"
    assert (schedule["description"], schedule["warnings"]) == ("At 09:00, Monday through Friday", [])
    assert schedule["enabled"] is True
    assert schedule["flow"] == {"id": flow}
    assert schedule["nextFireAt"] == schedule["nextFires"][0] < schedule["nextFires"][1]
    assert schedule["lastFiredAt"] is schedule["lastSkippedAt"] is schedule["lastSkippedReason"] is None
    assert (await idle_app.query(NODE, {"id": schedule["id"]}))["node"] == {"__typename": "Schedule", **schedule}


async def test_schedule_has_defaults(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(None), "@daily"))["schedule"]
    assert {name: schedule[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"cron": "x"}, ["cron"]),
        ({"cron": "0 0 31 2 *"}, ["cron"]),
        ({"cron": "*/61 * * * *"}, ["cron"]),
        ({"cron": "0 0 */29 2 1#5"}, ["cron"]),
        ({"timeZone": "Mars/Olympus"}, ["timeZone"]),
        ({"cron": "* * * *", "timeZone": ""}, ["timeZone", "cron"]),
    ],
)
async def test_invalid_schedule_reports_problems_with_paths(
    idle_app: App, values: dict[str, str], paths: list[str]
) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    refused = await create(idle_app, flow, **values)
    assert refused["code"] == "SCHEDULE_INVALID"
    assert [problem["path"] for problem in refused["problems"]] == paths
    made = (await create(idle_app, flow))["schedule"]
    assert (await update(idle_app, made["id"], **values))["problems"] == refused["problems"]
    assert (await idle_app.query(NODE, {"id": made["id"]}))["node"]["cron"] == "0 9 * * *"


async def test_input_must_match_published_version(idle_app: App) -> None:
    flow = await idle_app.create_flow(STRICT)
    assert (await create(idle_app, flow))["code"] == "INPUT_INVALID"
    schedule = (await create(idle_app, flow, input={"n": 1}))["schedule"]
    assert (await update(idle_app, schedule["id"], input={}))["code"] == "INPUT_INVALID"
    assert (await create(idle_app, flow, input={"n": "x" * 1_100_000}))["code"] == "INPUT_TOO_LARGE"


@pytest.mark.parametrize(
    "values", [{"tags": [""]}, {"metadata": []}, {"metadata": {"a": "\0"}}, {"name": ""}, {"name": "\0"}]
)
async def test_schedule_refuses_values_that_runs_refuse(idle_app: App, values: dict[str, Any]) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    asked = {"input": {"flowId": flow, "cron": "@daily", **values}}
    assert await idle_app.error_code(CREATE, asked) == "INVALID_ARGUMENT"


async def test_preview_of_fire_times_is_bounded(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION)))["schedule"]
    text = "query($id: ID!, $n: Int!) { node(id: $id) { ... on Schedule { nextFires(count: $n) } } }"
    found = await idle_app.query(text, {"id": schedule["id"], "n": 100})
    assert len(found["node"]["nextFires"]) == 100
    for number in (0, 101):
        assert await idle_app.error_code(text, {"id": schedule["id"], "n": number}) == "INVALID_ARGUMENT"


async def test_disabled_schedule_has_no_next_fire_time_until_enabled(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION), enabled=False))["schedule"]
    assert schedule["nextFireAt"] is None
    assert len(schedule["nextFires"]) == 2
    assert (await update(idle_app, schedule["id"], enabled=True))["schedule"]["nextFireAt"] == schedule["nextFires"][0]
    assert (await update(idle_app, schedule["id"], enabled=False))["schedule"]["nextFireAt"] is None


async def test_update_changes_only_given_settings(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION), tags=["a"], name="n"))["schedule"]
    changed = (await update(idle_app, schedule["id"], tags=["b"], missedFires="FIRE_ALL"))["schedule"]
    assert changed == {**schedule, "tags": ["b"], "missedFires": "FIRE_ALL", "updatedAt": changed["updatedAt"]}
    moved = (await update(idle_app, schedule["id"], cron="0 10 * * *"))["schedule"]
    assert moved["nextFireAt"] == moved["nextFires"][0] != schedule["nextFireAt"]


async def test_name_is_removed_by_null_alone(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION), name="n"))["schedule"]
    assert (await update(idle_app, schedule["id"], enabled=False, cron=None))["schedule"]["name"] == "n"
    changed = (await update(idle_app, schedule["id"], name=None))["schedule"]
    assert changed["name"] is None
    assert changed["cron"] == schedule["cron"]


async def test_each_update_of_document_returns_its_own_result(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION)))["schedule"]["id"]
    one = 'updateSchedule(input: {{id: "{}", name: "{}"}}) {{ ... on UpdateScheduleSuccess {{ schedule {{ name }} }} }}'
    text = f"mutation {{ a: {one.format(schedule, 'x')} b: {one.format(schedule, 'y')} }}"
    found = await idle_app.query(text)
    assert [each["schedule"]["name"] for each in found.values()] == ["x", "y"]


async def test_deleted_schedule_is_not_found(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION)))["schedule"]["id"]
    deleted = {"__typename": "DeleteScheduleSuccess", "scheduleId": schedule, "cancelledRuns": 0}
    assert (await idle_app.query(DELETE, {"id": schedule}))["result"] == deleted
    assert (await idle_app.query(DELETE, {"id": schedule}))["result"]["code"] == "SCHEDULE_NOT_FOUND"
    assert (await update(idle_app, schedule))["code"] == "SCHEDULE_NOT_FOUND"
    assert (await idle_app.query(NODE, {"id": schedule}))["node"] is None


async def test_misleading_expression_has_warnings(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION), "0 9 1-7 * MON"))["schedule"]
    assert schedule["description"] == "At 09:00, between day 1 and 7 of the month, or on Monday"
    assert "either the day of month" in schedule["warnings"][0]


async def test_schedule_that_is_older_than_a_rule_can_be_read_and_changed(idle_app: App) -> None:
    schedule = (await create(idle_app, await idle_app.create_flow(DEFINITION)))["schedule"]["id"]
    key = ids.decode(IdKind.SCHEDULE, schedule)
    await idle_app.database.write(schedules.change, key, {"cron": "*/61 * * * *"})
    changed = (await update(idle_app, schedule, enabled=False, name="old"))["schedule"]
    assert (changed["name"], len(changed["nextFires"])) == ("old", 2)
    assert (await update(idle_app, schedule, enabled=True))["schedule"]["nextFireAt"] is not None


@pytest.mark.parametrize("by", ["disabling", "deleting"])
async def test_backlog_is_cancelled_on_request(idle_app: App, by: str) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    schedule, other = [(await create(idle_app, flow))["schedule"]["id"] for _ in range(2)]
    started = [(await idle_app.start(flow, source=source))["run"]["id"] for source in (schedule, schedule, other)]
    begun = ids.decode(IdKind.RUN, started[1])
    await idle_app.database.write(
        lambda uow: uow.conn.execute(
            update_runs(table(FlowRun))
            .where(table(FlowRun).c.id == begun)
            .values(status="PAUSED", started_at=clock.now())
        )
    )
    assert await idle_app.error_code(UPDATE, {"input": {"id": schedule, "cancelBacklog": True}}) == "INVALID_ARGUMENT"
    if by == "disabling":
        result = await update(idle_app, schedule, enabled=False, cancelBacklog=True)
    else:
        result = (await idle_app.query(DELETE, {"id": schedule, "cancel": True}))["result"]
    assert result["cancelledRuns"] == 1
    found = await idle_app.query(
        "query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { status } } }", {"ids": started}
    )
    assert [run["status"] for run in found["nodes"]] == ["STOPPED", "PAUSED", "QUEUED"]


async def test_foreign_schedule_is_not_found(idle_app: App) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    other = idle_app.keys.other_admin
    schedule = (await create(idle_app, flow))["schedule"]["id"]
    assert (await create(idle_app, flow, key=other))["code"] == "FLOW_NOT_FOUND"
    assert (await update(idle_app, schedule, key=other))["code"] == "SCHEDULE_NOT_FOUND"
    assert (await idle_app.query(DELETE, {"id": schedule}, key=other))["result"]["code"] == "SCHEDULE_NOT_FOUND"
    assert (await idle_app.query(NODE, {"id": schedule}, key=other))["node"] is None
    assert (await idle_app.query(NODE, {"id": schedule}, key=idle_app.keys.all_projects))["node"] is not None


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_admins_change_schedules(idle_app: App, role: str) -> None:
    flow = await idle_app.create_flow(DEFINITION)
    schedule = (await create(idle_app, flow))["schedule"]["id"]
    key = getattr(idle_app.keys, role)
    create_it = {"input": {"flowId": flow, "cron": "@daily"}}
    for text, variables in [(CREATE, create_it), (UPDATE, {"input": {"id": schedule}}), (DELETE, {"id": schedule})]:
        assert await idle_app.error_code(text, variables, key=key) == "FORBIDDEN"
    assert (await idle_app.query(NODE, {"id": schedule}, key=key))["node"]["id"] == schedule


async def test_schedules_of_many_flows_cost_one_statement(general_app: App) -> None:
    flows = [await general_app.create_flow(DEFINITION, f"flow {number}") for number in range(3)]
    made = {flow: [(await create(general_app, flow))["schedule"]["id"] for _ in range(2)] for flow in flows}
    text = "{ flows { nodes { id schedules { id cron flow { id } } webhooks { id } } } }"
    with statements() as counted:
        found = await general_app.query(text)
    assert {node["id"]: [each["id"] for each in node["schedules"]] for node in found["flows"]["nodes"]} == made
    assert len([each for each in counted.of_resolvers if each.startswith("SELECT")]) == 4


async def test_scheduled_run_has_its_fire_time(app: App) -> None:
    flow = await app.create_flow(DEFINITION)
    schedule = (await create(app, flow))["schedule"]["id"]
    assert schedule
    run = await app.start(flow, triggerMethod="MANUAL", select="id scheduledFor")
    assert run["run"]["scheduledFor"] is None
    assert await app.wait_until_final(run["run"]["id"], "status output") == {"status": "SUCCEEDED", "output": None}
