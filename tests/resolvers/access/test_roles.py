"""Tests of roles, and of the isolation of projects."""

import pytest

from domain.enums import Role
from tests.support.app import App
from tests.support.run_family import RunFamily, make_run_family

DEFINITION = '{{steps: [{{name: "a", kind: "transform", input: 1}}]}}'
MUTATIONS = {
    "createFlow": (Role.ADMIN, f'createFlow(name: "new", definition: {DEFINITION})'),
    "updateFlow": (Role.ADMIN, 'updateFlow(flowId: "{flow}", name: "renamed")'),
    "updateProject": (Role.ADMIN, "updateProject(input: {{retentionDays: 9}})"),
    "holdFlow": (Role.OPERATOR, 'holdFlow(flowId: "{flow}", reason: "a broken target")'),
    "releaseFlow": (Role.OPERATOR, 'releaseFlow(flowId: "{flow}")'),
    "holdProject": (Role.OPERATOR, 'holdProject(reason: "maintenance")'),
    "releaseProject": (Role.OPERATOR, "releaseProject"),
    "deleteFlow": (Role.ADMIN, 'deleteFlow(flowId: "{flow}")'),
    "deleteProject": (Role.ADMIN, 'deleteProject(projectId: "{project}")'),
    "publishFlowVersion": (Role.ADMIN, f'publishFlowVersion(flowId: "{{flow}}", definition: {DEFINITION})'),
    "startRun": (Role.OPERATOR, 'startRun(input: {{flowId: "{flow}"}})'),
    "retry": (Role.OPERATOR, 'retry(runId: "{failed}", strategy: FROM_FAILED_STEP, force: true)'),
    "rerun": (Role.OPERATOR, 'rerun(runId: "{failed}", force: true)'),
    "completeStep": (Role.OPERATOR, 'completeStep(runId: "{failed}", stepName: "b", skip: true, force: true)'),
    "cancel": (Role.OPERATOR, 'cancel(runId: "{queued}")'),
    "resumeRun": (Role.OPERATOR, 'resumeRun(runId: "{paused}", requestId: "{request}", response: 1)'),
    "updateRun": (Role.OPERATOR, 'updateRun(runId: "{failed}", note: "Known")'),
    "createSchedule": (Role.ADMIN, 'createSchedule(input: {{flowId: "{flow}", cron: "@daily"}})'),
    "updateSchedule": (Role.ADMIN, 'updateSchedule(input: {{id: "{schedule}"}})'),
    "deleteSchedule": (Role.ADMIN, 'deleteSchedule(id: "{schedule}")'),
    "createWebhook": (Role.ADMIN, 'createWebhook(flowId: "{flow}", name: "new")'),
    "updateWebhook": (Role.ADMIN, 'updateWebhook(id: "{webhook}", callsPerMinute: 10)'),
    "rotateWebhook": (Role.ADMIN, 'rotateWebhook(id: "{webhook}")'),
    "deleteWebhook": (Role.ADMIN, 'deleteWebhook(id: "{webhook}")'),
    "createAnswerLink": (Role.OPERATOR, 'createAnswerLink(requestId: "{request}")'),
    "createSavedView": (Role.OPERATOR, 'createSavedView(name: "new", filter: {{statuses: [FAILED]}})'),
    "updateSavedView": (Role.OPERATOR, 'updateSavedView(id: "{view}", name: "renamed")'),
    "deleteSavedView": (Role.OPERATOR, 'deleteSavedView(id: "{view}")'),
    "createEndpoint": (Role.ADMIN, 'createEndpoint(input: {{name: "new", url: "https://example.com/"}})'),
    "updateEndpoint": (Role.ADMIN, 'updateEndpoint(input: {{id: "{endpoint}", name: "renamed"}})'),
    "rotateEndpointSecret": (Role.ADMIN, 'rotateEndpointSecret(id: "{endpoint}")'),
    "deleteEndpoint": (Role.ADMIN, 'deleteEndpoint(id: "{endpoint}")'),
    "testEndpoint": (Role.ADMIN, 'testEndpoint(id: "{endpoint}")'),
    "redeliver": (Role.ADMIN, 'redeliver(id: "{delivery}")'),
    "redeliverAll": (Role.ADMIN, 'redeliverAll(endpointId: "{endpoint}")'),
    "createAlert": (Role.ADMIN, 'createAlert(input: {{name: "new", target: "mailto:ops@example.com"}})'),
    "updateAlert": (Role.ADMIN, 'updateAlert(input: {{id: "{alert}", name: "renamed"}})'),
    "testAlert": (Role.ADMIN, 'testAlert(id: "{alert}")'),
    "deleteAlert": (Role.ADMIN, 'deleteAlert(id: "{alert}")'),
    "createSecret": (Role.ADMIN, 'createSecret(name: "NEW", value: "a new value")'),
    "rotateSecret": (Role.ADMIN, 'rotateSecret(id: "{secret}", value: "another value")'),
    "deleteSecret": (Role.ADMIN, 'deleteSecret(id: "{secret}")'),
    "bulkCancel": (Role.OPERATOR, 'bulkCancel(filter: {{ids: ["{queued}"]}})'),
    "bulkRetry": (Role.OPERATOR, 'bulkRetry(filter: {{ids: ["{failed}"]}}, strategy: FROM_FAILED_STEP)'),
    "bulkArchive": (Role.OPERATOR, 'bulkArchive(filter: {{ids: ["{failed}"]}})'),
    "bulkUnarchive": (Role.OPERATOR, 'bulkUnarchive(filter: {{ids: ["{failed}"]}})'),
    "bulkErase": (Role.ADMIN, 'bulkErase(filter: {{ids: ["{failed}"]}})'),
    "bulkDelete": (Role.ADMIN, 'bulkDelete(filter: {{ids: ["{failed}"]}})'),
    "createApiKey": (Role.ADMIN, 'createApiKey(name: "ci", role: VIEWER)'),
    "updateApiKey": (Role.ADMIN, 'updateApiKey(id: "{key}", costPerMinute: 1000)'),
    "rotateApiKey": (Role.ADMIN, 'rotateApiKey(id: "{key}")'),
    "revokeApiKey": (Role.ADMIN, 'revokeApiKey(id: "{key}")'),
    "createAccessToken": (Role.OPERATOR, 'createAccessToken(filter: {{tags: ["red"]}})'),
    "revokeAccessToken": (Role.OPERATOR, 'revokeAccessToken(token: "{token}")'),
    "cancelBulkOperation": (Role.OPERATOR, 'cancelBulkOperation(id: "{bulk}")'),
}


def mutation(name: str, family: RunFamily) -> str:
    return f"mutation {{ {MUTATIONS[name][1].format(**family.variables)} {{ __typename }} }}"


ONLY_ONCE = {
    "deleteFlow",
    "deleteProject",
    "cancel",
    "resumeRun",
    "deleteSchedule",
    "deleteWebhook",
    "deleteSecret",
    "deleteSavedView",
    "deleteEndpoint",
    "deleteAlert",
    "redeliver",
    "cancelBulkOperation",
    "revokeApiKey",
    "revokeAccessToken",
}
"""Mutations that cannot succeed twice, or not while runs are live; the tests of their behaviour cover their roles."""


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - ONLY_ONCE))
async def test_mutation_requires_its_role_or_higher(idle_app: App, name: str) -> None:
    family = await make_run_family(idle_app)
    for role in Role:
        body = await idle_app.execute(mutation(name, family), key=getattr(idle_app.keys, role.lower()))
        if role.includes(MUTATIONS[name][0]):
            assert body["data"][name]["__typename"].endswith("Success")
        else:
            (error,) = body["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert error["path"] == [name]
            assert role in error["message"]


async def test_table_lists_every_mutation(idle_app: App) -> None:
    found = await idle_app.query('{ __type(name: "Mutation") { fields { name description } } }')
    fields = {field["name"]: field["description"] for field in found["__type"]["fields"]}
    assert set(fields) == set(MUTATIONS)
    for name, description in fields.items():
        assert description.endswith(f"Requires the role {MUTATIONS[name][0]}.")


async def test_refused_mutation_changes_nothing(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    text = "{ flows { nodes { name updatedAt } } flowRuns { totalCount } }"
    before = await idle_app.query(text)
    for name in MUTATIONS:
        await idle_app.execute(mutation(name, family), key=idle_app.keys.viewer)
    assert await idle_app.query(text) == before


async def test_refused_field_does_not_stop_other_fields(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    start = f'startRun(input: {{flowId: "{family.flow}"}}) {{ __typename }}'
    text = f'mutation {{ {start} createFlow(name: "x") {{ __typename }} }}'
    body = await idle_app.execute(text, key=idle_app.keys.operator)
    # The root's fields are not nullable, so the whole answer is null; completed mutations stay committed.
    assert [error["path"] for error in body["errors"]] == [["createFlow"]]
    assert (await idle_app.query("{ flowRuns(filter: {statuses: QUEUED}) { totalCount } }"))["flowRuns"] == {
        "totalCount": 2
    }


READS = ['flowRun(id: "{failed}")', 'flow(id: "{flow}")', 'node(id: "{project}")', 'node(id: "{version}")']
FILTERS = [
    'projectIds: ["{project}"]',
    'ids: ["{failed}"]',
    'flowIds: ["{flow}"]',
    'flowVersionIds: ["{version}"]',
    'parentRunId: "{parent}"',
    'retryOfId: "{failed}"',
]


async def test_queries_treat_foreign_ids_as_unknown(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    for read in READS:
        text = f"{{ {read.format(**family.variables)} {{ id }} }}"
        (own,) = (await idle_app.query(text)).values()
        (foreign,) = (await idle_app.query(text, key=idle_app.keys.other_admin)).values()
        assert own is not None
        assert foreign is None


async def test_filters_by_foreign_ids_match_no_runs(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    for template in FILTERS:
        condition = template.format(**family.variables)
        text = f"{{ flowRuns(filter: {{{condition}}}) {{ nodes {{ id }} totalCount }} }}"
        own = (await idle_app.query(text))["flowRuns"]
        foreign = (await idle_app.query(text, key=idle_app.keys.other_viewer))["flowRuns"]
        assert own["totalCount"] == len(own["nodes"]) > 0
        assert foreign == {"nodes": [], "totalCount": 0}
        assert (await idle_app.query(text, key=idle_app.keys.all_projects))["flowRuns"] == own


async def test_mutations_treat_foreign_ids_as_unknown(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    unknown = RunFamily(**{name: f"{text.partition('_')[0]}_{'0' * 32}" for name, text in family.variables.items()})
    for name in ("updateFlow", "deleteFlow", "deleteProject", "publishFlowVersion", "startRun", "retry"):
        foreign = await idle_app.query(mutation(name, family), key=idle_app.keys.other_admin)
        assert foreign == await idle_app.query(mutation(name, unknown), key=idle_app.keys.other_admin)
        assert foreign[name]["__typename"] in ("FlowNotFound", "RunNotFound", "ProjectNotFound")


async def test_operator_key_acts_in_every_project(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    foreign = await idle_app.create_flow(None, key=idle_app.keys.other_admin)
    text = "mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }"
    for flow in (family.flow, foreign):
        found = await idle_app.query(text, {"id": flow}, key=idle_app.keys.all_projects)
        assert found["updateFlow"]["__typename"] == "UpdateFlowSuccess"


async def test_lists_show_own_project_and_all_to_operator_key(idle_app: App) -> None:
    await make_run_family(idle_app)
    text = "{ flowRuns { totalCount } flows { totalCount } }"
    assert await idle_app.query(text) == {"flowRuns": {"totalCount": 6}, "flows": {"totalCount": 1}}
    nothing = {"flowRuns": {"totalCount": 0}, "flows": {"totalCount": 0}}
    assert await idle_app.query(text, key=idle_app.keys.other_admin) == nothing
    assert await idle_app.query(text, key=idle_app.keys.all_projects) == await idle_app.query(text)
