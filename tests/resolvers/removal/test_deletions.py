"""Deletion of flows and projects: what is refused, what goes at once, what in the background, and what stays."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update
from sqlmodel import SQLModel

from db.models import FlowRun, FlowVersion, StartHold
from db.models.types import table
from db.removal.teardown import GRACE
from db.rollups import check, upkeep
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from engine.worker import maintenance
from tests.resolvers.access.test_audit import events
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow
from tests.support.run_family import RunFamily, make_run_family

_run = table(FlowRun).c

DELETE_FLOW = """mutation($id: ID!, $dryRun: Boolean!) { it: deleteFlow(flowId: $id, dryRun: $dryRun) { __typename
    ... on DeleteFlowSuccess { flow { enabled deletingSince } runs liveRuns flowVersions schedules webhooks } } }"""
DELETE_PROJECT = """mutation($id: ID!, $dryRun: Boolean!) { it: deleteProject(projectId: $id, dryRun: $dryRun) {
    __typename ... on DeleteProjectSuccess { project { name deletingSince } runs liveRuns flows flowVersions schedules
        webhooks endpoints alerts secrets apiKeys bulkOperations } } }"""
HOLD = "mutation($id: ID!) { it: holdFlow(flowId: $id) { __typename } other: holdProject { __typename } }"
ALIVE = "query($id: ID!) { flow(id: $id) { enabled deletingSince schedules { id } webhooks { id } } }"
REMAIN = {"audit_event", "run_event", "run_rollup", "run_rollup_delta"}
"""Tables whose rows outlive the project: the audit log; events, until they are pruned; counts, which are 0."""

DELETED = {"api_key", "bulk_operation", "flow", "flow_run", "flow_version", "input_request", "quota_use"} | {
    *("alert", "alert_group", "delivery", "endpoint", "notification", "retired_secret", "run_callback", "saved_view"),
    *("schedule", "secret", "start_hold", "webhook"),
}


async def delete(app: App, text: str, of: str, *, dry_run: bool = False, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await app.query(text, {"id": of, "dryRun": dry_run}, **more))["it"]
    return found


async def end_runs(app: App) -> None:
    """Ends all runs, as a cancellation would."""
    live = _run.status.in_([RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED])
    change = update(table(FlowRun)).where(live).values(status=RunStatus.STOPPED, due_at=None)
    await app.database.write(lambda uow: uow.conn.execute(change))


async def work(app: App, clock: FakeClock) -> None:
    """Deletes what can be deleted now."""
    await clock.drive(maintenance.delete_flows_and_projects(app.database))


def published(family: RunFamily) -> PublishedFlow:
    kinds = ((IdKind.PROJECT, family.project), (IdKind.FLOW, family.flow), (IdKind.FLOW_VERSION, family.version))
    return PublishedFlow(*(ids.decode(kind, text) for kind, text in kinds))


async def test_a_flow_with_live_runs_is_refused_and_stays_as_it_is(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    before = await idle_app.query(ALIVE, {"id": family.flow})
    assert (await delete(idle_app, DELETE_FLOW, family.flow))["__typename"] == "RunsNotFinal"
    assert (await delete(idle_app, DELETE_PROJECT, family.project))["__typename"] == "RunsNotFinal"
    planned = await delete(idle_app, DELETE_FLOW, family.flow, dry_run=True)
    alive = {"enabled": True, "deletingSince": None}
    contents = {"runs": 6, "liveRuns": 3, "flowVersions": 1, "schedules": 1, "webhooks": 1}
    assert planned == {"__typename": "DeleteFlowSuccess", "flow": alive, **contents}
    assert await idle_app.query(ALIVE, {"id": family.flow}) == before
    assert not await events(idle_app, actions=["DELETE_FLOW", "DELETE_PROJECT"])


async def test_a_flow_goes_with_its_runs_and_nothing_else(idle_app: App, fake_clock: FakeClock) -> None:
    fake_clock.watch(idle_app.database)
    family = await make_run_family(idle_app)
    await end_runs(idle_app)
    of_flow = published(family)

    def add(uow: Any) -> list[UUID]:
        other = factory.make_flow(uow, of_flow.project_id, "other")
        (parent,) = factory.make_runs(uow, other, [{"status": RunStatus.SUCCEEDED}])
        below = {"parent_run_id": parent, "root_run_id": parent, "depth": 1, "status": RunStatus.SUCCEEDED}
        factory.make_runs(uow, of_flow, [below])  # its parent keeps what it got from it
        (own,) = factory.make_runs(uow, of_flow, [{"status": RunStatus.FAILED}])
        below = {**below, "parent_run_id": own, "root_run_id": own}
        factory.make_runs(uow, other, [below])  # goes with its parent
        return [parent]

    kept = await idle_app.database.write(add)
    await idle_app.query(HOLD, {"id": family.flow})
    begun = await delete(idle_app, DELETE_FLOW, family.flow)
    assert begun.pop("flow").pop("deletingSince") is not None
    again = await delete(idle_app, DELETE_FLOW, family.flow)
    assert (again["__typename"], again["runs"], again["schedules"]) == ("DeleteFlowSuccess", 8, 0)
    (event,) = await events(idle_app, actions=["DELETE_FLOW"])
    assert event["details"]["deleted"] == {key: value for key, value in begun.items() if key != "__typename"}
    assert event["objectId"] == event["flowId"] == family.flow

    # Until its runs are gone it can be read, and nothing else.
    found = (await idle_app.query(ALIVE, {"id": family.flow}))["flow"]
    assert (found["enabled"], found["schedules"], found["webhooks"]) == (False, [], [])
    definition = '{steps: [{name: "a", kind: "transform", input: 1}]}'
    for text, expected in (
        (f'updateFlow(flowId: "{family.flow}", enabled: true)', "FlowNotFound"),
        (f'publishFlowVersion(flowId: "{family.flow}", definition: {definition})', "FlowNotFound"),
        (f'createSchedule(input: {{flowId: "{family.flow}", cron: "@daily"}})', "FlowNotFound"),
        (f'createWebhook(flowId: "{family.flow}", name: "new")', "FlowNotFound"),
        (f'startRun(input: {{flowId: "{family.flow}"}})', "FlowDisabled"),
        (f'retry(runId: "{family.failed}", strategy: FROM_FAILED_STEP, force: true)', "FlowDisabled"),
    ):
        assert (await idle_app.query(f"mutation {{ it: {text} {{ __typename }} }}"))["it"]["__typename"] == expected

    # A run whose request had read the flow before is stopped, and goes too.
    (late,) = await idle_app.database.write(lambda uow: [factory.create_run(uow, of_flow)])
    await work(idle_app, fake_clock)
    assert await idle_app.database.read(lambda conn: conn.execute(select(_run.id)).scalars().all()) == kept
    assert (await idle_app.query(ALIVE, {"id": family.flow}))["flow"] is not None
    fake_clock.block(GRACE.total_seconds())
    await work(idle_app, fake_clock)
    assert (await idle_app.query(ALIVE, {"id": family.flow}))["flow"] is None
    holds = select(table(StartHold).c.flow_id)
    assert await idle_app.database.read(lambda conn: conn.execute(holds).scalars().all()) == [None]
    versions = select(table(FlowVersion).c.flow_id)
    assert of_flow.flow_id not in await idle_app.database.read(lambda conn: conn.execute(versions).scalars().all())
    assert (await delete(idle_app, DELETE_FLOW, family.flow))["__typename"] == "FlowNotFound"
    assert await idle_app.database.read(check.differences) == []
    assert (await idle_app.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"] == 1
    assert late not in kept


def rows_of(conn: Connection, project_id: UUID) -> set[str]:
    """Returns the tables that have rows of a project."""
    found = set()
    for name, source in SQLModel.metadata.tables.items():
        column = source.c.get("project_id") if name != "project" else source.c.id
        if column is not None and conn.execute(select(column).where(column == project_id).limit(1)).first():
            found.add(name)
    return found


async def test_a_project_goes_with_all_that_belongs_to_it(idle_app: App, fake_clock: FakeClock) -> None:
    fake_clock.watch(idle_app.database)
    family = await make_run_family(idle_app)
    operator = idle_app.keys.all_projects
    foreign = await idle_app.create_flow(None, key=idle_app.keys.other_admin)
    await end_runs(idle_app)
    key = ids.decode(IdKind.PROJECT, family.project)
    period = {"project_id": key, "period": "DAY", "began_at": ids.created_at(key), "used": 1}
    await idle_app.database.write(lambda uow: uow.conn.execute(insert(SQLModel.metadata.tables["quota_use"]), period))
    plan = f'mutation {{ bulkArchive(filter: {{ids: ["{family.failed}"]}}, dryRun: true) {{ __typename }} }}'
    await idle_app.query(plan)
    await idle_app.query(HOLD, {"id": family.flow})
    planned = await delete(idle_app, DELETE_PROJECT, family.project, dry_run=True)
    expected = {"flows": 1, "schedules": 1, "webhooks": 1, "endpoints": 1, "alerts": 1, "secrets": 1}
    expected["bulkOperations"] = 2
    assert {name: planned[name] for name in expected} == expected
    of_others = (await delete(idle_app, DELETE_PROJECT, family.project, key=idle_app.keys.other_admin))["__typename"]
    assert of_others == "ProjectNotFound"

    begun = await delete(idle_app, DELETE_PROJECT, family.project)
    assert begun["project"]["deletingSince"] is not None
    assert await idle_app.error_code("{ viewer { role } }") == "UNAUTHENTICATED"
    assert (await delete(idle_app, DELETE_PROJECT, family.project, key=operator))["secrets"] == 0
    (event,) = await events(idle_app, key=operator, actions=["DELETE_PROJECT"])
    assert (event["objectId"], event["project"]) == (family.project, {"id": family.project})
    for text in ('createFlow(name: "new", projectId: $id)', 'createApiKey(name: "new", role: VIEWER, projectId: $id)'):
        refused = await idle_app.query(
            f"mutation($id: ID!) {{ it: {text} {{ __typename }} }}", {"id": family.project}, key=operator
        )
        assert refused["it"]["__typename"] == "ProjectNotFound"

    await work(idle_app, fake_clock)
    fake_clock.block(GRACE.total_seconds())
    await work(idle_app, fake_clock)
    await fake_clock.drive(maintenance.keep_counts(idle_app.database))
    await idle_app.database.write(upkeep.remove_empty)
    left = await idle_app.database.read(rows_of, key)
    assert left == {"audit_event", "run_event"}
    assert await idle_app.database.read(check.differences) == []
    (event,) = await events(idle_app, key=operator, actions=["DELETE_PROJECT"])
    assert (event["objectId"], event["project"]) == (family.project, None)
    assert (await idle_app.query("{ flows { nodes { id } } }", key=operator))["flows"]["nodes"] == [{"id": foreign}]
    assert (await delete(idle_app, DELETE_PROJECT, family.project, key=operator))["__typename"] == "ProjectNotFound"


def test_a_new_table_is_deleted_with_its_project_or_outlives_it() -> None:
    # Whoever adds a table deletes its rows in db/removal (the test above must have some), or names it in REMAIN.
    of_project = {name for name, source in SQLModel.metadata.tables.items() if "project_id" in source.c}
    assert of_project == DELETED | REMAIN


async def test_retention_is_checked_shown_and_counted(idle_app: App) -> None:
    set_to = "mutation($input: UpdateProjectInput!) { it: updateProject(input: $input) { __typename"
    set_to += " ... on UpdateProjectSuccess { project { runRetention { status days } archiveSucceededAfterDays } }"
    set_to += " ... on SettingsInvalid { problems { path } } } }"
    wrong = {"runRetention": [{"status": "QUEUED", "days": 1}, {"status": "FAILED", "days": 0}]}
    refused = (await idle_app.query(set_to, {"input": {**wrong, "archiveSucceededAfterDays": 0}}))["it"]
    assert sorted(problem["path"] for problem in refused["problems"]) == [
        "archiveSucceededAfterDays",
        "runRetention[0].status",
        "runRetention[1].days",
    ]
    rules = [{"status": "SUCCEEDED", "days": 30}, {"status": "FAILED", "days": 90}]
    for given, shown in ((rules, rules), ([], []), (rules, rules), (None, [])):
        changed = await idle_app.query(set_to, {"input": {"runRetention": given, "archiveSucceededAfterDays": 7}})
        assert changed["it"]["project"] == {"runRetention": shown, "archiveSucceededAfterDays": 7}
    event, *_ = await events(idle_app, actions=["UPDATE_PROJECT"], first=1)
    change = {"from": {"SUCCEEDED": 30, "FAILED": 90}, "to": {}}
    assert event["details"]["changes"]["runRetention"] == change
    ask = "query($rules: [RunRetentionInput!]) { viewer { project { expiredRuns(runRetention: $rules) {"
    ask += " toDelete { status count } toArchive } } } }"
    counted = (await idle_app.query(ask, {"rules": rules}))["viewer"]["project"]["expiredRuns"]
    none = [{"status": "SUCCEEDED", "count": 0}, {"status": "FAILED", "count": 0}]
    assert counted == {"toDelete": none, "toArchive": 0}
    assert await idle_app.error_code(ask, {"rules": [rules[0], rules[0]]}) == "INVALID_ARGUMENT"
