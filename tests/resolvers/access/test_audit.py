"""The audit log: every mutation leaves an event, and only ADMINs of its project read it."""

from datetime import timedelta
from typing import Any

from domain.audit import BY_SERVICE, AuditAction
from tests.resolvers.access.test_roles import MUTATIONS, ONLY_ONCE
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import RunFamily, make_run_family

EVENTS = """query($filter: AuditEventFilter, $first: Int, $after: String) {
    auditEvents(filter: $filter, first: $first, after: $after) {
        totalCount pageInfo { hasNextPage endCursor }
        nodes { id action actor { kind id name } objectId flowId project { id } requestId details createdAt } } }"""
OBJECTS = {
    "createFlow": "flow",
    "updateFlow": "flow",
    "deleteFlow": "flow",
    "deleteProject": "proj",
    "publishFlowVersion": "ver",
    "updateProject": "proj",
    "holdFlow": "flow",
    "releaseFlow": "flow",
    "holdProject": "proj",
    "releaseProject": "proj",
    "startRun": "run",
    "retry": "run",
    "rerun": "run",
    "completeStep": "run",
    "cancel": "run",
    "resumeRun": "run",
    "updateRun": "run",
    "createSchedule": "sched",
    "updateSchedule": "sched",
    "deleteSchedule": "sched",
    "createWebhook": "hook",
    "updateWebhook": "hook",
    "rotateWebhook": "hook",
    "deleteWebhook": "hook",
    "createAnswerLink": "link",
    "createSavedView": "view",
    "updateSavedView": "view",
    "deleteSavedView": "view",
    "createEndpoint": "ep",
    "updateEndpoint": "ep",
    "rotateEndpointSecret": "ep",
    "testEndpoint": "ep",
    "redeliver": "msg",
    "redeliverAll": "ep",
    "deleteEndpoint": "ep",
    "createAlert": "alert",
    "updateAlert": "alert",
    "testAlert": "alert",
    "deleteAlert": "alert",
    "createSecret": "secret",
    "rotateSecret": "secret",
    "deleteSecret": "secret",
    "bulkCancel": "bulk",
    "bulkRetry": "bulk",
    "bulkArchive": "bulk",
    "bulkUnarchive": "bulk",
    "bulkErase": "bulk",
    "bulkDelete": "bulk",
    "cancelBulkOperation": "bulk",
    "createApiKey": "key",
    "updateApiKey": "key",
    "rotateApiKey": "key",
    "revokeApiKey": "key",
    "createAccessToken": "token",
    "revokeAccessToken": "token",
}
"""The kind of object of each mutation's audit event."""


def action_of(mutation: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in mutation)


async def events(app: App, key: str | None = None, first: int = 100, **filter_: Any) -> list[dict[str, Any]]:
    found = await app.query(EVENTS, {"filter": filter_, "first": first}, key=key)
    nodes: list[dict[str, Any]] = found["auditEvents"]["nodes"]
    return nodes


async def run_mutation(app: App, name: str, family: RunFamily, **more: Any) -> str:
    text = f"mutation {{ result: {MUTATIONS[name][1].format(**family.variables)} {{ __typename }} }}"
    typename: str = (await app.query(text, **more))["result"]["__typename"]
    return typename


async def plan(app: App, family: RunFamily) -> str:
    """Makes a plan, which can be cancelled."""
    text = f"""mutation {{ it: bulkArchive(filter: {{ids: ["{family.failed}"]}}, dryRun: true) {{
        ... on BulkOperationSuccess {{ operation {{ id }} }} }} }}"""
    made: str = (await app.query(text))["it"]["operation"]["id"]
    return made


async def test_every_mutation_of_the_schema_has_an_action(idle_app: App) -> None:
    found = await idle_app.query('{ __type(name: "Mutation") { fields { name } } }')
    names = {field["name"] for field in found["__type"]["fields"]}
    assert names == set(OBJECTS)
    of_mutations = set(AuditAction) - BY_SERVICE - {AuditAction.SIGN_IN, AuditAction.SIGN_OUT}
    commands = {AuditAction.DRAIN, AuditAction.UNDRAIN}
    assert {action_of(name) for name in names} | commands == of_mutations


async def test_every_mutation_leaves_one_event_unless_it_is_refused(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    family = RunFamily(**{**family.variables, "bulk": await plan(idle_app, family)})
    # Mutations that end objects of others come last, mutations that need a fresh object first.
    # The deletion of the project ends the key that the test uses: tests/resolvers/removal tests its event.
    for name in sorted(
        OBJECTS.keys() - {"deleteProject"},
        key=lambda each: (each.startswith(("delete", "revoke")), each not in {*ONLY_ONCE, "createAnswerLink"}, each),
    ):
        if name == "deleteFlow":
            family = RunFamily(**{**family.variables, "flow": await idle_app.create_flow(None, "unused")})
        before = await events(idle_app, first=1)
        text = f"mutation {{ {MUTATIONS[name][1].format(**family.variables)} {{ __typename }} }}"
        assert await idle_app.error_code(text, key=idle_app.keys.viewer) == "FORBIDDEN"
        assert await events(idle_app, first=1) == before
        assert (await run_mutation(idle_app, name, family, headers={"x-request-id": "r-1"})).endswith("Success")
        event, *earlier = await events(idle_app, first=2)
        assert earlier == before, name
        assert event["action"] == action_of(name)
        assert event["objectId"].partition("_")[0] == OBJECTS[name]
        assert event["project"] == {"id": idle_app.project}
        assert event["requestId"] == "r-1"
        assert (event["actor"]["kind"], event["actor"]["name"]) == ("API_KEY", "admin for tests")
        assert event["actor"]["id"].startswith("key_")
        assert await events(idle_app, objectIds=[event["objectId"]], actions=[event["action"]]) == [event]


async def test_request_without_an_effect_leaves_no_event(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    again = f'mutation {{ startRun(input: {{flowId: "{family.flow}", idempotencyKey: "k"}}) {{ __typename }} }}'
    await idle_app.query(again)
    before = await events(idle_app)
    await idle_app.query(again)
    await plan(idle_app, family)
    assert await run_mutation(idle_app, "cancel", RunFamily(**{**family.variables, "queued": family.failed})) == (
        "RunNotCancellable"
    )
    assert await events(idle_app) == before


async def test_details_have_the_changes_without_secrets(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    await idle_app.query(
        """mutation($flow: ID!, $schedule: ID!) {
            a: updateFlow(flowId: $flow, name: "renamed", maxConcurrentRuns: 3) { __typename }
            b: updateSchedule(input: {id: $schedule, cron: "@hourly", input: {token: "SECRET"}}) { __typename }
            c: createWebhook(flowId: $flow, name: "n", signatureHeader: "x-s", signatureSecret: "SECRET") { __typename }
            d: updateSchedule(input: {id: $schedule, cancelBacklog: true}) { __typename }
        }""",
        {"flow": family.flow, "schedule": family.schedule},
    )
    created = await idle_app.query(
        'mutation { it: createApiKey(name: "ci", role: VIEWER) { ... on CreateApiKeySuccess { secret } } }'
    )
    key, backlog, webhook, schedule, flow = await events(idle_app, first=5)
    assert flow["details"]["changes"] == {
        "name": {"from": "flow", "to": "renamed"},
        "maxConcurrentRuns": {"from": None, "to": 3},
    }
    assert schedule["details"]["changes"] == {"cron": {"from": "@daily", "to": "@hourly"}, "input": {}}
    assert backlog["details"] == {"changes": {}, "cancelledRuns": 0}
    assert webhook["details"] == {"name": "n", "signatureHeader": "x-s"}
    assert key["details"]["role"] == "VIEWER"
    everything = str(await events(idle_app, key=idle_app.keys.all_projects))
    assert "SECRET" not in everything
    assert created["it"]["secret"] not in everything


async def test_filters_of_events(fake_clock: FakeClock, idle_app: App) -> None:
    family = await make_run_family(idle_app)
    await fake_clock.advance(60)
    start = fake_clock.now()
    for name in ("updateFlow", "createSchedule", "startRun"):
        await run_mutation(idle_app, name, family)
        await fake_clock.advance(60)
    run, schedule, flow = await events(idle_app, createdAfter=start.isoformat())
    assert [event["action"] for event in (run, schedule, flow)] == ["START_RUN", "CREATE_SCHEDULE", "UPDATE_FLOW"]
    assert await events(idle_app, createdAfter=start.isoformat(), actions=["START_RUN", "UPDATE_FLOW"]) == [run, flow]
    assert await events(idle_app, objectIds=[family.flow]) == [schedule, flow]
    assert await events(idle_app, objectIds=[run["objectId"]]) == [run]
    assert await events(idle_app, requestIds=[schedule["requestId"]]) == [schedule]
    after, before = ((start + timedelta(seconds=seconds)).isoformat() for seconds in (30, 90))
    assert await events(idle_app, createdAfter=after, createdBefore=before) == [schedule]
    assert run in await events(idle_app, actorIds=[run["actor"]["id"]])
    assert await events(idle_app, actorIds=[family.key]) == []
    assert await events(idle_app, actions=[]) == []
    page = (await idle_app.query(EVENTS, {"filter": {}, "first": 1}))["auditEvents"]
    assert page["nodes"] == [run]
    cursor = page["pageInfo"]["endCursor"]
    assert (await idle_app.query(EVENTS, {"first": 1, "after": cursor}))["auditEvents"]["nodes"] == [schedule]


async def test_events_are_read_by_admins_of_their_project(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    await run_mutation(idle_app, "updateFlow", family)
    for key in (idle_app.keys.viewer, idle_app.keys.operator):
        assert await idle_app.error_code(EVENTS, key=key) == "FORBIDDEN"
    assert [event["action"] for event in await events(idle_app, first=1)] == ["UPDATE_FLOW"]
    assert await events(idle_app, objectIds=[family.flow], key=idle_app.keys.other_admin) == []
    assert await events(idle_app, projectIds=[idle_app.project], key=idle_app.keys.other_admin) == []
    found = await events(idle_app, objectIds=[family.flow], key=idle_app.keys.all_projects)
    assert [event["action"] for event in found] == ["UPDATE_FLOW"]
