"""Starts bulk operations through the API and reads their results."""

from typing import Any

from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

OPERATION = """id kind status strategy matched processed succeeded skipped failed createdAt startedAt finishedAt
    requestedBy { kind name } project { id } source { id }
    filter ignoredFilterFields excludedIds reasons { reason count }
    outcomes { nodes { runId result reason plannedReason newRun { id status } } }
    plan { planId expiresAt eligible ineligible { reason count } sample { runId plannedReason }
        becameEligible becameIneligible }"""
"""The fields of a bulk operation that tests read."""
STRATEGY = {"bulkRetry": "strategy: ON_LATEST_VERSION"}
"""Arguments that a mutation requires, by its name."""
FORGET_RETRIES = "UPDATE flow_run SET retry_of_id = NULL, recovered_by_id = NULL"
"""SQL that makes retried runs retryable again."""


async def bulk(app: App, arguments: str, *, select: str = OPERATION, key: str | None = None) -> dict[str, Any]:
    """Returns the response of a bulk mutation such as `bulkCancel(…)`."""
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


def flow_of(published: Any) -> str:
    return ids.encode(IdKind.FLOW, published.flow_id)


async def again(app: App, operation_id: str, **more: Any) -> dict[str, Any]:
    text = f"query($id: ID!) {{ bulkOperation(id: $id) {{ {OPERATION} }} }}"
    operation: dict[str, Any] = (await app.query(text, {"id": operation_id}, **more))["bulkOperation"]
    return operation
