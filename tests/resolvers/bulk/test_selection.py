"""The runs that a bulk operation selects: filters, IDs, projects and the time of pinning."""

from typing import Any

import pytest
from sqlalchemy import Connection

from db.assembly import COMMIT_STEPS
from db.bulk import pinning
from db.core.unit_of_work import UnitOfWork
from domain import ids
from domain.enums import RunStatus
from domain.time import clock
from engine.worker.bulk_worker import BulkWorker
from resolvers import bulk as bulk_resolvers
from tests.resolvers.bulk.operations import (
    STRATEGY,
    add_flow_runs,
    again,
    bulk,
    counts,
    done,
    everything,
    listed,
    results,
    statuses,
)
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import encode_run_id
from tests.support.run_family import make_flow, make_run_family, make_runs

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


async def test_runs_created_during_pinning_are_not_selected(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
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
