"""Access tokens see the runs of their filter, and nothing else, on both paths of reading."""

import re
from typing import Any

import jwt
from graphql import get_named_type, is_leaf_type

from db.search import switch
from domain.runs.run_filter import FILTER_FIELDS
from schema.inputs.filters import _name
from schema.visibility import IN_SCOPE
from service.http.auth import COOKIE
from tests.schema.test_fields import SCHEMA, WAYS, fields_of
from tests.support import factory
from tests.support.app import TOKEN_KEY, App
from tests.support.clock import FakeClock
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
        "waitingFor": ["PERSON"], "unrecovered": True, "archived": "INCLUDE",
        "minDurationMs": 0, "maxDurationMs": 10**12,
        "search": "Ada", "not": {"tags": ["mine"]}, "or": [{"tags": ["red"]}, {"tags": ["mine"]}],
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
    await either_app.database.write(switch.switch_on)
    other, mine = await make_run_family(either_app), await make_mine(either_app)
    for scope in SCOPES:
        token, sighted = [await token_for(either_app, scope, payloads=payloads) for payloads in (False, True)]
        found = (await either_app.query(IDS, key=token))["flowRuns"]
        assert (found["totalCount"], [node["id"] for node in found["nodes"]]) == (1, [mine]), scope
        for where in filters_of(other):
            text = """query($where: FlowRunFilter) {
                flowRuns(filter: $where) { totalCount nodes { id } } flowRunStats(filter: $where) { total }
                pickers(filter: $where) { tags { values { count } } } }"""
            if "search" in where:
                assert await either_app.error_code(text, {"where": where}, key=token) == "FORBIDDEN"
            read = await either_app.query(text, {"where": where}, key=sighted if "search" in where else token)
            nodes = [node["id"] for node in read["flowRuns"]["nodes"]]
            assert nodes in ([], [mine]), (scope, where)
            assert read["flowRuns"]["totalCount"] == read["flowRunStats"]["total"] == len(nodes), (scope, where)
            assert {each["count"] for each in read["pickers"]["tags"]["values"]} <= {len(nodes)}, (scope, where)


def everything(type_name: str) -> str:
    """All fields in scope, with all below them."""
    chosen = ["__typename"]
    for name, field in fields_of(type_name).items():
        if f"{type_name}.{name}" not in IN_SCOPE:
            continue
        kind = get_named_type(field.type).name
        arguments = {"step": '(name: "b")', "logs": "(first: 5)", "metadataValues": '(path: "customer")'}.get(name, "")
        chosen.append(
            f"{name}{arguments}" + ("" if is_leaf_type(SCHEMA.type_map[kind]) else f" {{ {everything(kind)} }}")
        )
    return " ".join(chosen)


async def test_no_field_reaches_an_object_outside(either_app: App) -> None:
    other, mine = await make_run_family(either_app), await make_mine(either_app)
    token = await token_for(either_app, SCOPES[0], payloads=True)
    foreign = [*(value for name, value in other.variables.items() if name != "project"), "order-7", "Ada", "Hello"]
    ways = [(name, way) for name in ("FlowRun", "FlowRunConnection", "FlowRunStats", "Pickers") for way in WAYS[name]]
    seen = 0
    for type_name, way in ways:
        names = [name for name in other.variables if f"${name}" in way]
        declared = f"query({' '.join(f'${name}: ID!' for name in names)})" if names else "query"
        text = f"{declared} {{ {way.replace('%s', everything(type_name))} }}"
        text = re.sub(r"\b(flowRuns|childRuns|retries) {", r"\1(first: 2) {", text)
        body = await either_app.execute(text, other.variables, key=token)
        if "errors" in body:
            assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN", (way, body)
        else:
            assert not any(text in str(body["data"]) for text in foreign), way
            seen += mine in str(body["data"])
    assert seen >= 3
    own = await either_app.query(f'{{ flowRun(id: "{mine}") {{ {everything("FlowRun")} }} }}', key=token)
    assert own["flowRun"]["flow"]["name"] == "own"


PICKERS = ("tags", "failedSteps", "errorCodes", "metadataKeys", "metadataValues")
ARGUMENTS = {
    "Query.flowRun(id)",
    "Query.flowRuns(filter)",
    "Query.flowRuns(orderBy)",
    "Query.flowRuns(first)",
    "Query.flowRuns(after)",
    "Query.flowRuns(last)",
    "Query.flowRuns(before)",
    "Query.flowRunStats(filter)",
    "Subscription.flowRunStatusChanged(filter)",
    "Subscription.flowRunStatusChanged(after)",
    "Subscription.flowRunProgressed(runId)",
    "Subscription.flowRunProgressed(after)",
    "Subscription.flowRunStatsChanged(filter)",
    # These arguments select among the parts of the run, or of the statistics.
    "FlowRunConnection.totalCount(limit)",
    "FlowRun.step(name)",
    "FlowRun.logs(stepName)",
    "FlowRun.logs(level)",
    "FlowRun.logs(search)",
    "FlowRun.logs(first)",
    "FlowRun.logs(after)",
    "FlowRun.logs(last)",
    "FlowRun.logs(before)",
    "LogLineConnection.totalCount(limit)",
    "Query.pickers(filter)",
    *(f"Pickers.{name}({argument})" for name in PICKERS for argument in ("prefix", "first")),
    "Pickers.metadataKeys(path)",
    "Pickers.metadataValues(path)",
    "FlowRunStats.timeBuckets(size)",
    "FlowRunStats.timeBuckets(from)",
    "FlowRunStats.timeBuckets(to)",
    "FlowRunStats.timeBuckets(timeZone)",
    "FlowRunStats.topFailingSteps(first)",
    "FailingStep.errors(first)",
}
"""All arguments of fields in scope. A new one is tried here before it is listed."""


def test_every_argument_is_tried() -> None:
    found = set()
    for name in IN_SCOPE:
        type_name, _, field_name = name.partition(".")
        found |= {f"{name}({argument})" for argument in fields_of(type_name)[field_name].args}
    assert found == ARGUMENTS


async def test_foreign_cursors_and_orders_find_only_own_runs(either_app: App) -> None:
    other, mine = await make_run_family(either_app), await make_mine(either_app)
    token = await token_for(either_app, SCOPES[0])
    text = """query($order: FlowRunOrder, $first: Int, $after: String, $last: Int, $before: String) {
        flowRuns(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
            totalCount edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage } } }"""
    for field in ("CREATED_AT", "DURATION", "UPDATED_AT"):
        order = {"field": field, "direction": "ASC"}
        edges = (await either_app.query(text, {"order": order}))["flowRuns"]["edges"]
        assert {edge["node"]["id"] for edge in edges} > {mine, other.failed}
        for edge in edges:
            for page in ({"first": 9, "after": edge["cursor"]}, {"last": 9, "before": edge["cursor"]}):
                found = (await either_app.query(text, {"order": order, **page}, key=token))["flowRuns"]
                assert [each["node"]["id"] for each in found["edges"]] in ([], [mine])
                assert found["totalCount"] == 1
                assert {key: found["pageInfo"][key] for key in ("hasNextPage", "hasPreviousPage")}[
                    "hasNextPage" if "after" in page else "hasPreviousPage"
                ] is False


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


async def test_revocation_by_an_operator_is_in_the_log_of_the_project(idle_app: App) -> None:
    token = await token_for(idle_app, SCOPES[0])
    await idle_app.query(REVOKE, {"token": token}, key=idle_app.keys.all_projects)
    logged = await idle_app.query("{ auditEvents(first: 1) { nodes { action } } }")
    assert logged["auditEvents"]["nodes"] == [{"action": "REVOKE_ACCESS_TOKEN"}]


async def test_token_expires_on_time_and_with_its_key(fake_clock: FakeClock, idle_app: App) -> None:
    made = await idle_app.query(
        'mutation { it: createApiKey(name: "short", role: OPERATOR, expiresIn: "PT2M") { ... on CreateApiKeySuccess {'
        " secret apiKey { expiresAt } } } }"
    )
    token = await token_for(idle_app, SCOPES[0])
    shorter = (await idle_app.query(CREATE, {"filter": SCOPES[0]}, key=made["it"]["secret"]))["it"]
    assert shorter["expiresAt"][:19] == made["it"]["apiKey"]["expiresAt"][:19]
    await fake_clock.advance(119)
    await idle_app.query(IDS, key=shorter["token"])
    await fake_clock.advance(1)
    assert await idle_app.error_code(IDS, key=shorter["token"]) == "UNAUTHENTICATED"
    await fake_clock.advance(179)
    await idle_app.query(IDS, key=token)
    await fake_clock.advance(1)
    assert await idle_app.error_code(IDS, key=token) == "UNAUTHENTICATED"
    assert (await idle_app.query(REVOKE, {"token": token}))["it"]["__typename"] == "AccessTokenNotFound"


async def test_token_of_another_signer_or_in_other_terms_is_refused(idle_app: App) -> None:
    good = await token_for(idle_app, SCOPES[0])
    key = TOKEN_KEY
    claims = jwt.decode(good, key, ["HS256"], issuer="flow-runs")
    for changed in ({**claims, "filter": {"tag": ["mine"]}}, {**claims, "filter": {"statuses": ["FAILED"]}}):
        assert await idle_app.error_code(IDS, key=jwt.encode(changed, key, "HS256")) == "UNAUTHENTICATED"
    forged = [
        jwt.encode(claims, "another key of thirty-two characters", "HS256"),
        jwt.encode(claims, "", "none"),
        jwt.encode({**claims, "iss": "another"}, key, "HS256"),
        jwt.encode({name: value for name, value in claims.items() if name != "exp"}, key, "HS256"),
    ]
    for text in forged:
        assert await idle_app.error_code(IDS, key=text) == "UNAUTHENTICATED"
    assert (await idle_app.query(IDS, key=jwt.encode(claims, key, "HS256")))["flowRuns"]["totalCount"] == 0


async def test_downloads_need_payloads_and_a_run_in_scope(idle_app: App) -> None:
    other, mine = await make_run_family(idle_app), await make_mine(idle_app)
    blind, seeing = [await token_for(idle_app, SCOPES[0], payloads=payloads) for payloads in (False, True)]

    async def status(run: str, token: str) -> int:
        response = await idle_app.http.get(f"/runs/{run}/log", headers={"authorization": f"Bearer {token}"})
        return response.status_code

    assert (await status(mine, seeing), await status(mine, blind), await status(other.failed, seeing)) == (
        200,
        403,
        404,
    )


async def test_token_of_a_session_does_not_end_the_session(idle_app: App) -> None:
    link = f"/sign-in?token={idle_app.sessions.issue_token()}"
    session = (await idle_app.http.get(link)).cookies[COOKIE]
    idle_app.http.cookies.clear()
    token = (await idle_app.query(CREATE, {"filter": SCOPES[0]}, key=session))["it"]["token"]
    assert (await idle_app.http.post("/sign-out", headers={"cookie": f"{COOKIE}={token}"})).status_code == 204
    await idle_app.query(IDS, key=session)
