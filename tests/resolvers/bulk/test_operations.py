"""Plans of bulk operations, their progress, limits, permissions and outcomes."""

from typing import Any

import pytest

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import transitions
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock
from engine.worker.bulk_worker import BulkWorker
from resolvers import bulk as bulk_resolvers
from tests.resolvers.bulk.operations import (
    FORGET_RETRIES,
    STRATEGY,
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
from tests.support.query import query
from tests.support.run_family import make_flow, make_run_family, make_runs

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


async def test_plan_is_executed_only_on_its_runs_and_counts_drift(idle_app: App, database_url: str) -> None:
    published = await make_flow(idle_app)
    ready, turned, waiting, late = await make_runs(
        idle_app, published, {}, {}, {"status": RunStatus.FAILED}, {"status": RunStatus.SUCCEEDED}
    )
    plan = await done(idle_app, f'bulkCancel(filter: {{flowIds: ["{flow_of(published)}"]}}, dryRun: true)')
    assert plan["plan"]["eligible"] == 2
    key = {name: ids.decode(IdKind.RUN, run) for name, run in (("turned", turned), ("late", late))}
    await idle_app.database.write(transitions.end, [key["turned"]], RunStatus.STOPPED, "Stopped by a test")
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
    ended = await done(idle_app, f'cancelBulkOperation(id: "{begun["id"]}")')
    changed = ended["succeeded"]
    # On PostgreSQL the second chunk, of one run too, is in progress: it is committed before the end or not at all.
    assert changed in ([1] if idle_app.database.dialect == "sqlite" else [1, 2])
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
    # One more plan makes the oldest one expire: dry runs never block a project.
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
