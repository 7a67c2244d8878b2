"""Bulk operations through the API: selection, plans, outcomes, undo, and who may."""

from typing import Any

import pytest

from domain.states import RunStatus
from tests.support.api import Api
from tests.support.query import query
from tests.support.world import add_home, add_runs, add_world

OPERATION = """id kind status strategy matched processed succeeded skipped failed startedAt finishedAt requestedBy filter
    excludedIds reasons { reason count }
    outcomes { nodes { runId result reason plannedReason newRun { id status } } }
    plan { planId expiresAt eligible ineligible { reason count } sample { runId plannedReason }
        becameEligible becameIneligible }"""


async def bulk(api: Api, arguments: str, *, select: str = OPERATION, key: str | None = None) -> dict[str, Any]:
    """What a bulk mutation answers: `bulkCancel(…)`."""
    name = arguments.partition("(")[0]
    success = f"{name[0].upper()}{name[1:]}Success"
    text = f"""mutation {{ result: {arguments} {{ __typename
        ... on {success} {{ operation {{ {select} }} }} ... on UserError {{ code message }} }} }}"""
    result: dict[str, Any] = (await api.query(text, key=key))["result"]
    return result


async def done(api: Api, arguments: str, **more: Any) -> dict[str, Any]:
    """The operation that a bulk mutation began."""
    result = await bulk(api, arguments, **more)
    assert "operation" in result, result
    operation: dict[str, Any] = result["operation"]
    return operation


def counts(operation: dict[str, Any]) -> tuple[int, ...]:
    return tuple(operation[name] for name in ("matched", "processed", "succeeded", "skipped", "failed"))


def results(operation: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {each["runId"]: (each["result"], each["reason"]) for each in operation["outcomes"]["nodes"]}


def listed(run_ids: list[str]) -> str:
    return "[" + ", ".join(f'"{each}"' for each in run_ids) + "]"


async def statuses(api: Api, *run_ids: str) -> list[str]:
    found = await api.query("query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { status } } }", {"ids": run_ids})
    return [node["status"] for node in found["nodes"]]


async def test_cancel_by_ids(idle_api: Api) -> None:
    home = await add_home(idle_api)
    made = await add_runs(
        idle_api, home, {}, {"status": RunStatus.PAUSED}, {"status": RunStatus.SUCCEEDED}, {"status": RunStatus.RUNNING}
    )
    operation = await done(idle_api, f"bulkCancel(filter: {{ids: {listed(made)}}})")
    assert counts(operation) == (4, 4, 3, 1, 0)
    assert operation["status"] == "COMPLETED"
    assert results(operation) == {
        made[0]: ("SUCCEEDED", None),
        made[1]: ("SUCCEEDED", None),
        made[2]: ("SKIPPED", "RUN_NOT_CANCELLABLE"),
        made[3]: ("SUCCEEDED", None),
    }
    assert await statuses(idle_api, *made) == ["STOPPED", "STOPPED", "SUCCEEDED", "STOPPED"]


@pytest.mark.parametrize("strategy", ["FROM_FAILED_STEP", "ON_LATEST_VERSION"])
async def test_retry(idle_api: Api, strategy: str) -> None:
    world = await add_world(idle_api)
    operation = await done(idle_api, f'bulkRetry(filter: {{flowIds: ["{world.flow}"]}}, strategy: {strategy})')
    assert counts(operation) == (6, 6, 1, 5, 0)
    new = next(each["newRun"] for each in operation["outcomes"]["nodes"] if each["result"] == "SUCCEEDED")
    assert new["status"] == "QUEUED"
    text = """query($id: ID!) { flowRun(id: $id) { retryOf { id } attempt tags metadata input triggerMethod
        parentRun { id } rootRun { id } createdAt steps { name reusedFrom { id } } statusHistory { to message } } }"""
    told = (await idle_api.query(text, {"id": new["id"]}))["flowRun"]
    how = "from its failed step" if strategy == "FROM_FAILED_STEP" else "on the latest version"
    assert told["statusHistory"] == [{"to": "QUEUED", "message": f"Retry of {world.failed} {how}"}]
    assert told["steps"] == (
        [{"name": "a", "reusedFrom": {"id": world.failed}}] if strategy == "FROM_FAILED_STEP" else []
    )
    assert told["parentRun"] == told["rootRun"] == {"id": world.parent}
    assert (told["retryOf"], told["attempt"], told["triggerMethod"]) == ({"id": world.failed}, 2, "RETRY")


async def test_archive_and_undo(idle_api: Api) -> None:
    world = await add_world(idle_api)
    operation = await done(idle_api, f'bulkArchive(filter: {{flowIds: ["{world.flow}"]}})')
    assert counts(operation) == (6, 6, 3, 3, 0)
    assert operation["reasons"] == [{"reason": "RUN_NOT_FINAL", "count": 3}]
    left = (await idle_api.query("{ flowRuns { nodes { id } } }"))["flowRuns"]["nodes"]
    assert {node["id"] for node in left} == {world.parent, world.queued, world.paused}
    undone = await done(idle_api, f'bulkUnarchive(operationId: "{operation["id"]}")')
    assert counts(undone) == (3, 3, 3, 0, 0)
    assert (await idle_api.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"] == 6


async def test_plan(idle_api: Api, database_url: str) -> None:
    world = await add_world(idle_api)
    planned = await done(idle_api, f'bulkArchive(filter: {{flowIds: ["{world.flow}"]}}, dryRun: true)')
    assert planned["status"] == "PLANNED"
    assert counts(planned) == (6, 0, 0, 0, 0)
    assert planned["plan"]["eligible"] == 3
    assert planned["plan"]["ineligible"] == [{"reason": "RUN_NOT_FINAL", "count": 3}]
    await query(database_url, "UPDATE flow_run SET status = 'STOPPED' WHERE status = 'QUEUED'")
    carried = await done(idle_api, f'bulkArchive(planId: "{planned["plan"]["planId"]}")')
    assert counts(carried) == (6, 6, 4, 2, 0)
    assert (carried["plan"]["becameEligible"], carried["plan"]["becameIneligible"]) == (1, 0)
