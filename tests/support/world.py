"""Runs with everything that can hang on a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import schedules, webhooks
from db.core.unit_of_work import UnitOfWork
from db.runs import input_requests
from domain import clock, ids
from domain.enums import Environment, MissedFires, RunStatus, StepStatus
from domain.ids import IdKind
from tests.support import factory
from tests.support.api import Api
from tests.support.factory import Home

ERROR = '{"code": "HTTP_STATUS", "message": "It answered 503", "details": {"status": 503}}'


@dataclass(frozen=True)
class World:
    """The IDs of a failed run and of what is around it."""

    project: str
    flow: str
    version: str
    parent: str
    failed: str
    child: str
    retry: str
    queued: str
    paused: str
    request: str
    schedule: str
    webhook: str
    bulk: str

    @property
    def variables(self) -> dict[str, str]:
        """All of them, as variables of a document."""
        return vars(self)


async def add_world(api: Api) -> World:
    """A run that failed under a parent, had a child, and was retried with success."""
    home = await add_home(api)
    runs = await api.database.write(_add_family, home)
    kinds = [IdKind.PROJECT, IdKind.FLOW, IdKind.FLOW_VERSION]
    around = [ids.encode(kind, key) for kind, key in zip(kinds, vars_of(home), strict=True)]
    queued, paused, request = await api.database.write(_add_waiting, home)
    waiting = (run_id(queued), run_id(paused), ids.encode(IdKind.INPUT_REQUEST, request))
    triggers = await api.database.write(_add_triggers, home)
    bulk = await _add_bulk(api, runs[1])
    return World(*[*around, *[run_id(key) for key in runs], *waiting, *triggers, bulk])


async def _add_bulk(api: Api, key: UUID) -> str:
    """A bulk operation that began with a dry run, and did nothing to a run that was not eligible."""
    ask = "mutation($filter: FlowRunFilter, $plan: ID) { it: bulkUnarchive(filter: $filter, planId: $plan, dryRun: %s)"
    told = " { ... on BulkUnarchiveSuccess { operation { id } } } }"
    planned = await api.query(ask % "true" + told, {"filter": {"ids": [run_id(key)]}})
    done = await api.query(ask % "false" + told, {"plan": planned["it"]["operation"]["id"]})
    operation: str = done["it"]["operation"]["id"]
    return operation


def _add_triggers(uow: UnitOfWork, home: Home) -> tuple[str, str]:
    """A schedule that never fires, and a webhook that nobody can call."""
    own = {"project_id": home.project_id, "flow_id": home.flow_id, "environment": Environment.PRODUCTION}
    schedule = ids.new_uuid()
    timing = {"enabled": False, "cron": "@daily", "time_zone": "UTC", "missed_fires": MissedFires.SKIP}
    given = {"tags": [], "metadata": "{}", "input": "{}", "created_at": clock.now(), "updated_at": clock.now()}
    schedules.create(uow, {"id": schedule, **own, **timing, **given})
    webhook, _ = webhooks.create(uow, {**own, "name": "shop"})
    return ids.encode(IdKind.SCHEDULE, schedule), ids.encode(IdKind.WEBHOOK, webhook)


def _add_waiting(uow: UnitOfWork, home: Home) -> tuple[UUID, UUID, UUID]:
    """A run that nobody has begun, and one that waits for an answer."""
    queued, paused = factory.add_runs(uow, home, [{}, {"status": RunStatus.PAUSED, "due_at": None}])
    factory.add_steps(uow, paused, [{"kind": "humanInput", "status": StepStatus.PAUSED, "name": "ask"}])
    request = ids.new_uuid()
    asked = {"id": request, "run_id": paused, "position": 0, "step_name": "ask", "title": "Well?"}
    input_requests.create(uow, {**asked, "answer_schema": "{}", "created_at": clock.now()})
    return queued, paused, request


async def add_worlds(api: Api, count: int) -> None:
    """As many runs as told, each of a flow of its own, with a family like that of `add_world`."""
    project = ids.decode(IdKind.PROJECT, api.project)

    def work(uow: UnitOfWork) -> None:
        for number in range(count):
            _add_family(uow, factory.add_flow(uow, project, f"flow {number}"))

    await api.database.write(work)


async def add_home(api: Api, name: str = "flow", *, project: str | None = None) -> Home:
    """A published flow in a project, by default the first."""
    return await api.database.write(factory.add_flow, ids.decode(IdKind.PROJECT, project or api.project), name)


async def add_runs(api: Api, home: Home, *rows: Mapping[str, Any]) -> list[str]:
    """The IDs of new runs with these columns."""
    return [run_id(key) for key in await api.database.write(factory.add_runs, home, rows)]


def run_id(key: UUID) -> str:
    """The ID of a run, as clients see it."""
    return ids.encode(IdKind.RUN, key)


def vars_of(home: Home) -> tuple[UUID, UUID, UUID]:
    return home.project_id, home.flow_id, home.version_id


def _add_family(uow: UnitOfWork, home: Home) -> list[UUID]:
    parent, failed, child, retry = family = [ids.new_uuid() for _ in range(4)]
    told = {
        "tags": ["red", "blue"],
        "metadata": '{"order": 7}',
        "input": '{"name": "Ada"}',
        "external_id": "order-7",
        "source": "shop",
        "fail_parent_on_failure": True,
        "parent_run_id": parent,
        "root_run_id": parent,
    }
    why = {
        "failed_step_name": "b",
        "error_code": "HTTP_STATUS",
        "error_message": "It answered 503",
        "error_fingerprint": "0123456789abcdef",
        "recovered_by_id": retry,
    }
    output = '{"greeting": "Hello"}'
    factory.add_runs(
        uow,
        home,
        [
            {"id": parent, "status": RunStatus.PAUSED},
            {"id": failed, "status": RunStatus.FAILED, **told, **why},
            {"id": child, "status": RunStatus.SUCCEEDED, "parent_run_id": failed, "root_run_id": parent},
            {"id": retry, "status": RunStatus.SUCCEEDED, **told, "retry_of_id": failed, "attempt": 2, "output": output},
        ],
    )
    done = {"input": '"in"', "output": '"out"', "display_name": "The first"}
    broken = {"status": StepStatus.FAILED, "input": '"in"', "error": ERROR, "kind": "http"}
    factory.add_steps(uow, failed, [done, broken])
    factory.add_steps(uow, retry, [{**done, "reused_from_id": failed}, {"kind": "http", "output": "1"}])
    for run, last in ((failed, RunStatus.FAILED), (retry, RunStatus.SUCCEEDED)):
        factory.add_events(uow, home, run, [RunStatus.QUEUED, RunStatus.RUNNING, last])
    return family
