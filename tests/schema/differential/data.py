"""Data for generated queries: runs in every state, in two projects, with everything that refers to them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import update

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs.output import files, logs
from db.runs.output.logs import Line
from db.search import switch
from domain import ids
from domain.enums import Environment, RunStatus, StepStatus, TriggerMethod
from domain.ids import IdKind
from domain.runs.run_log import LogLevel
from domain.time import clock
from tests.support import factory
from tests.support.app import App
from tests.support.factory import PublishedFlow, encode_run_id
from tests.support.run_family import make_flow, make_run_family

HOSTILE = 'quote " backslash \\ slash / tab \t line \n bell \x07 del \x7f é ß 漢 😀 \u2028 \u2029 </script> %s {} ; --'
"""Text that is easily written wrong in JSON or SQL."""
DAMAGED_CURSORS = ("", "x", "AAAA", "not a cursor", "é")


async def make_data(app: App) -> dict[str, list[Any]]:
    """Makes the data, and returns known values of arguments and input fields, as `DocumentGenerator` takes them."""
    await app.database.write(switch.switch_on)
    own = await make_run_family(app)
    published = await make_flow(app, "second")
    foreign = await make_flow(app, "foreign", project=app.other_project)
    runs = await app.database.write(_make_runs, published)
    foreign_runs = await app.database.write(factory.make_runs, foreign, [{}, {"status": RunStatus.SUCCEEDED}])
    for key in runs[:3]:
        await app.database.write(logs.append, key, [_line(number) for number in range(1, 8)], 100)
        await app.database.write(files.create, [_file(key, name) for name in ("one.txt", HOSTILE)])
    await app.database.write(_purge, runs[3])

    run_ids = [own.parent, own.failed, own.child, own.retry, own.queued, own.paused]
    run_ids += [encode_run_id(key) for key in (*runs, *foreign_runs)]
    run_ids.append(encode_run_id(ids.new_uuid()))
    flows = [own.flow, *[ids.encode(IdKind.FLOW, each.flow_id) for each in (published, foreign)]]
    versions = [own.version, *[ids.encode(IdKind.FLOW_VERSION, each.version_id) for each in (published, foreign)]]
    projects = [app.project, app.other_project]
    around = [*flows, *versions, *projects, own.schedule, own.webhook, own.bulk, own.request]
    malformed = ["", "run_", "run_x", "\u0000", f"run_{'0' * 31}A"]
    instants = [(clock.now() + timedelta(hours=hours)).isoformat() for hours in (-2, -1, 0, 1)]
    return {
        "flowRun.id": [*run_ids * 3, *malformed],
        "flow.id": [*flows * 5, *malformed],
        "bulkOperation.id": [*[own.bulk] * 9, *malformed],
        "node.id": [*run_ids, *around, *around, *malformed[:2]],
        "nodes.ids": [*run_ids * 2, *around * 2, malformed[2]],
        "ID": [*run_ids, *around, *malformed],
        "FlowRunFilter.ids": run_ids,
        "FlowRunFilter.projectIds": projects,
        "FlowRunFilter.flowIds": flows,
        "FlowRunFilter.flowVersionIds": versions,
        "FlowRunFilter.parentRunId": run_ids,
        "FlowRunFilter.retryOfId": run_ids,
        "FlowRunFilter.rerunOfId": run_ids,
        "FlowRunFilter.rootRunId": run_ids,
        "FlowFilter.projectIds": projects,
        "tags": ["red", "blue", HOSTILE, "unknown"],
        "anyTags": ["red", "blue", HOSTILE, "unknown"],
        "metadata": [{"order": 7}, {}, {"deep": {"list": [1]}}, {"text": HOSTILE}, {"no": None}],
        "failedStepName": ["b", "unknown"],
        "errorContains": ["answered", "ANSWERED", "%", "unknown", HOSTILE],
        "externalIds": ["order-7", HOSTILE, "unknown"],
        "first": [*[1, 2, 3, 5, 10, 20] * 5, 1000, 0, -1, 1001],
        "last": [*[1, 2, 3, 10] * 5, -1, 1001],
        "after": [*await _cursors(app), *DAMAGED_CURSORS[:2]],
        "before": [*await _cursors(app), *DAMAGED_CURSORS],
        "limit": [1, 2, 10_000, 0],
        "name": ["a", "b", "ask", "unknown", "", HOSTILE],
        "stepName": ["a", "b", "unknown"],
        "search": ["Line", "line 3", "%", HOSTILE],
        "timeZone": ["UTC", "Europe/Berlin", "Asia/Kolkata", "Nowhere"],
        "String": ["a", "red", HOSTILE, ""],
        "Int": [0, 1, 2, 5, -1, 2_147_483_647],
        "BigInt": [*[0, 1, 1_000] * 9, -1, "1000", 2**53],
        "Float": [0, 0.5, 1.0],
        "Boolean": [True, False],
        "DateTime": [*instants * 9, "2026-01-01T00:00:00Z", "yesterday"],
        "JSON": [{}, {"a": 1}, [], "text", None],
    }


async def _cursors(app: App) -> list[str]:
    """Returns cursors of several orders and connections."""
    found: list[str] = []
    orders = ("CREATED_AT", "STARTED_AT", "FINISHED_AT", "DURATION")
    for order in orders:
        page = f"{{ flowRuns(first: 20, orderBy: {{field: {order}}}) {{ edges {{ cursor }} }} }}"
        edges = (await app.query(page))["flowRuns"]["edges"]
        found += [edge["cursor"] for edge in edges[::4]]
    for text in ("flows", "bulkOperations"):
        edges = (await app.query(f"{{ {text} {{ edges {{ cursor }} }} }}"))[text]["edges"]
        found += [edge["cursor"] for edge in edges[:2]]
    return found


def _make_runs(uow: UnitOfWork, published: PublishedFlow) -> list[UUID]:
    """Makes runs of every status, some archived, with values that are easily written wrong."""
    now = clock.now()
    hostile = {
        "tags": [HOSTILE, "red"],
        "metadata": json_text({"text": HOSTILE, "deep": {"list": [1, 2.5, None, True]}}),
        "input": json_text({"text": HOSTILE, "big": 2**60, "float": 1e300}),
        "external_id": HOSTILE,
        "source": HOSTILE,
    }
    failure = {
        "failed_step_name": "b",
        "error_code": "HTTP_STATUS",
        "error_message": HOSTILE,
        "error_fingerprint": "fedcba9876543210",
    }
    rows: list[dict[str, Any]] = [
        {"status": RunStatus.SUCCEEDED, **hostile, "output": json_text([HOSTILE])},
        {"status": RunStatus.FAILED, **failure, "environment": Environment.TESTING},
        {"status": RunStatus.RUNNING, "started_at": now - timedelta(seconds=1.5)},
        {"status": RunStatus.FAILED, **failure, "started_at": now - timedelta(microseconds=1)},
        {"status": RunStatus.SUCCEEDED, "archived_at": now, "trigger_method": TriggerMethod.WEBHOOK},
        {"status": RunStatus.FAILED, "archived_at": now - timedelta(microseconds=120_000), **failure},
    ]
    rows += [{"status": status} for status in RunStatus]
    keys = factory.make_runs(uow, published, rows)
    nested = {"parent_run_id": keys[0], "root_run_id": keys[0]}
    factory.make_runs(uow, published, [{"status": RunStatus.SUCCEEDED, **nested} for _ in range(4)])
    factory.make_runs(uow, published, [{"status": RunStatus.FAILED, "retry_of_id": keys[1], "attempt": 2}])
    factory.make_runs(uow, published, [{"status": RunStatus.SUCCEEDED, "rerun_of_id": keys[0]}])
    step = {"input": json_text(HOSTILE), "output": json_text({"text": HOSTILE}), "display_name": HOSTILE}
    failed = {
        "status": StepStatus.FAILED,
        "kind": "http",
        "error": json_text({"code": "X", "message": HOSTILE, "details": {"body": HOSTILE}}),
    }
    live = {"status": StepStatus.RUNNING, "finished_at": None, "duration_ms": None}
    factory.make_steps_of_runs(
        uow, {keys[0]: [step, step], keys[1]: [step, failed], keys[2]: [step, live], keys[3]: [step]}
    )
    factory.make_events(uow, published, keys[0], [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED])
    return keys


def json_text(value: Any) -> str:
    """Returns `value` as JSON text, as the service stores it."""
    return orjson.dumps(value).decode()


def _purge(uow: UnitOfWork, run_id: UUID) -> None:
    """Marks the step data of a run as purged."""
    runs = table(FlowRun)
    uow.conn.execute(update(runs).where(runs.c.id == run_id).values(steps_purged_at=clock.now()))


def _line(number: int) -> Line:
    return Line(clock.now(), list(LogLevel)[number % 4], "ab"[number % 2], 1, f"Line {number} {HOSTILE}")


def _file(run_id: UUID, name: str) -> dict[str, Any]:
    key = ids.new_uuid()
    columns = {"name": name, "size": 2**40, "media_type": "text/plain", "step_name": "a", "attempt": 1, "key": key.hex}
    return {"id": key, "run_id": run_id, "created_at": clock.now(), **columns}
