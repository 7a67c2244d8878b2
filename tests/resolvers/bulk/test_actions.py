"""Bulk operations cancel, retry, archive and unarchive runs."""

import asyncio
from typing import Any

import pytest

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import FINAL, LIVE, UNSUCCESSFUL
from domain.time import clock
from engine.worker.bulk_worker import BulkWorker
from resolvers import bulk as bulk_resolvers
from tests.resolvers.bulk.operations import (
    FORGET_RETRIES,
    add_flow_runs,
    again,
    archived,
    bulk,
    counts,
    done,
    everything,
    flow_of,
    listed,
    results,
    statuses,
)
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import encode_run_id
from tests.support.query import query
from tests.support.run_family import make_flow, make_run_family, make_runs


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


async def test_operations_at_the_same_time_retry_a_run_once(idle_app: App) -> None:
    runs = await add_flow_runs(idle_app, *[RunStatus.FAILED] * 20)
    arguments = f"bulkRetry(filter: {{ids: {listed(runs)}}}, strategy: FROM_FAILED_STEP)"
    operations = await asyncio.gather(*(done(idle_app, arguments) for _ in range(4)))
    assert sum(counts(operation)[2] for operation in operations) == len(runs)
    text = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { retries { totalCount } } } }"
    nodes = (await idle_app.query(text, {"ids": runs}))["nodes"]
    assert [node["retries"]["totalCount"] for node in nodes] == [1] * len(runs)


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
