"""Bulk operations through the API: selection, plans, outcomes, undo and permissions."""

from typing import Any

import pytest
from sqlalchemy import Connection

from db.assembly import COMMIT_STEPS
from db.bulk import pinning
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import transitions
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import FINAL, LIVE, UNSUCCESSFUL
from domain.time import clock
from engine.worker.bulk_worker import BulkWorker
from resolvers import bulk as bulk_resolvers
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import encode_run_id
from tests.support.query import query
from tests.support.run_family import make_flow, make_run_family, make_runs

OPERATION = """id kind status strategy matched processed succeeded skipped failed createdAt startedAt finishedAt
    requestedBy { kind name } project { id } source { id }
    filter ignoredFilterFields excludedIds reasons { reason count }
    outcomes { nodes { runId result reason plannedReason newRun { id status } } }
    plan { planId expiresAt eligible ineligible { reason count } sample { runId plannedReason }
        becameEligible becameIneligible }"""


async def bulk(app: App, arguments: str, *, select: str = OPERATION, key: str | None = None) -> dict[str, Any]:
    """Return the answer of a bulk mutation such as `bulkCancel(…)`."""
    text = f"""mutation {{ result: {arguments} {{ __typename
        ... on BulkOperationSuccess {{ operation {{ {select} }} }} ... on UserError {{ code message }} }} }}"""
    result: dict[str, Any] = (await app.query(text, key=key))["result"]
    return result


async def done(app: App, arguments: str, key: str | None = None) -> dict[str, Any]:
    """Return the operation that a bulk mutation started."""
    result = await bulk(app, arguments, key=key)
    assert "operation" in result, result
    operation: dict[str, Any] = result["operation"]
    return operation


def counts(operation: dict[str, Any]) -> tuple[int, ...]:
    return tuple(operation[name] for name in ("matched", "processed", "succeeded", "skipped", "failed"))


def results(operation: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {outcome["runId"]: (outcome["result"], outcome["reason"]) for outcome in operation["outcomes"]["nodes"]}


def listed(run_ids: list[str]) -> str:
    return "[" + ", ".join(f'"{run}"' for run in run_ids) + "]"


async def statuses(app: App, *run_ids: str) -> list[str]:
    data = await app.query("query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { status } } }", {"ids": run_ids})
    return [node["status"] for node in data["nodes"]]


async def add_flow_runs(app: App, *statuses: RunStatus, name: str = "flow") -> list[str]:
    """Add runs of a new flow with these statuses."""
    return await make_runs(app, await make_flow(app, name), *({"status": status} for status in statuses))


async def everything(app: App) -> Any:
    """Return everything that clients can see of runs."""
    select = """id status updatedAt archivedAt retries { totalCount } steps { name status } statusHistory { to }"""
    text = f"{{ flowRuns(filter: {{archived: INCLUDE}}) {{ nodes {{ {select} }} }} }}"
    return await app.query(text, key=app.keys.all_projects)


async def archived(app: App) -> set[str]:
    data = await app.query("{ flowRuns(filter: {archived: ONLY}) { nodes { id } } }", key=app.keys.all_projects)
    return {node["id"] for node in data["flowRuns"]["nodes"]}


# Actions


async def test_cancel_stops_live_runs_and_skips_the_others(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *RunStatus)
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
    run = (await idle_app.query(text, {"id": runs[0]}))["flowRun"]
    message = "Cancelled with the key 'admin for tests'"
    assert run["statusHistory"] == [{"from": "QUEUED", "to": "STOPPED", "message": message}]
    assert run["finishedAt"] is not None


async def test_cancel_stops_live_descendants_through_runs_in_any_status(idle_app: App) -> None:
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


async def test_run_cancelled_with_its_parent_counts_as_succeeded(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    top, below, last = (ids.new_uuid() for _ in range(3))
    rows = [{"id": top}, {"id": below, "parent_run_id": top}, {"id": last}]
    await idle_app.database.write(factory.make_runs, published, rows)
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    begun = await done(idle_app, f'bulkCancel(filter: {{flowIds: ["{flow_of(published)}"]}})')
    await BulkWorker(idle_app.database, chunk_size=1).drain()
    operation = await again(idle_app, begun["id"])
    assert counts(operation) == (3, 3, 3, 0, 0)
    assert set(results(operation).values()) == {("SUCCEEDED", None)}


def flow_of(published: Any) -> str:
    return ids.encode(IdKind.FLOW, published.flow_id)


async def again(app: App, operation_id: str, **more: Any) -> dict[str, Any]:
    text = f"query($id: ID!) {{ bulkOperation(id: $id) {{ {OPERATION} }} }}"
    operation: dict[str, Any] = (await app.query(text, {"id": operation_id}, **more))["bulkOperation"]
    return operation


@pytest.mark.parametrize("strategy", ["FROM_FAILED_STEP", "ON_LATEST_VERSION"])
async def test_bulk_retry_creates_the_same_run_as_a_single_retry(
    idle_app: App, database_url: str, strategy: str
) -> None:
    family = await make_run_family(idle_app)
    await query(database_url, FORGET_RETRIES)
    result = "{ ... on RetrySuccess { run { id } } }"
    single_retry = f'mutation {{ retry(runId: "{family.failed}", strategy: {strategy}, force: true) {result} }}'
    operation = await done(idle_app, f'bulkRetry(filter: {{ids: ["{family.failed}"]}}, strategy: {strategy})')
    (outcome,) = operation["outcomes"]["nodes"]
    one = (await idle_app.query(single_retry))["retry"]["run"]["id"]
    assert outcome["newRun"]["status"] == "QUEUED"
    select = """retryOf { id } attempt tags metadata input triggerMethod environment externalId source scheduledFor
        failParentOnFailure flowVersion { id } parentRun { id } rootRun { id } stepsCount durationMs archivedAt
        steps { name status output reusedFrom { id } } statusHistory { from to message }"""
    text = f"query($id: ID!) {{ flowRun(id: $id) {{ {select} }} }}"
    assert await idle_app.query(text, {"id": outcome["newRun"]["id"]}) == await idle_app.query(text, {"id": one})


async def test_archiving_and_unarchiving_leave_the_last_change(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, RunStatus.SUCCEEDED)
    before = await everything(idle_app)
    await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    assert await archived(idle_app) == set(runs)
    await done(idle_app, f"bulkUnarchive(filter: {{ids: {listed(runs)}}})")
    assert await everything(idle_app) == before


async def test_retry_of_run_without_parent_is_its_own_root(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, RunStatus.FAILED)
    operation = await done(idle_app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: FROM_FAILED_STEP)")
    new = operation["outcomes"]["nodes"][0]["newRun"]["id"]
    text = "query($id: ID!) { flowRun(id: $id) { rootRun { id } createdAt updatedAt } }"
    run = (await idle_app.query(text, {"id": new}))["flowRun"]
    assert run["rootRun"]["id"] == new
    created_at = ids.created_at(ids.decode(IdKind.RUN, new))
    assert run["createdAt"] == run["updatedAt"] == created_at.isoformat(timespec="microseconds").replace("+00:00", "Z")


async def test_retries_are_executed(app: App) -> None:
    flow = await app.create_flow({"steps": [{"name": "only", "kind": "transform", "input": "{{ run.input.x }}"}]})
    runs = [(await app.start(flow, input={"x": number}))["run"]["id"] for number in range(3)]
    for run in runs:
        await app.wait_until_final(run)
    await app.database.write(_fail, [ids.decode(IdKind.RUN, run) for run in runs])
    operation = await done(app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: ON_LATEST_VERSION)")
    outputs = [
        (await app.wait_until_final(outcome["newRun"]["id"], "output"))["output"]
        for outcome in operation["outcomes"]["nodes"]
    ]
    assert outputs == [0, 1, 2]


def _fail(uow: UnitOfWork, keys: list[Any]) -> None:
    runs = table(FlowRun)
    uow.conn.execute(runs.update().where(runs.c.id.in_(keys)).values(status=RunStatus.FAILED))


FORGET_RETRIES = "UPDATE flow_run SET retry_of_id = NULL, recovered_by_id = NULL"
RETRY_STATES = {
    "limit reached": ("UPDATE flow_run SET attempt = 11", "RETRY_LIMIT_REACHED", "RETRY_LIMIT_REACHED"),
    "data expired": ("UPDATE flow_run SET steps_purged_at = created_at", "STEP_DATA_EXPIRED", None),
    "flow disabled": ("UPDATE flow SET enabled = false", "FLOW_DISABLED", "FLOW_DISABLED"),
    "flow unpublished": ("UPDATE flow SET published_version_id = NULL", None, "FLOW_NOT_PUBLISHED"),
}


@pytest.mark.parametrize("name", RETRY_STATES)
async def test_run_that_cannot_be_retried_is_skipped_and_planned_as_ineligible(
    idle_app: App, database_url: str, name: str
) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 2)
    change, *codes = RETRY_STATES[name]
    await query(database_url, change)
    for strategy, code in zip(["FROM_FAILED_STEP", "ON_LATEST_VERSION"], codes, strict=True):
        arguments = f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: {strategy}"
        plan = (await done(idle_app, arguments + ", dryRun: true)"))["plan"]
        assert plan["eligible"] == (2 if code is None else 0)
        assert plan["ineligible"] == ([] if code is None else [{"reason": code, "count": 2}])
        operation = await done(idle_app, arguments + ")")
        assert set(results(operation).values()) == {("SUCCEEDED", None) if code is None else ("SKIPPED", code)}
        await query(database_url, FORGET_RETRIES)  # a run with a live retry is skipped


async def test_retries_beyond_the_quota_fail_until_the_next_period(fake_clock: FakeClock, idle_app: App) -> None:
    fake_clock.watch(idle_app.database)
    keys = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 5)
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


async def test_ineligible_runs_do_not_fail_the_others(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *RunStatus)
    operation = await done(idle_app, f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: ON_LATEST_VERSION)")
    assert results(operation) == {
        run: ("SUCCEEDED", None) if status in UNSUCCESSFUL else ("SKIPPED", "RUN_NOT_RETRYABLE")
        for run, status in zip(runs, RunStatus, strict=True)
    }


async def test_archived_runs_are_not_listed_and_keep_their_ids(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *RunStatus)
    operation = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    final = {run for run, status in zip(runs, RunStatus, strict=True) if status in FINAL}
    assert await archived(idle_app) == final
    assert {run for run, (result, _) in results(operation).items() if result == "SUCCEEDED"} == final
    assert operation["reasons"] == [{"reason": "RUN_NOT_FINAL", "count": 3}]
    data = await idle_app.query("{ flowRuns { nodes { id } totalCount } }")
    assert {node["id"] for node in data["flowRuns"]["nodes"]} == set(runs) - final
    assert data["flowRuns"]["totalCount"] == 3
    text = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on FlowRun { archivedAt } } }"
    assert all(node["archivedAt"] for node in (await idle_app.query(text, {"ids": sorted(final)}))["nodes"])
    second = await done(idle_app, f"bulkArchive(filter: {{ids: {listed(runs)}}})")
    assert counts(second) == (9, 9, 0, 9, 0)
    assert {"reason": "RUN_ALREADY_ARCHIVED", "count": 6} in second["reasons"]


async def test_unarchive_selects_archived_runs_unless_the_filter_sets_archived(idle_app: App) -> None:
    published = await make_flow(idle_app)
    old = {"status": RunStatus.FAILED, "archived_at": clock.now()}
    runs = await make_runs(idle_app, published, old, old, {"status": RunStatus.FAILED})
    explicit = await done(idle_app, "bulkUnarchive(filter: {statuses: FAILED, archived: EXCLUDE})")
    assert counts(explicit) == (1, 1, 0, 1, 0)
    assert explicit["reasons"] == [{"reason": "RUN_NOT_ARCHIVED", "count": 1}]
    operation = await done(idle_app, "bulkUnarchive(filter: {statuses: FAILED})")
    assert set(results(operation)) == set(runs[:2])
    assert await archived(idle_app) == set()


async def test_undo_unarchives_the_runs_of_that_operation_unless_changed_since(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 5)
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


async def test_earlier_operation_must_have_the_right_kind_and_have_ended(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_flow_runs(idle_app, *[RunStatus.QUEUED] * 3)
    cancelled = (await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})"))["id"]
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    archiving = (await done(idle_app, "bulkArchive(filter: {statuses: STOPPED})"))["id"]
    retrying = (await done(idle_app, "bulkRetry(filter: {statuses: STOPPED}, strategy: ON_LATEST_VERSION)"))["id"]
    expected = {
        f'bulkUnarchive(operationId: "{cancelled}")': "BULK_OPERATION_MISMATCH",
        f'bulkRetry(failedOf: "{cancelled}")': "BULK_OPERATION_MISMATCH",
        f'bulkUnarchive(operationId: "{archiving}")': "BULK_OPERATION_NOT_ENDED",
        f'bulkRetry(failedOf: "{retrying}")': "BULK_OPERATION_NOT_ENDED",
        f'bulkRetry(failedOf: "bulk_{"0" * 32}")': "BULK_OPERATION_NOT_FOUND",
    }
    for arguments, code in expected.items():
        assert (await bulk(idle_app, arguments))["code"] == code, arguments
        foreign = await bulk(idle_app, arguments, key=idle_app.keys.other_admin)
        assert foreign["code"] == "BULK_OPERATION_NOT_FOUND"


# Selection


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
    "metadataConditions": 'metadataConditions: [{{path: "order", equals: 7}}], statuses: [FAILED]',
    "not": "not: {{statuses: [QUEUED, RUNNING, PAUSED, SUCCEEDED]}}",
    "or": 'or: [{{failedStepName: "b"}}, {{errorContains: "503"}}]',
}


@pytest.mark.parametrize("name", SELECTIONS)
async def test_every_field_of_the_filter_selects(idle_app: App, name: str) -> None:
    family = await make_run_family(idle_app)
    where = SELECTIONS[name].format(**family.variables)
    operation = await done(idle_app, f"bulkArchive(filter: {{{where}}})")
    assert results(operation) == {family.failed: ("SUCCEEDED", None)}
    assert operation["filter"].keys() >= {name}


async def test_filter_with_ids_ignores_other_fields_but_not_excluded_ids(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 3)
    where = f'ids: {listed(runs)}, statuses: [SUCCEEDED], createdBefore: "2000-01-01T00:00:00Z", tags: []'
    operation = await done(idle_app, f"bulkArchive(filter: {{{where}}}, excludeIds: {listed(runs[1:2])})")
    assert set(results(operation)) == {runs[0], runs[2]}
    assert operation["excludedIds"] == runs[1:2]
    assert operation["ignoredFilterFields"] == ["createdBefore", "statuses", "tags"]
    assert operation["filter"] == {
        "ids": runs,
        "statuses": ["SUCCEEDED"],
        "createdBefore": "2000-01-01T00:00:00+00:00",
        "tags": [],
    }


async def test_dry_run_names_ignored_fields(idle_app: App) -> None:
    run = (await add_flow_runs(idle_app, RunStatus.FAILED))[0]
    for where, ignored in {
        f'ids: ["{run}"], tags: ["x"], archived: ONLY': ["archived", "tags"],
        f'ids: ["{run}"], projectIds: ["{idle_app.project}"], tags: null': [],
        "ids: [], statuses: []": ["statuses"],
        'tags: ["x"], statuses: [FAILED]': [],
    }.items():
        plan = await done(idle_app, f"bulkArchive(filter: {{{where}}}, dryRun: true)")
        assert plan["ignoredFilterFields"] == ignored
        await idle_app.query(f'mutation {{ cancelBulkOperation(id: "{plan["id"]}") {{ __typename }} }}')


async def test_excluded_ids_are_left_out_of_a_filter(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.QUEUED] * 3)
    await done(idle_app, f"bulkCancel(filter: {{statuses: QUEUED}}, excludeIds: {listed(runs[:2])})")
    assert await statuses(idle_app, *runs) == ["QUEUED", "QUEUED", "STOPPED"]


NOTHING = ["", "filter: {}", "filter: null", "filter: {ids: null}", "filter: {rootsOnly: false, unrecovered: false}"]
NOTHING += [
    f"filter: {{{blank}}}"
    for blank in (
        "metadata: {}",
        "minDurationMs: 0",
        'errorContains: "", failedStepName: "", errorFingerprint: ""',
        'createdWithin: "", updatedWithin: ""',
        "archived: INCLUDE, metadata: {}",
        'metadataConditions: [{path: "order.id"}, {path: "x", prefix: ""}]',
        "not: {}",
        "not: {not: {}}",
        "not: {ids: []}",
        "not: {or: [{ids: []}, {or: []}]}",
        'not: {metadataConditions: [{path: "a", in: []}]}',
        "or: [{}]",
        "or: [{statuses: [FAILED]}, {minDurationMs: 0}]",
        "or: [{archived: ONLY}, {archived: EXCLUDE}]",
        "or: [{statuses: [FAILED]}, {not: {}}]",
        "not: {archived: ONLY}",
        'not: {projectIds: ["%s"]}',
    )
]
NOTHING += ["filter: {archived: INCLUDE}", "filter: {includeArchived: true}", 'filter: {projectIds: ["%s"]}']
STRATEGY = {"bulkRetry": "strategy: ON_LATEST_VERSION"}


@pytest.mark.parametrize("name", ["bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"])
async def test_filter_that_restricts_nothing_is_refused(idle_app: App, name: str) -> None:
    await add_flow_runs(idle_app, *RunStatus)
    before = await everything(idle_app)
    for where in NOTHING:
        selection = where.replace("%s", idle_app.project)
        for key in (idle_app.keys.operator, idle_app.keys.all_projects):
            arguments = f"{selection} dryRun: false {STRATEGY.get(name, '')}"
            assert (await bulk(idle_app, f"{name}({arguments})", key=key))["code"] == "EMPTY_FILTER"
    assert await everything(idle_app) == before


@pytest.mark.parametrize(
    "where",
    ["ids: []", "flowIds: []", "statuses: []", "tags: []", "externalIds: []", "or: []", "metadataConditions: []"],
)
async def test_empty_list_matches_no_runs(idle_app: App, where: str) -> None:
    await add_flow_runs(idle_app, *RunStatus)
    before = await everything(idle_app)
    for name in ("bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"):
        arguments = f"filter: {{{where}}} {STRATEGY.get(name, '')}"
        operation = await done(idle_app, f"{name}({arguments})")
        assert counts(operation) == (0, 0, 0, 0, 0)
        assert operation["status"] == "COMPLETED"
    assert await everything(idle_app) == before


async def test_archived_runs_are_selected_by_archived_or_by_their_ids(idle_app: App) -> None:
    published = await make_flow(idle_app)
    old = {"status": RunStatus.FAILED, "archived_at": clock.now()}
    one, two = await make_runs(idle_app, published, old, {"status": RunStatus.FAILED})
    for where, expected in {
        "statuses: FAILED": {two},
        "statuses: FAILED, archived: INCLUDE": {one, two},
        "statuses: FAILED, includeArchived: true": {one, two},
        "archived: ONLY": {one},
        f'ids: ["{one}"]': {one},
    }.items():
        plan = await done(idle_app, f"bulkRetry(filter: {{{where}}}, strategy: ON_LATEST_VERSION, dryRun: true)")
        assert set(results(plan)) == expected


async def test_runs_of_another_project_are_never_selected(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    before = await everything(idle_app)
    for where in (
        f'ids: ["{family.queued}"]',
        f'projectIds: ["{idle_app.project}"], ids: ["{family.queued}"]',
        f'flowIds: ["{family.flow}"]',
        "statuses: [QUEUED, PAUSED, FAILED, SUCCEEDED]",
        "archived: ONLY",
    ):
        for name in ("bulkCancel", "bulkRetry", "bulkArchive", "bulkUnarchive"):
            arguments = f"filter: {{{where}}} {STRATEGY.get(name, '')}"
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


async def test_invalid_arguments_are_refused(idle_app: App) -> None:
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


async def test_runs_created_later_are_never_changed(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    published = await make_flow(idle_app)
    early = await make_runs(idle_app, published, {}, {}, {})
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    begun = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    assert (begun["status"], begun["matched"], begun["processed"]) == ("RUNNING", 3, 0)
    late = await make_runs(idle_app, published, {})
    await BulkWorker(idle_app.database, chunk_size=1).drain()
    assert await statuses(idle_app, *early, *late) == ["STOPPED"] * 3 + ["QUEUED"]
    assert counts(await again(idle_app, begun["id"])) == (3, 3, 3, 0, 0)


async def test_runs_created_while_the_set_is_pinned_are_not_in_it(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    early = await make_runs(idle_app, published, {}, {})
    read, pages = pinning.select_runs, []

    def with_a_new_run(conn: Connection, selection: Any, after: Any, limit: int) -> Any:
        pages.append(limit)
        factory.make_run(UnitOfWork(conn, COMMIT_STEPS), published)
        conn.commit()
        return read(conn, selection, after, 1)

    monkeypatch.setattr(pinning, "select_runs", with_a_new_run)
    operation = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    assert len(pages) == 3
    assert set(results(operation)) == set(early)


async def test_durations_are_those_at_the_start_of_the_operation(
    fake_clock: FakeClock, idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = await make_flow(idle_app)
    runs = await make_runs(idle_app, published, *[{"status": RunStatus.RUNNING}] * 2)
    await fake_clock.advance(5)
    read = pinning.select_runs

    def later(conn: Any, selection: Any, after: Any, limit: int) -> Any:
        fake_clock.block(10)
        return read(conn, selection, after, 1)

    monkeypatch.setattr(pinning, "select_runs", later)
    none = await done(idle_app, "bulkCancel(filter: {minDurationMs: 6000})")
    assert counts(none) == (0, 0, 0, 0, 0)
    monkeypatch.setattr(pinning, "select_runs", read)
    assert set(results(await done(idle_app, "bulkCancel(filter: {minDurationMs: 6000})"))) == set(runs)


# Dry runs


async def test_dry_run_returns_exact_counts_and_changes_nothing(idle_app: App, database_url: str) -> None:
    family = await make_run_family(idle_app)
    await query(database_url, FORGET_RETRIES)
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


async def test_plan_is_executed_on_its_runs_only_and_counts_what_drifted(idle_app: App, database_url: str) -> None:
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
    reasons = {each["runId"]: each["plannedReason"] for each in operation["outcomes"]["nodes"]}
    assert reasons == {ready: None, turned: None, waiting: "RUN_NOT_CANCELLABLE", late: "RUN_NOT_CANCELLABLE"}


def _requeue(uow: UnitOfWork, key: Any) -> None:
    """Make a final run live again. Runs never do so, but plans must count drift in both directions."""
    runs = table(FlowRun)
    uow.conn.execute(runs.update().where(runs.c.id == key).values(status=RunStatus.QUEUED))


async def test_plan_is_executed_once_in_time_by_its_project_and_kind(fake_clock: FakeClock, idle_app: App) -> None:
    await add_flow_runs(idle_app, RunStatus.FAILED)
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
    await fake_clock.advance(bulk_resolvers.PLAN_LIFETIME.total_seconds())
    assert (await bulk(idle_app, f'bulkArchive(planId: "{expiring}")'))["code"] == "PLAN_EXPIRED"
    ended = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    assert (await bulk(idle_app, f'bulkArchive(planId: "{ended["id"]}")'))["code"] == "PLAN_NOT_FOUND"
    assert counts(ended) == (1, 1, 1, 0, 0)


# Progress, limits and permissions


async def test_operation_has_its_requester_times_and_filter(fake_clock: FakeClock, idle_app: App) -> None:
    await add_flow_runs(idle_app, RunStatus.FAILED)
    operation = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})", key=idle_app.keys.operator)
    now = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    expected: dict[str, Any] = {
        "kind": "ARCHIVE",
        "strategy": None,
        "requestedBy": {"kind": "API_KEY", "name": "operator for tests"},
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


async def test_large_operation_is_processed_by_the_worker(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = await add_flow_runs(app, *[RunStatus.FAILED] * 7)
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 5)
    begun = await done(app, "bulkArchive(filter: {statuses: FAILED}, waitMs: 60000)")
    assert (begun["status"], counts(begun)) == ("COMPLETED", (7, 7, 7, 0, 0))
    assert await archived(app) == set(runs)


async def test_small_operation_ends_without_a_worker_and_a_large_one_waits_for_it(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 2)
    await add_flow_runs(
        idle_app, RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED
    )
    small = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    large = await done(idle_app, "bulkArchive(filter: {statuses: SUCCEEDED})")
    assert (small["status"], large["status"]) == ("COMPLETED", "RUNNING")
    await BulkWorker(idle_app.database).drain()
    assert (await again(idle_app, large["id"]))["status"] == "COMPLETED"


async def test_cancelled_operation_keeps_its_changes_and_makes_no_more(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.QUEUED] * 4)
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    begun = await done(idle_app, "bulkCancel(filter: {statuses: QUEUED})")
    worker = BulkWorker(idle_app.database, chunk_size=1)
    assert await worker.process_turn()
    changed = (await again(idle_app, begun["id"]))["succeeded"]
    # On PostgreSQL two chunks of one run are pipelined, unless the second overtakes the first.
    assert changed in ([1] if idle_app.database.dialect == "sqlite" else [1, 2])
    ended = await done(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")')
    assert ended["status"] == "CANCELLED"
    assert ended["finishedAt"] is not None
    await worker.drain()
    left = 4 - changed
    assert await statuses(idle_app, *runs) == ["STOPPED"] * changed + ["QUEUED"] * left
    operation = await again(idle_app, begun["id"])
    assert counts(operation) == (4, changed, changed, 0, 0)
    assert [result for result, _ in results(operation).values()] == ["SUCCEEDED"] * changed + ["PENDING"] * left
    assert (await bulk(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")'))["code"] == "BULK_OPERATION_ENDED"
    foreign = await bulk(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")', key=idle_app.keys.other_admin)
    assert foreign["code"] == "BULK_OPERATION_NOT_FOUND"


async def test_operations_and_plans_of_a_project_are_limited(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_flow_runs(idle_app, *[RunStatus.FAILED] * 2)
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    monkeypatch.setattr(bulk_resolvers, "MAX_PLANS", 2)
    archive = "bulkArchive(filter: {statuses: FAILED})"
    begun = [(await done(idle_app, archive))["id"] for _ in range(bulk_resolvers.MAX_ACTIVE)]
    assert (await bulk(idle_app, archive))["code"] == "TOO_MANY_BULK_OPERATIONS"
    dry = "bulkArchive(filter: {statuses: FAILED}, dryRun: true)"
    expired, *plans = [(await done(idle_app, dry))["id"] for _ in range(3)]
    # One plan too many makes the oldest expire: nobody is locked out by dry runs.
    assert (await bulk(idle_app, f'bulkArchive(planId: "{plans[0]}")'))["code"] == "TOO_MANY_BULK_OPERATIONS"
    found = await idle_app.query("{ bulkOperations(includePlans: true) { totalCount nodes { id status } } }")
    assert found["bulkOperations"]["totalCount"] == len(begun) + len(plans)
    assert [node["id"] for node in found["bulkOperations"]["nodes"]] == [*reversed(plans), *reversed(begun)]
    assert (await done(idle_app, archive, key=idle_app.keys.other_admin))["status"] == "COMPLETED"
    await done(idle_app, f'cancelBulkOperation(id: "{begun[0]}")')
    assert (await bulk(idle_app, f'bulkArchive(planId: "{expired}")'))["code"] == "PLAN_EXPIRED"
    assert (await done(idle_app, f'bulkArchive(planId: "{plans[0]}")'))["status"] == "RUNNING"
    assert (await done(idle_app, f'cancelBulkOperation(id: "{plans[1]}")'))["status"] == "CANCELLED"
    found = await idle_app.query("{ bulkOperations(includePlans: true) { nodes { id } } }")
    assert plans[1] not in [node["id"] for node in found["bulkOperations"]["nodes"]]


async def test_operator_key_selects_the_project(idle_app: App) -> None:
    own = await add_flow_runs(idle_app, RunStatus.QUEUED)
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
    runs = await add_flow_runs(idle_app, *[RunStatus.QUEUED, RunStatus.FAILED] * 4)
    operation = await done(idle_app, f"bulkCancel(filter: {{ids: {listed(runs)}}})")
    text = """query($id: ID!, $result: [BulkResult!], $reason: [BulkReason!], $first: Int, $after: String) {
        bulkOperation(id: $id) { outcomes(result: $result, reason: $reason, first: $first, after: $after) {
            totalCount nodes { runId run { id status } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""

    async def page(**more: Any) -> Any:
        return (await idle_app.query(text, {"id": operation["id"], **more}))["bulkOperation"]["outcomes"]

    skipped = await page(result=["SKIPPED"])
    assert [outcome["runId"] for outcome in skipped["nodes"]] == runs[1::2]
    assert skipped["nodes"][0]["run"] == {"id": runs[1], "status": "FAILED"}
    assert skipped["totalCount"] == 4
    assert await page(reason=["RUN_NOT_CANCELLABLE"]) == skipped
    assert (await page(result=["FAILED"]))["totalCount"] == (await page(result=[]))["totalCount"] == 0
    run_ids: list[str] = []
    after = None
    for number in range(3):
        part = await page(first=3, after=after)
        assert part["pageInfo"]["hasPreviousPage"] is (number > 0)
        assert part["pageInfo"]["hasNextPage"] is (number < 2)
        run_ids += [outcome["runId"] for outcome in part["nodes"]]
        after = part["pageInfo"]["endCursor"]
    assert run_ids == runs


async def test_deleted_run_is_skipped_as_not_found(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 2)
    monkeypatch.setattr(bulk_resolvers, "MAX_SYNCHRONOUS_RUNS", 1)
    begun = await done(idle_app, "bulkArchive(filter: {statuses: FAILED})")
    await idle_app.database.write(_remove, ids.decode(IdKind.RUN, runs[0]))
    await BulkWorker(idle_app.database).drain()
    operation = await again(idle_app, begun["id"])
    assert results(operation) == {runs[0]: ("SKIPPED", "RUN_NOT_FOUND"), runs[1]: ("SUCCEEDED", None)}
    text = "query($id: ID!) { bulkOperation(id: $id) { outcomes { nodes { run { id } } } } }"
    nodes = (await idle_app.query(text, {"id": begun["id"]}))["bulkOperation"]["outcomes"]["nodes"]
    assert nodes == [{"run": None}, {"run": {"id": runs[1]}}]


def _remove(uow: UnitOfWork, key: Any) -> None:
    runs = table(FlowRun)
    uow.conn.execute(runs.delete().where(runs.c.id == key))
