"""Bulk operations through the API: selection, plans, outcomes, undo, and who may."""

from typing import Any

import pytest

from db.bulk import operations as writes
from db.models import FlowRun
from db.models.types import table
from db.runs import transitions
from domain import clock, ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.state_machine import FINAL, LIVE, UNSUCCESSFUL
from engine.bulk_worker import BulkWorker
from resolvers import bulk as operations
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import encode_run_id
from tests.support.query import query
from tests.support.run_family import make_flow, make_run_family, make_runs

OPERATION = """id kind status strategy matched processed succeeded skipped failed createdAt startedAt finishedAt
    requestedBy project { id } source { id } filter excludedIds reasons { reason count }
    outcomes { nodes { runId result reason plannedReason newRun { id status } } }
    plan { planId expiresAt eligible ineligible { reason count } sample { runId plannedReason }
        becameEligible becameIneligible }"""


async def bulk(app: App, arguments: str, *, select: str = OPERATION, key: str | None = None) -> dict[str, Any]:
    """What a bulk mutation answers: `bulkCancel(…)`."""
    name = arguments.partition("(")[0]
    success = f"{name[0].upper()}{name[1:]}Success"
    text = f"""mutation {{ result: {arguments} {{ __typename
        ... on {success} {{ operation {{ {select} }} }} ... on UserError {{ code message }} }} }}"""
    result: dict[str, Any] = (await app.query(text, key=key))["result"]
    return result


async def done(app: App, arguments: str, key: str | None = None) -> dict[str, Any]:
    """The operation that a bulk mutation began."""
    result = await bulk(app, arguments, key=key)
    assert "operation" in result, result
    operation: dict[str, Any] = result["operation"]
    return operation


def counts(operation: dict[str, Any]) -> tuple[int, ...]:
    return tuple(operation[name] for name in ("matched", "processed", "succeeded", "skipped", "failed"))


def results(operation: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {each["runId"]: (each["result"], each["reason"]) for each in operation["outcomes"]["nodes"]}


def listed(run_ids: list[str]) -> str:
    return "[" + ", ".join(f'"{each}"' for each in run_ids) + "]"


async def statuses(app: App, *run_ids: str) -> list[str]:
    found = await app.query("query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { status } } }", {"ids": run_ids})
    return [node["status"] for node in found["nodes"]]


async def made(app: App, *statuses: RunStatus, name: str = "flow") -> list[str]:
    """Runs of a new flow, with these statuses."""
    return await make_runs(app, await make_flow(app, name), *({"status": status} for status in statuses))


async def everything(app: App) -> Any:
    """All that can be seen of runs."""
    select = """id status updatedAt archivedAt retries { totalCount } steps { name status } statusHistory { to }"""
    text = f"{{ flowRuns(filter: {{archived: INCLUDE}}) {{ nodes {{ {select} }} }} }}"
    return await app.query(text, key=app.keys.all_projects)


async def archived(app: App) -> set[str]:
    found = await app.query("{ flowRuns(filter: {archived: ONLY}) { nodes { id } } }", key=app.keys.all_projects)
    return {node["id"] for node in found["flowRuns"]["nodes"]}


# What is done


async def test_cancel_stops_what_is_live_and_skips_what_is_not(idle_app: App) -> None:
    runs = await made(idle_app, *RunStatus)
    operation = await done(idle_app, f"bulkCancel(filter: {{ids: {listed(runs)}}})")
    expected = {
        run: ("SUCCEEDED", None) if status in LIVE else ("SKIPPED", "RUN_NOT_CANCELLABLE")
        for run, status in zip(runs, RunStatus, strict=True)
    }
    assert results(operation) == expected
    assert counts(operation) == (9, 9, 3, 6, 0)
    assert operation["reasons"] == [{"reason": "RUN_NOT_CANCELLABLE", "count": 6}]
    assert await statuses(idle_app, *runs) == [status if status in FINAL else RunStatus.STOPPED for status in RunStatus]
    text = "query($id: ID!) { flowRun(id: $id) { finishedAt statusHistory { from to message } } }"
    told = (await idle_app.query(text, {"id": runs[0]}))["flowRun"]
    message = "Cancelled with the key 'admin for tests'"
    assert told["statusHistory"] == [{"from": "QUEUED", "to": "STOPPED", "message": message}]
    assert told["finishedAt"] is not None


async def test_cancel_takes_everything_below_along_through_any_state(idle_app: App) -> None:
    published = await make_flow(idle_app)
    top, over, deep, other = (ids.new_uuid() for _ in range(4))
    await idle_app.database.write(
        factory.make_runs,
        published,
        [
            {"id": top, "status": RunStatus.PAUSED},
            {"id": over, "status": RunStatus.SUCCEEDED, "parent_run_id": top},
            {"id": deep, "status": RunStatus.RUNNING, "parent_run_id": over},
            {"id": other},
        ],
    )
    operation = await done(idle_app, f'bulkCancel(filter: {{ids: ["{encode_run_id(top)}"]}})')
    assert counts(operation) == (1, 1, 1, 0, 0)
    assert await statuses(idle_app, *map(encode_run_id, (top, over, deep, other))) == [
        "STOPPED",
        "SUCCEEDED",
        "STOPPED",
        "QUEUED",
    ]


async def test_a_run_stopped_with_one_above_it_was_cancelled_too(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    top, below, last = (ids.new_uuid() for _ in range(3))
    rows = [{"id": top}, {"id": below, "parent_run_id": top}, {"id": last}]
    await idle_app.database.write(factory.make_runs, published, rows)
    monkeypatch.setattr(operations, "SMALL", 1)
    begun = await done(idle_app, f'bulkCancel(filter: {{flowIds: ["{flow_of(published)}"]}})')
    await BulkWorker(idle_app.database, chunk=1).work_off()
    operation = await again(idle_app, begun["id"])
    assert counts(operation) == (3, 3, 3, 0, 0)
    assert set(results(operation).values()) == {("SUCCEEDED", None)}


def flow_of(published: Any) -> str:
    return ids.encode(IdKind.FLOW, published.flow_id)


async def again(app: App, operation_id: str, **more: Any) -> dict[str, Any]:
    text = f"query($id: ID!) {{ bulkOperation(id: $id) {{ {OPERATION} }} }}"
    found: dict[str, Any] = (await app.query(text, {"id": operation_id}, **more))["bulkOperation"]
    return found


@pytest.mark.parametrize("strategy", ["FROM_FAILED_STEP", "ON_LATEST_VERSION"])
async def test_a_retry_in_bulk_is_the_retry_by_hand(idle_app: App, strategy: str) -> None:
    family = await make_run_family(idle_app)
    told = "{ ... on RetrySuccess { run { id } } }"
    by_hand = f'mutation {{ retry(runId: "{family.failed}", strategy: {strategy}) {told} }}'
    one = (await idle_app.query(by_hand))["retry"]["run"]["id"]
    operation = await done(idle_app, f'bulkRetry(filter: {{ids: ["{family.failed}"]}}, strategy: {strategy})')
    (outcome,) = operation["outcomes"]["nodes"]
    assert outcome["newRun"]["status"] == "QUEUED"
    select = """retryOf { id } attempt tags metadata input triggerMethod environment externalId source scheduledFor
        failParentOnFailure flowVersion { id } parentRun { id } rootRun { id } stepsCount durationMs archivedAt
        steps { name status output reusedFrom { id } } statusHistory { from to message }"""
    text = f"query($id: ID!) {{ flowRun(id: $id) {{ {select} }} }}"
    assert await idle_app.query(text, {"id": outcome["newRun"]["id"]}) == await idle_app.query(text, {"id": one})


async def test_a_retry_of_a_run_without_a_parent_is_its_own_root(idle_app: App) -> None:
    runs = await made(idle_app, RunStatus.FAILED)
    operation = await done(idle_app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: FROM_FAILED_STEP)")
    new = operation["outcomes"]["nodes"][0]["newRun"]["id"]
    text = "query($id: ID!) { flowRun(id: $id) { rootRun { id } createdAt updatedAt } }"
    told = (await idle_app.query(text, {"id": new}))["flowRun"]
    assert told["rootRun"]["id"] == new
    created_at = ids.created_at(ids.decode(IdKind.RUN, new))
    assert (
        told["createdAt"] == told["updatedAt"] == created_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


async def test_retries_are_executed(app: App) -> None:
    flow = await app.create_flow({"steps": [{"name": "only", "kind": "transform", "input": "{{ run.input.x }}"}]})
    runs = [(await app.start(flow, input={"x": number}))["run"]["id"] for number in range(3)]
    for run in runs:
        await app.wait_until_final(run)
    await app.database.write(_fail, [ids.decode(IdKind.RUN, run) for run in runs])
    operation = await done(app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: ON_LATEST_VERSION)")
    outputs = [
        (await app.wait_until_final(each["newRun"]["id"], "output"))["output"]
        for each in operation["outcomes"]["nodes"]
    ]
    assert outputs == [0, 1, 2]


def _fail(conn: Any, keys: list[Any]) -> None:
    runs = table(FlowRun)
    conn.execute(runs.update().where(runs.c.id.in_(keys)).values(status=RunStatus.FAILED))


RETRY_STATES = {
    "limit reached": ("UPDATE flow_run SET attempt = 11", "RETRY_LIMIT_REACHED", "RETRY_LIMIT_REACHED"),
    "data expired": ("UPDATE flow_run SET steps_purged_at = created_at", "STEP_DATA_EXPIRED", None),
    "flow disabled": ("UPDATE flow SET enabled = false", "FLOW_DISABLED", "FLOW_DISABLED"),
    "flow unpublished": ("UPDATE flow SET published_version_id = NULL", None, "FLOW_NOT_PUBLISHED"),
}


@pytest.mark.parametrize("name", RETRY_STATES)
async def test_what_refuses_a_retry_skips_it_and_is_foretold(idle_app: App, database_url: str, name: str) -> None:
    runs = await made(idle_app, *[RunStatus.FAILED] * 2)
    change, *codes = RETRY_STATES[name]
    await query(database_url, change)
    for strategy, code in zip(["FROM_FAILED_STEP", "ON_LATEST_VERSION"], codes, strict=True):
        arguments = f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: {strategy}"
        plan = (await done(idle_app, arguments + ", dryRun: true)"))["plan"]
        assert plan["eligible"] == (2 if code is None else 0)
        assert plan["ineligible"] == ([] if code is None else [{"reason": code, "count": 2}])
        operation = await done(idle_app, arguments + ")")
        assert set(results(operation).values()) == {("SUCCEEDED", None) if code is None else ("SKIPPED", code)}


async def test_retries_beyond_the_quota_have_failed_and_are_taken_up_in_the_next_period(
    fake_clock: FakeClock, idle_app: App
) -> None:
    fake_clock.watch(idle_app.database)
    keys = await made(idle_app, *[RunStatus.FAILED] * 5)
    quota = "mutation { updateProject(input: {quotaRuns: 3, quotaPeriod: HOUR}) { __typename } }"
    assert (await idle_app.query(quota))["updateProject"]["__typename"] == "UpdateProjectSuccess"
    first = await done(idle_app, f"bulkRetry(filter: {{ids: {listed(keys)}}}, strategy: FROM_FAILED_STEP)")
    assert counts(first) == (5, 5, 3, 0, 2)
    assert first["reasons"] == [{"reason": "QUOTA_EXCEEDED", "count": 2}]
    assert sorted(results(first).values()) == [("FAILED", "QUOTA_EXCEEDED")] * 2 + [("SUCCEEDED", None)] * 3
    too_many = [key for key, (result, _) in results(first).items() if result == "FAILED"]
    assert [each["newRun"] is None for each in first["outcomes"]["nodes"]].count(True) == 2
    used = "{ viewer { project { quotaUsed } } flowRuns(filter: {statuses: [QUEUED, QUOTA_EXCEEDED]}) { totalCount } }"
    found = await idle_app.query(used)
    assert (found["viewer"]["project"]["quotaUsed"], found["flowRuns"]["totalCount"]) == (3, 3)
    await fake_clock.advance(3_600)
    later = await done(idle_app, f'bulkRetry(failedOf: "{first["id"]}", strategy: FROM_FAILED_STEP)')
    assert results(later) == dict.fromkeys(too_many, ("SUCCEEDED", None))
    assert (await idle_app.query(used))["viewer"]["project"]["quotaUsed"] == 2


async def test_one_ineligible_run_never_fails_the_rest(idle_app: App) -> None:
    runs = await made(idle_app, *RunStatus)
    operation = await done(idle_app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: ON_LATEST_VERSION)")
    assert results(operation) == {
        run: ("SUCCEEDED", None) if status in UNSUCCESSFUL else ("SKIPPED", "RUN_NOT_RETRYABLE")
        for run, status in zip(runs, RunStatus, strict=True)
    }


async def test_archive_takes_final_runs_out_of_lists_and_leaves_them_under_their_ids(idle_app: App) -> None:
    runs = await made(idle_app, *RunStatus)
    operation = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    final = {run for run, status in zip(runs, RunStatus, strict=True) if status in FINAL}
    assert await archived(idle_app) == final
    assert {run for run, (result, _) in results(operation).items() if result == "SUCCEEDED"} == final
    assert operation["reasons"] == [{"reason": "RUN_NOT_FINAL", "count": 3}]
    found = await idle_app.query("{ flowRuns { nodes { id } totalCount } }")
    assert {node["id"] for node in found["flowRuns"]["nodes"]} == set(runs) - final
    assert found["flowRuns"]["totalCount"] == 3
    text = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on FlowRun { archivedAt } } }"
    assert all(node["archivedAt"] for node in (await idle_app.query(text, {"ids": sorted(final)}))["nodes"])
    second = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    assert counts(second) == (9, 9, 0, 9, 0)
    assert {"reason": "RUN_ALREADY_ARCHIVED", "count": 6} in second["reasons"]


async def test_unarchive_by_filter_means_archived_runs_unless_it_says_otherwise(idle_app: App) -> None:
    published = await make_flow(idle_app)
    old = {"status": RunStatus.FAILED, "archived_at": clock.now()}
    runs = await make_runs(idle_app, published, old, old, {"status": RunStatus.FAILED})
    explicit = await done(idle_app, "bulkUnarchive(filter: {statuses: FAILED, archived: EXCLUDE})")
    assert counts(explicit) == (1, 1, 0, 1, 0)
    assert explicit["reasons"] == [{"reason": "RUN_NOT_ARCHIVED", "count": 1}]
    operation = await done(idle_app, "bulkUnarchive(filter: {statuses: FAILED})")
    assert set(results(operation)) == set(runs[:2])
    assert await archived(idle_app) == set()


async def test_undo_takes_back_what_that_operation_archived_and_nobody_changed_since(idle_app: App) -> None:
    runs = await made(idle_app, *[RunStatus.FAILED] * 5)
    earlier = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs[:1])}}})")
    operation = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    assert counts(operation) == (5, 5, 4, 1, 0)
    await done(idle_app, f"bulkUnarchive(filter: {{ids: {listed(runs[1:3])}}})")
    await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs[2:3])}}})")
    undone = await done(idle_app, f'bulkUnarchive(operationId: "{operation["id"]}")')
    assert undone["source"] == {"id": operation["id"]}
    assert results(undone) == {
        runs[1]: ("SKIPPED", "RUN_NOT_ARCHIVED"),
        runs[2]: ("SKIPPED", "RUN_CHANGED_SINCE"),
        runs[3]: ("SUCCEEDED", None),
        runs[4]: ("SUCCEEDED", None),
    }
    assert await archived(idle_app) == {runs[0], runs[2]}
    assert counts(earlier) == (1, 1, 1, 0, 0)


async def test_undo_and_failed_of_need_an_operation_of_the_right_kind_that_has_ended(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(idle_app, *[RunStatus.QUEUED] * 3)
    cancelled = (await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})"))["id"]
    monkeypatch.setattr(operations, "SMALL", 1)
    archiving = (await done(idle_app, "bulkArchive(filter: {statuses: STOPPED})"))["id"]
    retrying = (await done(idle_app, "bulkRetry(filter: {statuses: STOPPED}, strategy: ON_LATEST_VERSION)"))["id"]
    expected = {
        f'bulkUnarchive(operationId: "{cancelled}")': "BULK_OPERATION_MISMATCH",
        f'bulkRetry(failedOf: "{cancelled}")': "BULK_OPERATION_MISMATCH",
        f'bulkUnarchive(operationId: "{archiving}")': "BULK_OPERATION_UNDER_WAY",
        f'bulkRetry(failedOf: "{retrying}")': "BULK_OPERATION_UNDER_WAY",
        f'bulkRetry(failedOf: "bulk_{"0" * 32}")': "BULK_OPERATION_NOT_FOUND",
    }
    for arguments, code in expected.items():
        assert (await bulk(idle_app, arguments))["code"] == code, arguments
        foreign = await bulk(idle_app, arguments, key=idle_app.keys.other_admin)
        assert foreign["code"] == "BULK_OPERATION_NOT_FOUND"


# Which runs are meant


SELECTIONS = {
    "ids": 'ids: ["{failed}"]',
    "flowIds": 'flowIds: ["{flow}"], statuses: [FAILED]',
    "flowVersionIds": 'flowVersionIds: ["{version}"], statuses: [FAILED]',
    "statuses": "statuses: [FAILED]",
    "environments": "environments: [PRODUCTION], statuses: [FAILED]",
    "tags": 'tags: ["red"], statuses: [FAILED]',
    "anyTags": 'anyTags: ["red", "green"], statuses: [FAILED]',
    "failedStepName": 'failedStepName: "b"',
    "errorContains": 'errorContains: "503"',
    "errorFingerprint": 'errorFingerprint: "0123456789abcdef"',
    "createdAfter": 'createdAfter: "2000-01-01T00:00:00Z", statuses: [FAILED]',
    "createdBefore": 'createdBefore: "2100-01-01T00:00:00Z", statuses: [FAILED]',
    "finishedAfter": 'finishedAfter: "2000-01-01T00:00:00Z", statuses: [FAILED]',
    "minDurationMs": "minDurationMs: 1000, statuses: [FAILED]",
    "metadata": "metadata: {{order: 7}}, statuses: [FAILED]",
    "parentRunId": 'parentRunId: "{parent}", statuses: [FAILED]',
    "externalIds": 'externalIds: ["order-7"], statuses: [FAILED]',
}


@pytest.mark.parametrize("name", SELECTIONS)
async def test_every_field_of_the_filter_selects(idle_app: App, name: str) -> None:
    family = await make_run_family(idle_app)
    wanted = SELECTIONS[name].format(**family.variables)
    operation = await done(idle_app, f"bulkArchive(filter: {{{wanted}}})")
    assert results(operation) == {family.failed: ("SUCCEEDED", None)}
    assert operation["filter"].keys() >= {name}


async def test_where_runs_are_named_nothing_else_counts_but_what_is_left_out(idle_app: App) -> None:
    runs = await made(idle_app, *[RunStatus.FAILED] * 3)
    wanted = f'ids: {listed(runs)}, statuses: [SUCCEEDED], createdBefore: "2000-01-01T00:00:00Z", tags: []'
    operation = await done(idle_app, f"bulkArchive(filter: {{{wanted}}}, excludeIds: {listed(runs[1:2])})")
    assert set(results(operation)) == {runs[0], runs[2]}
    assert operation["excludedIds"] == runs[1:2]
    assert operation["filter"] == {
        "ids": runs,
        "statuses": ["SUCCEEDED"],
        "createdBefore": "2000-01-01T00:00:00+00:00",
        "tags": [],
    }


async def test_runs_left_out_are_left_out_of_a_filter_too(idle_app: App) -> None:
    runs = await made(idle_app, *[RunStatus.QUEUED] * 3)
    await done(idle_app, f"bulkCancel(filter: {{statuses: QUEUED}}, excludeIds: {listed(runs[:2])})")
    assert await statuses(idle_app, *runs) == ["QUEUED", "QUEUED", "STOPPED"]


NOTHING = ["", "filter: {}", "filter: null", "filter: {ids: null}", "filter: {rootsOnly: false, unrecovered: false}"]
NOTHING += ["filter: {archived: INCLUDE}", "filter: {includeArchived: true}", 'filter: {projectIds: ["%s"]}']
STRATEGY = {"bulkRetry": "strategy: ON_LATEST_VERSION"}


@pytest.mark.parametrize("name", ["bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"])
async def test_a_filter_that_says_nothing_is_refused(idle_app: App, name: str) -> None:
    await made(idle_app, *RunStatus)
    before = await everything(idle_app)
    for wanted in NOTHING:
        said = wanted.replace("%s", idle_app.project)
        for key in (idle_app.keys.operator, idle_app.keys.all_projects):
            arguments = f"{said} dryRun: false {STRATEGY.get(name, '')}"
            assert (await bulk(idle_app, f"{name}({arguments})", key=key))["code"] == "EMPTY_FILTER"
    assert await everything(idle_app) == before


@pytest.mark.parametrize("wanted", ["ids: []", "flowIds: []", "statuses: []", "tags: []", "externalIds: []"])
async def test_an_empty_list_matches_nothing(idle_app: App, wanted: str) -> None:
    await made(idle_app, *RunStatus)
    before = await everything(idle_app)
    for name in ("bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"):
        arguments = f"filter: {{{wanted}}} {STRATEGY.get(name, '')}"
        operation = await done(idle_app, f"{name}({arguments})")
        assert counts(operation) == (0, 0, 0, 0, 0)
        assert operation["status"] == "COMPLETED"
    assert await everything(idle_app) == before


async def test_archived_runs_are_meant_when_asked_for_or_named(idle_app: App) -> None:
    published = await make_flow(idle_app)
    old = {"status": RunStatus.FAILED, "archived_at": clock.now()}
    one, two = await make_runs(idle_app, published, old, {"status": RunStatus.FAILED})
    for wanted, meant in {
        "statuses: FAILED": {two},
        "statuses: FAILED, archived: INCLUDE": {one, two},
        "statuses: FAILED, includeArchived: true": {one, two},
        "archived: ONLY": {one},
        f'ids: ["{one}"]': {one},
    }.items():
        plan = await done(idle_app, f"bulkRetry(filter: {{{wanted}}}, strategy: ON_LATEST_VERSION, dryRun: true)")
        assert set(results(plan)) == meant


async def test_runs_of_another_project_are_not_meant_whoever_names_them(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    before = await everything(idle_app)
    for wanted in (
        f'ids: ["{family.queued}"]',
        f'projectIds: ["{idle_app.project}"], ids: ["{family.queued}"]',
        f'flowIds: ["{family.flow}"]',
        "statuses: [QUEUED, PAUSED, FAILED, SUCCEEDED]",
        "archived: ONLY",
    ):
        for name in ("bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"):
            arguments = f"filter: {{{wanted}}} {STRATEGY.get(name, '')}"
            operation = await done(idle_app, f"{name}({arguments})", key=idle_app.keys.other_operator)
            assert counts(operation) == (0, 0, 0, 0, 0)
    assert await everything(idle_app) == before


async def test_ids_of_another_kind_are_refused(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    for arguments in (
        f'bulkCancel(filter: {{ids: ["{family.flow}"]}})',
        f'bulkCancel(filter: {{flowIds: ["{family.failed}"]}})',
        f'bulkCancel(filter: {{statuses: QUEUED}}, excludeIds: ["{family.flow}"])',
        f'bulkCancel(planId: "{family.failed}")',
        f'bulkUnarchive(operationId: "{family.failed}")',
        f'bulkRetry(failedOf: "{family.failed}")',
        f'cancelBulkOperation(id: "{family.failed}")',
    ):
        assert await idle_app.error_code(f"mutation {{ {arguments} {{ __typename }} }}") == "INVALID_ID"


async def test_arguments_that_cannot_be_are_refused(idle_app: App) -> None:
    failed = "filter: {statuses: FAILED}"
    for arguments in (
        f"bulkRetry({failed})",
        f"bulkRetry({failed}, strategy: ON_LATEST_VERSION, maxPerSecond: 0)",
        f"bulkRetry({failed}, strategy: ON_LATEST_VERSION, maxPerSecond: 10001)",
        f"bulkRetry({failed}, strategy: ON_LATEST_VERSION, spreadOverMs: -1)",
        f"bulkRetry({failed}, strategy: ON_LATEST_VERSION, spreadOverMs: 604800001)",
        f"bulkCancel({failed}, waitMs: -1)",
        f'bulkCancel({failed}, planId: "bulk_{"0" * 32}")',
        f'bulkCancel(dryRun: true, planId: "bulk_{"0" * 32}")',
        f"bulkCancel({failed}, excludeIds: {listed([encode_run_id(ids.new_uuid())] * 1_001)})",
    ):
        assert await idle_app.error_code(f"mutation {{ {arguments} {{ __typename }} }}") == "INVALID_ARGUMENT", (
            arguments
        )
    assert (await idle_app.query("{ bulkOperations { totalCount } }"))["bulkOperations"]["totalCount"] == 0


async def test_runs_that_come_later_are_never_touched(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    published = await make_flow(idle_app)
    early = await make_runs(idle_app, published, {}, {}, {})
    monkeypatch.setattr(operations, "SMALL", 1)
    begun = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    assert (begun["status"], begun["matched"], begun["processed"]) == ("RUNNING", 3, 0)
    late = await make_runs(idle_app, published, {})
    await BulkWorker(idle_app.database, chunk=1).work_off()
    assert await statuses(idle_app, *early, *late) == ["STOPPED"] * 3 + ["QUEUED"]
    assert counts(await again(idle_app, begun["id"])) == (3, 3, 3, 0, 0)


async def test_runs_that_come_while_the_set_is_looked_up_are_not_in_it(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    early = await make_runs(idle_app, published, {}, {})
    read, pages = writes.selected_after, []

    def with_a_new_run(conn: Any, selection: Any, after: Any, limit: int) -> Any:
        pages.append(limit)
        factory.make_run(conn, published)
        conn.commit()
        return read(conn, selection, after, 1)

    monkeypatch.setattr(writes, "selected_after", with_a_new_run)
    operation = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    assert len(pages) == 3
    assert set(results(operation)) == set(early)


async def test_how_long_runs_have_lasted_is_that_of_the_beginning(
    fake_clock: FakeClock, idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    runs = await make_runs(idle_app, published, *[{"status": RunStatus.RUNNING}] * 2)
    await fake_clock.advance(5)
    read = writes.selected_after

    def later(conn: Any, selection: Any, after: Any, limit: int) -> Any:
        fake_clock.block(10)
        return read(conn, selection, after, 1)

    monkeypatch.setattr(writes, "selected_after", later)
    none = await done(idle_app, "bulkCancel(filter: {minDurationMs: 6000})")
    assert counts(none) == (0, 0, 0, 0, 0)
    monkeypatch.setattr(writes, "selected_after", read)
    assert set(results(await done(idle_app, "bulkCancel(filter: {minDurationMs: 6000})"))) == set(runs)


# Dry runs


async def test_a_dry_run_tells_exactly_and_changes_nothing(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    before = await everything(idle_app)
    for name, eligible, reason in (
        ("bulkCancel", {family.parent, family.queued, family.paused}, "RUN_NOT_CANCELLABLE"),
        ("bulkRetry", {family.failed}, "RUN_NOT_RETRYABLE"),
        ("bulkArchive", {family.failed, family.child, family.retry}, "RUN_NOT_FINAL"),
        ("bulkUnarchive", set(), "RUN_NOT_ARCHIVED"),
    ):
        arguments = f'filter: {{flowIds: ["{family.flow}"], archived: INCLUDE}} {STRATEGY.get(name, "")} dryRun: true'
        operation = await done(idle_app, f"{name}({arguments})")
        plan = operation["plan"]
        assert operation["status"] == "PLANNED"
        assert counts(operation) == (6, 0, 0, 0, 0)
        assert plan["planId"] == operation["id"]
        assert plan["eligible"] == len(eligible)
        assert plan["ineligible"] == [{"reason": reason, "count": 6 - len(eligible)}]
        assert {each["runId"] for each in plan["sample"] if each["plannedReason"] is None} == eligible
        assert len(plan["sample"]) == 6
        assert set(results(operation).values()) == {("PENDING", None)}
        assert (operation["startedAt"], operation["finishedAt"]) == (None, None)
    assert await everything(idle_app) == before
    assert (await idle_app.query("{ bulkOperations { totalCount } }"))["bulkOperations"]["totalCount"] == 1


async def test_a_plan_is_carried_out_on_its_runs_alone_and_tells_what_drifted(idle_app: App, database_url: str) -> None:
    published = await make_flow(idle_app)
    ready, turned, waiting, late = await make_runs(
        idle_app, published, {}, {}, {"status": RunStatus.FAILED}, {"status": RunStatus.SUCCEEDED}
    )
    plan = await done(idle_app, f'bulkCancel(filter: {{flowIds: ["{flow_of(published)}"]}}, dryRun: true)')
    assert plan["plan"]["eligible"] == 2
    key = {name: ids.decode(IdKind.RUN, run) for name, run in (("turned", turned), ("late", late))}
    await idle_app.database.write(transitions.end, [key["turned"]], RunStatus.STOPPED, "Stopped meanwhile")
    await make_runs(idle_app, published, {})
    await idle_app.database.write(_requeue, key["late"])
    operation = await done(idle_app, f'bulkCancel(planId: "{plan["id"]}")')
    assert operation["id"] == plan["id"]
    assert operation["status"] == "COMPLETED"
    assert counts(operation) == (4, 4, 2, 2, 0)
    assert (operation["plan"]["becameEligible"], operation["plan"]["becameIneligible"]) == (1, 1)
    assert results(operation) == {
        ready: ("SUCCEEDED", None),
        turned: ("SKIPPED", "RUN_NOT_CANCELLABLE"),
        waiting: ("SKIPPED", "RUN_NOT_CANCELLABLE"),
        late: ("SUCCEEDED", None),
    }
    told = {each["runId"]: each["plannedReason"] for each in operation["outcomes"]["nodes"]}
    assert told == {ready: None, turned: None, waiting: "RUN_NOT_CANCELLABLE", late: "RUN_NOT_CANCELLABLE"}


def _requeue(conn: Any, key: Any) -> None:
    """What no run does by itself; but what is foretold may turn out otherwise in either way."""
    runs = table(FlowRun)
    conn.execute(runs.update().where(runs.c.id == key).values(status=RunStatus.QUEUED))


async def test_a_plan_is_for_its_project_its_kind_once_and_in_time(fake_clock: FakeClock, idle_app: App) -> None:
    await made(idle_app, RunStatus.FAILED)
    plan = (await done(idle_app, "bulkRetry(filter: {statuses: FAILED}, strategy: ON_LATEST_VERSION, dryRun: true)"))[
        "id"
    ]
    use = f'bulkRetry(planId: "{plan}")'
    assert (await bulk(idle_app, use, key=idle_app.keys.other_admin))["code"] == "PLAN_NOT_FOUND"
    assert (await bulk(idle_app, f'bulkRetry(planId: "bulk_{"0" * 32}")'))["code"] == "PLAN_NOT_FOUND"
    assert (await bulk(idle_app, f'bulkCancel(planId: "{plan}")'))["code"] == "PLAN_MISMATCH"
    mismatch = f'bulkRetry(planId: "{plan}", strategy: FROM_FAILED_STEP)'
    assert (await bulk(idle_app, mismatch))["code"] == "PLAN_MISMATCH"
    assert counts(await done(idle_app, use)) == (1, 1, 1, 0, 0)
    assert (await bulk(idle_app, use))["code"] == "PLAN_USED"
    expiring = (await done(idle_app, "bulkArchive(filter: {statuses: FAILED}, dryRun: true)"))["id"]
    dropped = (await done(idle_app, "bulkArchive(filter: {statuses: FAILED}, dryRun: true)"))["id"]
    await done(idle_app, f'cancelBulkOperation(id: "{dropped}")')
    assert (await bulk(idle_app, f'bulkArchive(planId: "{dropped}")'))["code"] == "PLAN_USED"
    await fake_clock.advance(operations.PLAN_LIFETIME.total_seconds())
    assert (await bulk(idle_app, f'bulkArchive(planId: "{expiring}")'))["code"] == "PLAN_EXPIRED"
    ended = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    assert (await bulk(idle_app, f'bulkArchive(planId: "{ended["id"]}")'))["code"] == "PLAN_NOT_FOUND"
    assert counts(ended) == (1, 1, 1, 0, 0)


# How it goes on


async def test_an_operation_says_who_asked_when_and_what_for(fake_clock: FakeClock, idle_app: App) -> None:
    await made(idle_app, RunStatus.FAILED)
    operation = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})", key=idle_app.keys.operator)
    now = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    expected: dict[str, Any] = {
        "kind": "ARCHIVE",
        "strategy": None,
        "requestedBy": "operator for tests",
        "project": {"id": idle_app.project},
        "source": None,
        "filter": {"statuses": ["FAILED"]},
        "excludedIds": [],
        "createdAt": now,
        "startedAt": now,
        "finishedAt": now,
        "plan": None,
    }
    assert {name: operation[name] for name in expected} == expected


async def test_a_large_set_goes_on_in_the_worker(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = await made(app, *[RunStatus.FAILED] * 7)
    monkeypatch.setattr(operations, "SMALL", 5)
    begun = await done(app, "bulkArchive(filter: {statuses: FAILED}, waitMs: 60000)")
    assert (begun["status"], counts(begun)) == ("COMPLETED", (7, 7, 7, 0, 0))
    assert await archived(app) == set(runs)


async def test_a_small_set_ends_without_a_worker_and_a_large_one_waits_for_it(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "SMALL", 2)
    await made(
        idle_app, RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED
    )
    small = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    large = await done(idle_app, "bulkArchive(filter: {statuses: SUCCEEDED})")
    assert (small["status"], large["status"]) == ("COMPLETED", "RUNNING")
    await BulkWorker(idle_app.database).work_off()
    assert (await again(idle_app, large["id"]))["status"] == "COMPLETED"


async def test_a_cancelled_operation_keeps_what_was_done_and_does_no_more(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = await made(idle_app, *[RunStatus.QUEUED] * 4)
    monkeypatch.setattr(operations, "SMALL", 1)
    begun = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    abreast = 1 if idle_app.database.dialect == "sqlite" else 2
    runner = BulkWorker(idle_app.database, chunk=1)
    assert await runner._turn()
    ended = await done(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")')
    assert ended["status"] == "CANCELLED"
    assert ended["finishedAt"] is not None
    await runner.work_off()
    left = 4 - abreast
    assert await statuses(idle_app, *runs) == ["STOPPED"] * abreast + ["QUEUED"] * left
    operation = await again(idle_app, begun["id"])
    assert counts(operation) == (4, abreast, abreast, 0, 0)
    assert [result for result, _ in results(operation).values()] == ["SUCCEEDED"] * abreast + ["PENDING"] * left
    assert (await bulk(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")'))["code"] == "BULK_OPERATION_ENDED"
    foreign = await bulk(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")', key=idle_app.keys.other_admin)
    assert foreign["code"] == "BULK_OPERATION_NOT_FOUND"


async def test_a_project_has_so_many_operations_under_way_and_no_more(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(idle_app, *[RunStatus.FAILED] * 2)
    monkeypatch.setattr(operations, "SMALL", 1)
    monkeypatch.setattr(operations, "MAX_PLANS", 2)
    archive = "bulkArchive(filter: {statuses: FAILED})"
    begun = [(await done(idle_app, archive))["id"] for _ in range(operations.MAX_UNDER_WAY)]
    assert (await bulk(idle_app, archive))["code"] == "TOO_MANY_BULK_OPERATIONS"
    dry = "bulkArchive(filter: {statuses: FAILED}, dryRun: true)"
    plans = [(await done(idle_app, dry))["id"] for _ in range(2)]
    assert (await bulk(idle_app, dry))["code"] == "TOO_MANY_BULK_OPERATIONS"
    assert (await bulk(idle_app, f'bulkArchive(planId: "{plans[0]}")'))["code"] == "TOO_MANY_BULK_OPERATIONS"
    assert (await done(idle_app, archive, key=idle_app.keys.other_admin))["status"] == "COMPLETED"
    await done(idle_app, f'cancelBulkOperation(id: "{begun[0]}")')
    assert (await done(idle_app, f'bulkArchive(planId: "{plans[0]}")'))["status"] == "RUNNING"


async def test_the_operators_key_acts_where_it_says(idle_app: App) -> None:
    own = await made(idle_app, RunStatus.QUEUED)
    foreign = await idle_app.database.write(
        factory.make_flow, ids.decode(IdKind.PROJECT, idle_app.other_project), "theirs"
    )
    theirs = await make_runs(idle_app, foreign, {}, {})
    key = idle_app.keys.all_projects
    both = await done(idle_app, f"bulkCancel(filter: {{ids: {listed([*own, theirs[0]])}}})", key=key)
    assert counts(both) == (2, 2, 2, 0, 0)
    assert both["project"] is None
    there = f'bulkCancel(filter: {{projectIds: ["{idle_app.other_project}"], statuses: QUEUED}})'
    one = await done(idle_app, there, key=key)
    assert set(results(one)) == {theirs[1]}
    assert one["project"] == {"id": idle_app.other_project}
    unknown = f'bulkCancel(filter: {{projectIds: ["proj_{"0" * 32}"], statuses: QUEUED}})'
    assert (await bulk(idle_app, unknown, key=key))["code"] == "PROJECT_NOT_FOUND"
    listing = "{ bulkOperations { nodes { id } totalCount } }"
    seen = {
        name: [node["id"] for node in (await idle_app.query(listing, key=secret))["bulkOperations"]["nodes"]]
        for name, secret in (("own", idle_app.keys.viewer), ("other", idle_app.keys.other_viewer), ("all", key))
    }
    assert seen == {"own": [], "other": [one["id"]], "all": [one["id"], both["id"]]}
    node = "query($id: ID!) { node(id: $id) { id } bulkOperation(id: $id) { id } }"
    assert await idle_app.query(node, {"id": both["id"]}) == {"node": None, "bulkOperation": None}
    assert (await idle_app.query(node, {"id": one["id"]}, key=idle_app.keys.other_viewer))["node"] == {"id": one["id"]}


async def test_outcomes_are_filtered_counted_and_paged(idle_app: App) -> None:
    runs = await made(idle_app, *[RunStatus.QUEUED, RunStatus.FAILED] * 4)
    operation = await done(idle_app, f"bulkCancel(filter: {{ids: {listed(runs)}}})")
    text = """query($id: ID!, $result: [BulkResult!], $reason: [BulkReason!], $first: Int, $after: String) {
        bulkOperation(id: $id) { outcomes(result: $result, reason: $reason, first: $first, after: $after) {
            totalCount nodes { runId run { id status } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""

    async def page(**more: Any) -> Any:
        return (await idle_app.query(text, {"id": operation["id"], **more}))["bulkOperation"]["outcomes"]

    skipped = await page(result=["SKIPPED"])
    assert [each["runId"] for each in skipped["nodes"]] == runs[1::2]
    assert skipped["nodes"][0]["run"] == {"id": runs[1], "status": "FAILED"}
    assert skipped["totalCount"] == 4
    assert await page(reason=["RUN_NOT_CANCELLABLE"]) == skipped
    assert (await page(result=["FAILED"]))["totalCount"] == (await page(result=[]))["totalCount"] == 0
    found: list[str] = []
    after = None
    for number in range(3):
        part = await page(first=3, after=after)
        assert part["pageInfo"]["hasPreviousPage"] is (number > 0)
        assert part["pageInfo"]["hasNextPage"] is (number < 2)
        found += [each["runId"] for each in part["nodes"]]
        after = part["pageInfo"]["endCursor"]
    assert found == runs


async def test_a_run_that_is_gone_is_told_as_such(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = await made(idle_app, *[RunStatus.FAILED] * 2)
    monkeypatch.setattr(operations, "SMALL", 1)
    begun = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    await idle_app.database.write(_remove, ids.decode(IdKind.RUN, runs[0]))
    await BulkWorker(idle_app.database).work_off()
    operation = await again(idle_app, begun["id"])
    assert results(operation) == {runs[0]: ("SKIPPED", "RUN_NOT_FOUND"), runs[1]: ("SUCCEEDED", None)}
    text = "query($id: ID!) { bulkOperation(id: $id) { outcomes { nodes { run { id } } } } }"
    nodes = (await idle_app.query(text, {"id": begun["id"]}))["bulkOperation"]["outcomes"]["nodes"]
    assert nodes == [{"run": None}, {"run": {"id": runs[1]}}]


def _remove(conn: Any, key: Any) -> None:
    runs = table(FlowRun)
    conn.execute(runs.delete().where(runs.c.id == key))
