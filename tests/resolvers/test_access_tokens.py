"""Access tokens see the runs of their filter, and nothing else, on both ways of reading."""

from typing import Any

import pytest

from domain.runs.run_filter import FILTER_FIELDS
from schema.inputs.filters import _name
from tests.schema.test_fields import WAYS
from tests.support import factory
from tests.support.app import App, run_app
from tests.support.factory import encode_run_id
from tests.support.run_family import RunFamily, make_flow, make_run_family

CREATE = """mutation($filter: FlowRunFilter!, $payloads: Boolean! = false, $for: String! = "PT5M") {
    it: createAccessToken(filter: $filter, payloads: $payloads, expiresIn: $for) {
        ... on CreateAccessTokenSuccess { id token expiresAt } ... on UserError { code } } }"""
REVOKE = "mutation($token: String!) { it: revokeAccessToken(token: $token) { __typename } }"
IDS = "{ flowRuns(filter: {archived: INCLUDE}) { totalCount nodes { id } } }"
SCOPES: list[dict[str, Any]] = [
    {"metadata": {"customer": "mine"}},
    {"metadataConditions": [{"path": "customer", "equals": "mine"}]},
    {"tags": ["mine"]},
    {"not": {"not": {"anyTags": ["mine"]}}},
    {"or": [{"tags": ["mine"]}, {"externalIds": ["mine"]}]},
]


@pytest.fixture(params=[True, False], ids=["compiled", "general"])
async def either_app(request: pytest.FixtureRequest, database_url: str) -> Any:
    async with run_app(database_url, with_worker=False, compiled_reads=request.param) as running:
        yield running


async def token_for(app: App, scope: dict[str, Any], **more: Any) -> str:
    token: str = (await app.query(CREATE, {"filter": scope, **more}))["it"]["token"]
    return token


async def make_mine(app: App) -> str:
    """Makes one run that the scopes find."""
    published = await make_flow(app, "own")
    rows = [{"tags": ["mine"], "metadata": '{"customer": "mine"}', "external_id": "mine", "status": "SUCCEEDED"}]
    (key,) = await app.database.write(factory.make_runs, published, rows)
    return encode_run_id(key)


def filters_of(other: RunFamily) -> list[dict[str, Any]]:
    """For each field of the filter, one that finds runs of others, or all."""
    values: dict[str, Any] = {
        "ids": [other.failed], "flowIds": [other.flow], "flowVersionIds": [other.version],
        "projectIds": [other.project], "statuses": ["FAILED"], "environments": ["PRODUCTION"],
        "triggerMethods": ["API", "RETRY"], "tags": ["red"], "anyTags": ["red"], "externalIds": ["order-7"],
        "sources": ["shop"], "scheduleIds": [other.schedule], "webhookIds": [other.webhook],
        "metadata": {"order": 7}, "metadataConditions": [{"path": "order", "equals": 7}],
        "failedStepName": "b", "errorContains": "answered", "errorFingerprint": "x",
        "parentRunId": other.parent, "rootRunId": other.parent, "rootsOnly": True, "retryOfId": other.failed,
        "rerunOfId": other.failed,
        "unrecovered": True, "archived": "INCLUDE", "minDurationMs": 0, "maxDurationMs": 10**12,
        "not": {"tags": ["mine"]}, "or": [{"tags": ["red"]}, {"tags": ["mine"]}],
    }  # fmt: skip
    for name in FILTER_FIELDS:
        shown = _name(name)
        if shown.endswith(("After", "Before")):
            values[shown] = "2000-01-01T00:00:00Z" if shown.endswith("After") else "2100-01-01T00:00:00Z"
        elif shown.endswith("Within"):
            values[shown] = "P1Y"
    assert values.keys() == {_name(name) for name in FILTER_FIELDS}
    return [{name: value} for name, value in values.items()]


async def test_no_argument_reaches_a_run_outside(either_app: App) -> None:
    other, mine = await make_run_family(either_app), await make_mine(either_app)
    for scope in SCOPES:
        token = await token_for(either_app, scope)
        found = (await either_app.query(IDS, key=token))["flowRuns"]
        assert (found["totalCount"], [node["id"] for node in found["nodes"]]) == (1, [mine]), scope
        for where in filters_of(other):
            text = """query($where: FlowRunFilter) {
                flowRuns(filter: $where) { totalCount nodes { id } } flowRunStats(filter: $where) { total } }"""
            read = await either_app.query(text, {"where": where}, key=token)
            nodes = [node["id"] for node in read["flowRuns"]["nodes"]]
            assert nodes in ([], [mine]), (scope, where)
            assert read["flowRuns"]["totalCount"] == read["flowRunStats"]["total"] == len(nodes), (scope, where)


async def test_no_field_reaches_an_object_outside(either_app: App) -> None:
    other = await make_run_family(either_app)
    mine = await make_mine(either_app)
    token = await token_for(either_app, SCOPES[0], payloads=True)
    secrets = [value for name, value in other.variables.items() if name != "project"]
    names = " ".join(f"${name}: ID" for name in other.variables)
    for ways in WAYS.values():
        for way in ways:
            used = [name for name in other.variables if f"${name}" in way]
            declared = f"({' '.join(f'${name}: ID!' for name in used)})" if used else ""
            text = f"query{declared} {{ {way.replace('%s', '__typename')} }}"
            body = await either_app.execute(text, {name: other.variables[name] for name in used}, key=token)
            if "errors" in body:
                assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN", (text, body)
            else:
                assert not any(secret in str(body["data"]) for secret in secrets), text
                assert body["data"].get("flowRun") is None, text
    assert names
    assert (await either_app.query(f'{{ flowRun(id: "{mine}") {{ id flow {{ name }} }} }}', key=token))["flowRun"]


async def test_filter_that_a_run_can_leave_or_that_is_empty_is_refused(idle_app: App) -> None:
    assert (await idle_app.query(CREATE, {"filter": {}}))["it"]["code"] == "EMPTY_FILTER"
    for scope in ({"statuses": ["FAILED"]}, {"or": [{"tags": ["a"]}, {"unrecovered": True}]}, {"createdWithin": "P1D"}):
        assert await idle_app.error_code(CREATE, {"filter": scope}) == "INVALID_ARGUMENT"
    assert await idle_app.error_code(CREATE, {"filter": SCOPES[0], "for": "P2D"}) == "INVALID_ARGUMENT"


async def test_revoked_token_and_token_of_a_revoked_key_end(idle_app: App) -> None:
    first, second = [await token_for(idle_app, SCOPES[0]) for _ in range(2)]
    await idle_app.query(REVOKE, {"token": first})
    assert await idle_app.error_code(IDS, key=first) == "UNAUTHENTICATED"
    await idle_app.query(IDS, key=second)
    assert await idle_app.error_code(IDS, key=second + "x") == "UNAUTHENTICATED"
    keys = (await idle_app.query("{ apiKeys(active: true) { nodes { id name } } }"))["apiKeys"]["nodes"]
    (admin,) = [key["id"] for key in keys if key["name"] == "admin for tests"]
    await idle_app.query("mutation($id: ID!) { revokeApiKey(id: $id) { __typename } }", {"id": admin})
    assert await idle_app.error_code(IDS, key=second) == "UNAUTHENTICATED"
