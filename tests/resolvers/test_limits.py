"""Tests of limits and quotas through the API: setting, reading, enforcement and later retries."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.app import App
from tests.support.clock import FakeClock

FLOW = {"steps": [{"name": "a", "kind": "transform", "input": "{{ run.input }}"}]}
PARENT = {"steps": [{"name": "call", "kind": "flow", "input": {"flow": "child", "input": {"x": 1}}}]}
FIELDS = "maxConcurrentRuns quotaRuns quotaPeriod quotaUsed quotaResetsAt retryLimit retentionDays"
UPDATE = f"""mutation($input: UpdateProjectInput!) {{ result: updateProject(input: $input) {{
    __typename ... on UpdateProjectSuccess {{ project {{ id {FIELDS} }} }}
    ... on UserError {{ code }} ... on SettingsInvalid {{ problems {{ path message }} }} }} }}"""
LIMIT = """mutation($id: ID!, $most: Int) { result: updateFlow(flowId: $id, maxConcurrentRuns: $most) {
    __typename ... on UpdateFlowSuccess { flow { maxConcurrentRuns name } }
    ... on SettingsInvalid { code problems { path message } } } }"""
START = """mutation($input: StartRunInput!) { result: startRun(input: $input) { __typename
    ... on StartRunSuccess { run { id status } }
    ... on QuotaExceeded { code message run { id status input finishedAt startedAt durationMs stepData
        error { code } statusHistory { from to } } } } }"""
RETRY = """mutation($id: ID!, $strategy: RetryStrategy!) { result: retry(runId: $id, strategy: $strategy) { __typename
    ... on RetrySuccess { run { id } } ... on QuotaExceeded { run { id retryOf { id } } }
    ... on UserError { code } } }"""


async def update(app: App, key: str | None = None, **values: Any) -> dict[str, Any]:
    result: dict[str, Any] = (await app.query(UPDATE, {"input": values}, key=key))["result"]
    return result


async def start(app: App, flow: str, **values: Any) -> dict[str, Any]:
    result: dict[str, Any] = (await app.query(START, {"input": {"flowId": flow, **values}}))["result"]
    return result


async def used(app: App) -> int:
    number: int = (await app.query("{ viewer { project { quotaUsed } } }"))["viewer"]["project"]["quotaUsed"]
    return number


async def test_new_project_has_no_limits(idle_app: App) -> None:
    found = (await idle_app.query(f"{{ viewer {{ project {{ {FIELDS} }} }} }}"))["viewer"]["project"]
    assert found.pop("retryLimit") == 10
    assert set(found.values()) == {None}


async def test_update_keeps_omitted_limits_and_removes_null_limits(idle_app: App) -> None:
    changed = await update(
        idle_app, maxConcurrentRuns=5, quotaRuns=7, quotaPeriod="DAY", retryLimit=3, retentionDays=30
    )
    project = changed["project"]
    assert project.pop("id") == idle_app.project
    assert project.pop("quotaResetsAt").endswith("T00:00:00.000000Z")
    set_to = {"maxConcurrentRuns": 5, "quotaRuns": 7, "quotaPeriod": "DAY", "retryLimit": 3, "retentionDays": 30}
    assert project == {**set_to, "quotaUsed": 0}
    kept = (await update(idle_app, maxConcurrentRuns=None))["project"]
    assert (kept["maxConcurrentRuns"], kept["quotaRuns"]) == (None, 7)
    gone = (await update(idle_app, quotaRuns=None, quotaPeriod=None))["project"]
    assert (gone["quotaUsed"], gone["quotaResetsAt"], gone["retryLimit"]) == (None, None, 3)


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"maxConcurrentRuns": 0, "retentionDays": 0}, ["maxConcurrentRuns", "retentionDays"]),
        ({"quotaRuns": 5}, ["quotaPeriod"]),
        ({"quotaPeriod": "DAY"}, ["quotaRuns"]),
        ({"quotaRuns": 0, "quotaPeriod": "DAY"}, ["quotaRuns"]),
        ({"retryLimit": None}, ["retryLimit"]),
        ({"retryLimit": -1}, ["retryLimit"]),
    ],
)
async def test_invalid_settings_report_every_problem(idle_app: App, values: dict[str, Any], paths: list[str]) -> None:
    refused = await update(idle_app, **values)
    assert (refused["__typename"], refused["code"]) == ("SettingsInvalid", "SETTINGS_INVALID")
    assert [problem["path"] for problem in refused["problems"]] == paths


async def test_only_admin_changes_its_own_project(idle_app: App) -> None:
    for key in (idle_app.keys.viewer, idle_app.keys.operator):
        (error,) = (await idle_app.execute(UPDATE, {"input": {"retryLimit": 1}}, key=key))["errors"]
        assert "needs a key with the role ADMIN" in error["message"]
    foreign = await update(idle_app, idle_app.keys.other_admin, projectId=idle_app.project, retryLimit=1)
    assert foreign["__typename"] == "ProjectNotFound"
    everybody = idle_app.keys.all_projects
    assert (await update(idle_app, everybody, retryLimit=1))["__typename"] == "ProjectRequired"
    changed = await update(idle_app, everybody, projectId=idle_app.other_project, retryLimit=1)
    assert changed["project"]["id"] == idle_app.other_project


async def test_flow_limit_is_set_kept_and_removed(idle_app: App) -> None:
    flow = await idle_app.create_flow(FLOW)
    assert (await idle_app.query(LIMIT, {"id": flow, "most": 2}))["result"]["flow"]["maxConcurrentRuns"] == 2
    rename = f'mutation {{ updateFlow(flowId: "{flow}", name: "x") {{ __typename }} }}'
    await idle_app.query(rename)
    text = "query($id: ID!) { flow(id: $id) { name maxConcurrentRuns } }"
    assert (await idle_app.query(text, {"id": flow}))["flow"] == {"name": "x", "maxConcurrentRuns": 2}
    assert (await idle_app.query(LIMIT, {"id": flow, "most": None}))["result"]["flow"]["maxConcurrentRuns"] is None
    refused = (await idle_app.query(LIMIT, {"id": flow, "most": 0}))["result"]
    assert [problem["path"] for problem in refused["problems"]] == ["maxConcurrentRuns"]


async def test_all_runs_end_under_concurrency_limit(app: App) -> None:
    flow = await app.create_flow(FLOW)
    await app.query(LIMIT, {"id": flow, "most": 1})
    started = await asyncio.gather(*(start(app, flow) for _ in range(8)))
    for each in started:
        assert await app.wait_until_final(each["run"]["id"]) == {"status": "SUCCEEDED"}


async def test_run_beyond_quota_is_stored_and_reported(idle_app: App) -> None:
    flow = await idle_app.create_flow(FLOW)
    await update(idle_app, quotaRuns=1, quotaPeriod="DAY")
    assert (await start(idle_app, flow))["run"]["status"] == "QUEUED"
    refused = await start(idle_app, flow, input={"x": 1}, waitMs=1000)
    assert (refused["__typename"], refused["code"]) == ("QuotaExceeded", "QUOTA_EXCEEDED")
    run = refused["run"]
    assert run.pop("id").startswith("run_")
    assert run.pop("finishedAt") is not None
    assert run == {
        "status": "QUOTA_EXCEEDED",
        "input": {"x": 1},
        "startedAt": None,
        "durationMs": None,
        "stepData": "NOT_STARTED",
        "error": {"code": "QUOTA_EXCEEDED"},
        "statusHistory": [{"from": None, "to": "QUEUED"}, {"from": "QUEUED", "to": "QUOTA_EXCEEDED"}],
    }
    assert await used(idle_app) == 1


async def test_repeated_request_beyond_quota_has_same_answer(idle_app: App) -> None:
    flow = await idle_app.create_flow(FLOW)
    await update(idle_app, quotaRuns=1, quotaPeriod="DAY")
    accepted = await start(idle_app, flow, idempotencyKey="a")
    refused = await start(idle_app, flow, idempotencyKey="b")
    assert await start(idle_app, flow, idempotencyKey="a") == accepted
    assert await start(idle_app, flow, idempotencyKey="b") == refused
    assert refused["__typename"] == "QuotaExceeded"


async def test_concurrent_starts_charge_quota_exactly(idle_app: App) -> None:
    flow = await idle_app.create_flow(FLOW)
    await update(idle_app, quotaRuns=20, quotaPeriod="MONTH")
    results = await asyncio.gather(*(start(idle_app, flow) for _ in range(50)))
    assert Counter(each["__typename"] for each in results) == {"StartRunSuccess": 20, "QuotaExceeded": 30}
    assert await used(idle_app) == 20
    count = "{ flowRuns(filter: {statuses: QUOTA_EXCEEDED}) { totalCount } }"
    assert (await idle_app.query(count))["flowRuns"]["totalCount"] == 30


async def test_refused_run_is_retried_in_next_period(fake_clock: FakeClock, idle_app: App) -> None:
    fake_clock.watch(idle_app.database)
    flow = await idle_app.create_flow(FLOW)
    await update(idle_app, quotaRuns=1, quotaPeriod="HOUR")
    await start(idle_app, flow)
    run = (await start(idle_app, flow))["run"]["id"]
    early = (await idle_app.query(RETRY, {"id": run, "strategy": "FROM_FAILED_STEP"}))["result"]
    assert early["__typename"] == "QuotaExceeded"
    assert early["run"]["retryOf"] == {"id": run}
    await fake_clock.advance(3_600)
    assert await used(idle_app) == 0
    later = (await idle_app.query(RETRY, {"id": early["run"]["id"], "strategy": "FROM_FAILED_STEP"}))["result"]
    assert later["__typename"] == "RetrySuccess"
    assert await used(idle_app) == 1
    assert (await start(idle_app, flow))["__typename"] == "QuotaExceeded"


async def test_child_runs_are_charged_and_refused_child_fails_parent(app: App) -> None:
    await app.create_flow(FLOW, "child")
    parent = await app.create_flow(PARENT, "parent")
    await update(app, quotaRuns=3, quotaPeriod="DAY")
    first = await start(app, parent)
    assert await app.wait_until_final(first["run"]["id"]) == {"status": "SUCCEEDED"}
    assert await used(app) == 2
    second = await start(app, parent)
    select = "status error { code } steps { error { code details } } childRuns { nodes { id status } }"
    failed = await app.wait_until_final(second["run"]["id"], select)
    (child,) = failed["childRuns"]["nodes"]
    (step,) = failed["steps"]
    assert (failed["status"], failed["error"]) == ("FAILED", {"code": "CHILD_FAILED"})
    assert child["status"] == "QUOTA_EXCEEDED"
    details = {"runId": child["id"], "status": "QUOTA_EXCEEDED", "code": "QUOTA_EXCEEDED"}
    assert step["error"] == {"code": "CHILD_FAILED", "details": details}
    assert await used(app) == 3


async def test_retry_beyond_project_limit_is_refused(idle_app: App) -> None:
    flow = await idle_app.create_flow(FLOW)
    await update(idle_app, retryLimit=0)
    run = (await start(idle_app, flow))["run"]["id"]
    await idle_app.query(f'mutation {{ cancel(runId: "{run}") {{ __typename }} }}')
    refused = (await idle_app.query(RETRY, {"id": run, "strategy": "ON_LATEST_VERSION"}))["result"]
    assert refused["code"] == "RETRY_LIMIT_REACHED"
