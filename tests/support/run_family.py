"""Families of runs: a failed run with everything that refers to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import api_keys, schedules, secrets, webhooks
from db.alerts import alerts, groups, notifications
from db.console import saved_views
from db.core.unit_of_work import UnitOfWork
from db.deliveries import callbacks, endpoints, log, relay
from db.queue import workers
from db.queue.workers import WorkerIdentity
from db.runs.waits import input_requests
from domain import ids, json_codec
from domain.actor import SYSTEM
from domain.enums import Environment, MissedFires, Role, RunStatus, StepStatus
from domain.ids import IdKind
from domain.outbound.alert import AlertCondition, Hit, NotificationStatus
from domain.outbound.delivery import DeliveryStatus, EventKind
from domain.time import clock
from engine.deliveries.relay import new_delivery
from tests.support import factory
from tests.support.app import App
from tests.support.factory import PublishedFlow, encode_run_id

ERROR = json_codec.encode(
    {"code": "HTTP_STATUS", "message": "It answered 503", "details": {"status": 503}}, limit=1_000, what="error"
)
"""The error of a step, as the engine stores it."""


@dataclass(frozen=True)
class RunFamily:
    """IDs of a failed run, and of the objects that are related to it."""

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
    secret: str
    endpoint: str
    delivery: str
    alert: str
    notification: str
    bulk: str
    key: str
    token: str
    worker: str
    view: str

    @property
    def variables(self) -> dict[str, str]:
        """The IDs as variables of a GraphQL document."""
        return vars(self)


async def make_run_family(app: App) -> RunFamily:
    """Makes a run that failed under a parent, had a child, and was retried with success."""
    published = await make_flow(app)
    runs = await app.database.write(_add_family, published)
    kinds = [IdKind.PROJECT, IdKind.FLOW, IdKind.FLOW_VERSION]
    around = [ids.encode(kind, key) for kind, key in zip(kinds, vars_of(published), strict=True)]
    queued, paused, request = await app.database.write(_add_waiting, published)
    waiting = (encode_run_id(queued), encode_run_id(paused), ids.encode(IdKind.INPUT_REQUEST, request))
    triggers = await app.database.write(_add_triggers, published)
    sent = await app.database.write(_add_delivery, published, runs[1])
    alert = await app.database.write(_add_alert, published, runs[1])
    bulk = await _add_bulk(app, runs[1])
    access = (await _add_key(app), await _add_token(app))
    worker = await _add_worker(app, runs[1])
    view = await app.database.write(_add_view, published)
    return RunFamily(
        *[*around, *[encode_run_id(key) for key in runs], *waiting, *triggers, *sent],
        *[*alert, bulk, *access, worker, view],
    )


def _add_view(uow: UnitOfWork, published: PublishedFlow) -> str:
    """Makes a saved view of failed runs that everybody in the project sees."""
    view_id, now, actor = ids.new_uuid(), clock.now(), SYSTEM.text
    row = {"id": view_id, "project_id": published.project_id, "owner_id": None, "name": "failed"}
    order = {"order_field": "CREATED_AT", "descending": True}
    times = {"created_at": now, "updated_at": now, "created_by": actor, "updated_by": actor}
    saved_views.create(uow, {**row, **order, **times, "filter": '{"statuses":["FAILED"]}'})
    return ids.encode(IdKind.SAVED_VIEW, view_id)


async def _add_token(app: App) -> str:
    """Makes an access token."""
    ask = 'mutation { it: createAccessToken(filter: {tags: ["red"]}) { ... on CreateAccessTokenSuccess { token } } }'
    token: str = (await app.query(ask))["it"]["token"]
    return token


async def _add_worker(app: App, run_id: UUID) -> str:
    """Makes a worker that reported a run which has ended since."""
    worker = WorkerIdentity(ids.new_uuid(), "host.test", 7, "0.0.1", 4, clock.now())
    await app.database.write(workers.report, worker, [run_id], draining=False)
    return ids.encode(IdKind.WORKER, worker.id)


async def _add_key(app: App) -> str:
    """Makes an API key whose secret is thrown away."""
    key_id = ids.new_uuid()
    project_id = ids.decode(IdKind.PROJECT, app.project)

    def work(uow: UnitOfWork) -> None:
        api_keys.create(uow, project_id=project_id, role=Role.VIEWER, name="nobody's", key_id=key_id)

    await app.database.write(work)
    return ids.encode(IdKind.API_KEY, key_id)


async def _add_bulk(app: App, key: UUID) -> str:
    """Makes a bulk operation from a dry run, with one run that was not eligible."""
    ask = "mutation($filter: FlowRunFilter, $plan: ID) { it: bulkUnarchive(filter: $filter, planId: $plan, dryRun: %s)"
    selection = " { ... on BulkOperationSuccess { operation { id } } } }"
    planned = await app.query(ask % "true" + selection, {"filter": {"ids": [encode_run_id(key)]}})
    done = await app.query(ask % "false" + selection, {"plan": planned["it"]["operation"]["id"]})
    operation: str = done["it"]["operation"]["id"]
    return operation


def _add_triggers(uow: UnitOfWork, published: PublishedFlow) -> tuple[str, str, str]:
    """Makes a disabled schedule, a webhook whose token is thrown away, and a secret that no key decrypts."""
    own = {"project_id": published.project_id, "flow_id": published.flow_id, "environment": Environment.PRODUCTION}
    schedule = ids.new_uuid()
    timing = {"enabled": False, "cron": "@daily", "time_zone": "UTC", "missed_fires": MissedFires.SKIP}
    given = {"tags": [], "metadata": "{}", "input": "{}", "created_at": clock.now(), "updated_at": clock.now()}
    schedules.create(uow, {"id": schedule, **own, **timing, **given})
    webhook = ids.new_uuid()
    webhooks.create(uow, webhook, {**own, "name": "shop"})
    secret, now = ids.new_uuid(), clock.now()
    row = {"id": secret, "project_id": published.project_id, "environment": None, "name": "TOKEN"}
    secrets.create(
        uow, {**row, "key_id": "lost", "sealed": "", "created_at": now, "changed_at": now, "changed_by": SYSTEM.text}
    )
    return ids.encode(IdKind.SCHEDULE, schedule), ids.encode(IdKind.WEBHOOK, webhook), ids.encode(IdKind.SECRET, secret)


def _add_delivery(uow: UnitOfWork, published: PublishedFlow, run_id: UUID) -> tuple[str, str]:
    """Makes an endpoint whose secret no key decrypts, a delivery to it that failed, and a callback of the run."""
    endpoint = ids.new_uuid()
    now = clock.now()
    row = {"id": endpoint, "project_id": published.project_id, "name": "crm", "url": "https://crm.example/"}
    sent = {"run_filter": "{}", "kinds": '["RUN_ENDED"]', "payloads": False, "enabled": True, "after_seq": 0}
    sealed = {"key_id": "lost", "sealed": "", "created_at": now, "changed_at": now, "changed_by": SYSTEM.text}
    relay.begin_change(uow)
    endpoints.create(uow, {**row, **sent, **sealed})
    stored = endpoints.locked(uow, endpoint)
    assert stored is not None
    delivery = new_delivery(stored, EventKind.RUN_ENDED, now)
    of_run = {"run_id": run_id, "from_status": "RUNNING", "to_status": "FAILED"}
    ended = {"status": DeliveryStatus.FAILED, "attempts": 10, "failures": 10, "due_at": None, "ended_at": now}
    log.create(uow, {**delivery, **of_run, **ended})
    sealed_url = {"key_id": "lost", "sealed": "", "lane": endpoint}
    callbacks.add(uow, {"run_id": run_id, "project_id": published.project_id, **sealed_url})
    return ids.encode(IdKind.ENDPOINT, endpoint), ids.encode(IdKind.DELIVERY, delivery["id"])


def _add_alert(uow: UnitOfWork, published: PublishedFlow, run_id: UUID) -> tuple[str, str]:
    """Makes an alert whose target no key decrypts, with a failure that it has counted and a notification."""
    alert, now = ids.new_uuid(), clock.now()
    row = {"id": alert, "project_id": published.project_id, "name": "failures", "run_filter": "{}"}
    rule = {"condition": AlertCondition.FAILURE, "threshold": None, "quiet_seconds": 3_600, "enabled": True}
    sealed = {"key_id": "lost", "sealed": "", "hint": "mailto", "after_seq": 0, "created_at": now, "changed_at": now}
    relay.begin_change(uow)
    alerts.create(uow, {**row, **rule, **sealed, "changed_by": SYSTEM.text})
    condition = AlertCondition.FAILURE
    groups.add(uow, [Hit(alert, published.project_id, condition, None, "f", published.flow_id, run_id, now)])
    notification = groups.new_notification(published.project_id, alert, now)
    ended = {"status": NotificationStatus.SENT, "due_at": None, "ended_at": now, "count": 1}
    notifications.create(uow, {**notification, **ended, "run_id": run_id, "flow_id": published.flow_id})
    return ids.encode(IdKind.ALERT, alert), ids.encode(IdKind.NOTIFICATION, notification["id"])


def _add_waiting(uow: UnitOfWork, published: PublishedFlow) -> tuple[UUID, UUID, UUID]:
    """Makes a QUEUED run, and a PAUSED one that waits for an answer to an input request."""
    queued, paused = factory.make_runs(uow, published, [{}, {"status": RunStatus.PAUSED, "due_at": None}])
    factory.make_steps(uow, paused, [{"kind": "humanInput", "status": StepStatus.PAUSED, "name": "ask"}])
    request = ids.new_uuid()
    asked = {"id": request, "run_id": paused, "position": 0, "step_name": "ask", "title": "Well?"}
    of_flow = {"project_id": published.project_id, "flow_id": published.flow_id}
    input_requests.create(uow, {**asked, **of_flow, "answer_schema": "{}", "created_at": clock.now()})
    return queued, paused, request


async def make_run_families(app: App, count: int) -> None:
    """Makes `count` families like that of `make_run_family`, each in a flow of its own."""
    project = ids.decode(IdKind.PROJECT, app.project)

    def work(uow: UnitOfWork) -> None:
        for number in range(count):
            _add_family(uow, factory.make_flow(uow, project, f"flow {number}"))

    await app.database.write(work)


async def make_flow(app: App, name: str = "flow", *, project: str | None = None) -> PublishedFlow:
    """Makes a published flow in a project, by default the first."""
    return await app.database.write(factory.make_flow, ids.decode(IdKind.PROJECT, project or app.project), name)


async def make_runs(app: App, published: PublishedFlow, *rows: Mapping[str, Any]) -> list[str]:
    """Inserts runs with these columns and returns their IDs, as clients see them."""
    return [encode_run_id(key) for key in await app.database.write(factory.make_runs, published, rows)]


def vars_of(published: PublishedFlow) -> tuple[UUID, UUID, UUID]:
    return published.project_id, published.flow_id, published.version_id


def _add_family(uow: UnitOfWork, published: PublishedFlow) -> list[UUID]:
    parent, failed, child, retry = family = [ids.new_uuid() for _ in range(4)]
    shared = {
        "tags": ["red", "blue"],
        "metadata": '{"order": 7}',
        "input": '{"name": "Ada"}',
        "external_id": "order-7",
        "source": "shop",
        "fail_parent_on_failure": True,
        "parent_run_id": parent,
        "root_run_id": parent,
    }
    failure = {
        "failed_step_name": "b",
        "error_code": "HTTP_STATUS",
        "error_message": "It answered 503",
        "error_fingerprint": "0123456789abcdef",
        "recovered_by_id": retry,
    }
    output = '{"greeting": "Hello"}'
    factory.make_runs(
        uow,
        published,
        [
            {"id": parent, "status": RunStatus.PAUSED},
            {"id": failed, "status": RunStatus.FAILED, **shared, **failure},
            {"id": child, "status": RunStatus.SUCCEEDED, "parent_run_id": failed, "root_run_id": parent},
            {
                "id": retry,
                "status": RunStatus.SUCCEEDED,
                **shared,
                "retry_of_id": failed,
                "attempt": 2,
                "output": output,
            },
        ],
    )
    done = {"input": '"in"', "output": '"out"', "display_name": "The first"}
    broken = {"status": StepStatus.FAILED, "input": '"in"', "error": ERROR, "kind": "http"}
    factory.make_steps(uow, failed, [done, broken])
    factory.make_steps(uow, retry, [{**done, "reused_from_id": failed}, {"kind": "http", "output": "1"}])
    for run, last in ((failed, RunStatus.FAILED), (retry, RunStatus.SUCCEEDED)):
        factory.make_events(uow, published, run, [RunStatus.QUEUED, RunStatus.RUNNING, last])
    return family
