"""Calls of webhooks: mapping, responses, handshakes, redelivery, and the parts of a call that runs see."""

import gzip
import hmac
from typing import Any

import httpx
import pytest

from domain.time import clock
from tests.service.metrics.test_metrics import read
from tests.support.app import App, run_app

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
FAILING = {"steps": [{"name": "fail", "kind": "transform", "input": "{{ 1 / 0 }}"}]}
ONCE = {
    "steps": [
        {"name": "paid", "kind": "transform", "input": "{{ run.id }}"},
        {"name": "once", "kind": "transform", "input": "{{ 1 // (run.attempt - 1) }}"},
    ],
    "output": "{{ steps.paid.output }}",
}
CREATE = """mutation($flow: ID!, $input: JSON, $respond: JSON, $get: Boolean! = false, $exposed: [String!]! = [],
    $signature: WebhookSignature, $secret: String) {
    result: createWebhook(flowId: $flow, name: "w", input: $input, respond: $respond, acceptsGet: $get,
        exposedHeaders: $exposed, signature: $signature, signatureSecret: $secret) {
        __typename ... on UserError { code message } ... on WebhookInvalid { problems { path message } }
        ... on CreateWebhookSuccess { path warnings
            webhook { input respond acceptsGet exposedHeaders signature signatureHeader } } } }"""
PUBLISH = """mutation($flow: ID!, $definition: JSON!) {
    publishFlowVersion(flowId: $flow, definition: $definition) { __typename } }"""


async def create(app: App, definition: Any = ECHO, flow: str | None = None, **variables: Any) -> dict[str, Any]:
    flow = flow or await app.create_flow(definition)
    result: dict[str, Any] = (await app.query(CREATE, {"flow": flow, **variables}))["result"]
    return result


async def output_of(app: App, path: str, query: str = "", method: str = "POST", **request: Any) -> Any:
    response = await app.http.request(method, f"{path}?wait=30000&{query}", **request)
    assert response.status_code == 200, response.text
    return response.json()["output"]


async def test_input_is_mapped(app: App) -> None:
    definition = {**ECHO, "inputSchema": {"required": ["order"], "properties": {"n": {"default": 1}}}}
    mapping = {"order": "{{ request.body.order }}", "who": "{{ request.query.who }} by {{ request.method }}"}
    created = await create(app, definition, input=mapping)
    assert (created["warnings"], created["webhook"]["input"]) == ([], mapping)
    given = await output_of(app, created["path"], "who=me", json={"order": {"id": 7}})
    assert given == {"order": {"id": 7}, "who": "me by POST", "n": 1}
    refused = await app.http.post(created["path"], json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "MAPPING_FAILED")


@pytest.mark.parametrize(
    ("schema", "outcome"),
    [
        ({"required": ["order"]}, "refused"),
        ({"type": "array"}, "refused"),
        ({"additionalProperties": False}, "refused"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"required": ["order"]}}}, "refused"),
        ({"properties": {"query": {"required": ["a"]}}}, "warned"),
        ({"if": {"properties": {"body": {"const": {}}}}, "then": {"required": ["order"]}}, "warned"),
        ({"required": ["bodyBase64"]}, "warned"),
        ({"required": ["order"], "properties": {"order": {"default": 1}}}, "created"),
        ({"required": ["body"], "properties": {"body": {"required": ["order"]}}}, "created"),
        ({"type": "object"}, "created"),
        (None, "created"),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_flow_that_accepts_no_request_needs_a_mapping(idle_app: App, schema: Any, outcome: str) -> None:
    flow = await idle_app.create_flow(ECHO if schema is None else {**ECHO, "inputSchema": schema})
    created = await create(idle_app, flow=flow)
    if outcome == "refused":
        assert (created["code"], created["problems"][0]["path"]) == ("WEBHOOK_INVALID", "input")
        assert "`input`" in created["problems"][0]["message"]
        created = await create(idle_app, flow=flow, input={"order": "{{ request.body.order }}"})
        assert created["warnings"] == []
    else:
        assert bool(created["warnings"]) is (outcome == "warned")


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"input": {"a": "{{ run.id }}"}}, "input.a"),
        ({"input": "{{ request.body"}, "input"),
        ({"respond": "text"}, "respond"),
        ({"respond": {"code": 200}}, "respond.code"),
        ({"respond": {"status": 99}}, "respond.status"),
        ({"respond": {"status": True}}, "respond.status"),
        ({"respond": {"headers": []}}, "respond.headers"),
        ({"respond": {"headers": {"X-A": 5}}}, "respond.headers.X-A"),
        ({"respond": {"headers": {"X-A": "a\nSet-Cookie: b"}}}, "respond.headers.X-A"),
        ({"respond": {"headers": {"X A": "a"}}}, "respond.headers.X A"),
        ({"respond": {"headers": {"Set-Cookie": "{{ run.id }}"}}}, "respond.headers.Set-Cookie"),
        ({"respond": {"when": 5}}, "respond.when"),
        ({"respond": {"when": "{{ request.body.a }} == 1"}}, "respond.when"),
        ({"respond": {"body": "{{ steps.a }}"}}, "respond.body"),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_templates_are_checked_when_the_webhook_is_created(idle_app: App, variables: Any, path: str) -> None:
    result = await create(idle_app, **variables)
    assert result["code"] == "WEBHOOK_INVALID"
    assert [problem["path"] for problem in result["problems"]] == [path]


async def test_response_is_a_template(app: App) -> None:
    respond = {
        "status": "{{ 201 if request.body.ok else 422 }}",
        "headers": {"X-Run": "{{ run.id }}", "Content-Type": "text/html"},
        "body": "<p>{{ run.output.body.ok }}</p>",
    }
    created = await create(app, respond=respond)
    response = await app.http.post(f"{created['path']}?wait=30000", json={"ok": True})
    assert (response.status_code, response.text) == (201, "<p>true</p>")
    assert response.headers["content-type"] == "text/html"
    assert response.headers["content-security-policy"] == "sandbox"
    assert response.headers["x-run"].startswith("run_")
    assert (await app.http.post(f"{created['path']}?wait=30000", json={"ok": False})).status_code == 422


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_headers_that_become_invalid_are_dropped_and_reported(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"{{ request.body.name }}": "{{ request.body.value }}", "X-Run": "{{ run.id }}"}
    invalid = (("Set-Cookie", "a=b"), ("X A", "a"), ("X-A", "a\r\nSet-Cookie: b"), ("X-A", "\u20ac"))
    async with run_app(database_url, with_worker=False, metrics=True) as app:
        created = await create(app, respond={"headers": headers, "body": "thanks"})
        for name, value in invalid:
            caplog.clear()
            response = await app.http.post(created["path"], json={"name": name, "value": value})
            assert (response.status_code, response.text) == (200, "thanks")
            assert response.headers["x-run"].startswith("run_")
            assert not {"set-cookie", "x-a", "x a"} & set(response.headers)
            (record,) = [record for record in caplog.records if record.message == "headers of response dropped"]
            assert vars(record)["names"] == [name]
        assert (await read(app.service.metrics))("webhook_headers_dropped_total") == len(invalid)


async def test_response_whose_template_fails_is_the_usual_one(idle_app: App) -> None:
    created = await create(idle_app, respond={"body": {"x": "{{ request.body.missing }}"}})
    response = await idle_app.http.post(created["path"], json={})
    assert response.status_code == 202
    assert response.json()["runId"].startswith("run_")


async def test_handshake_of_a_template_starts_no_run(idle_app: App) -> None:
    respond = {"when": "request.body.kind == 'ping'", "body": {"pong": "{{ request.body.n }}"}}
    created = await create(idle_app, respond=respond)
    ping = await idle_app.http.post(created["path"], json={"kind": "ping", "n": 3})
    assert (ping.status_code, ping.json()) == (200, {"pong": 3})
    assert (await idle_app.http.post(created["path"], json={"kind": "event"})).status_code == 202
    assert (await idle_app.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"] == 1


async def test_handshake_of_a_template_comes_by_get_too(idle_app: App) -> None:
    respond = {"when": "request.query.challenge is defined", "body": "{{ request.query.challenge }}"}
    created = await create(idle_app, respond=respond, signature="GITHUB", secret="a long enough secret")
    answered = await idle_app.http.get(f"{created['path']}?challenge=abc")
    assert (answered.status_code, answered.text) == (200, "abc")
    assert (await idle_app.http.get(created["path"])).status_code == 405
    assert (await idle_app.http.post(f"{created['path']}?challenge=abc", json={})).status_code == 401
    assert (await idle_app.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"] == 0


async def test_known_handshakes_are_answered_without_a_run(idle_app: App) -> None:
    path = (await create(idle_app))["path"]
    slack = await idle_app.http.post(path, json={"type": "url_verification", "challenge": "abc"})
    assert (slack.status_code, slack.json()) == (200, {"challenge": "abc"})
    graph = await idle_app.http.post(f"{path}?validationToken=a%20%3Cb%3E")
    assert (graph.status_code, graph.text) == (200, "a <b>")
    assert graph.headers["content-type"].startswith("text/plain")
    meta = await idle_app.http.get(f"{path}?hub.mode=subscribe&hub.challenge=123")
    assert (meta.status_code, meta.text) == (200, "123")
    events = await idle_app.http.options(path, headers={"webhook-request-origin": "example.com"})
    assert (events.status_code, events.headers["webhook-allowed-origin"]) == (204, "example.com")
    assert (await idle_app.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"] == 0
    assert (await idle_app.http.get("/hooks/frh_x?hub.mode=subscribe&hub.challenge=1")).status_code == 404


async def test_get_starts_runs_where_it_is_enabled(app: App) -> None:
    refused = await app.http.get((await create(app))["path"])
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    flow = await app.create_flow(ECHO, "other")
    created = await create(app, flow=flow, get=True)
    given = await output_of(app, created["path"], "a=1", "GET")
    assert (given["method"], given["query"], given["body"]) == ("GET", {"a": "1"}, None)


async def test_slash_at_the_end_makes_no_difference(idle_app: App) -> None:
    path = (await create(idle_app))["path"]
    assert (await idle_app.http.post(f"{path}/", json={})).status_code == 202


async def test_credentials_in_headers_are_withheld(app: App) -> None:
    names = (
        "Authorization Cookie Proxy-Authorization X-Api-Key X-Gitlab-Token X-Slack-Signature X-Client-Secret X-Auth"
        " X-Password X-Access-Key X-Functions-Key Ocp-Apim-Subscription-Key X-JWT X-Shopify-Hmac-Sha256 X-Ms-Sig"
    )
    secret = dict.fromkeys(names.split(), "topsecret")
    path = (await create(app))["path"]
    assert "topsecret" not in str(await output_of(app, path, headers={**secret, "X-Event": "paid"}))
    shown = dict.fromkeys(("X-Event-Key", "X-Author", "X-Monkey", "X-Design"), "shown")
    assert str(await output_of(app, path, headers=shown)).count("shown") == len(shown)
    flow = await app.create_flow(ECHO, "other")
    created = await create(app, flow=flow, exposed=["X-Gitlab-Token"])
    assert created["webhook"]["exposedHeaders"] == ["x-gitlab-token"]
    headers = (await output_of(app, created["path"], headers=secret))["headers"]
    assert [name for name, value in headers.items() if value == "topsecret"] == ["x-gitlab-token"]


async def test_repeated_headers_and_parameters_are_lists(app: App) -> None:
    path = (await create(app))["path"]
    given = await output_of(
        app, path, "t=1&t=2&n=J%F6rg", headers=[("X-Tag", "a, b"), ("X-Tag", "c"), ("X-One", "d, e")]
    )
    assert (given["headers"]["x-tag"], given["headers"]["x-one"]) == (["a, b", "c"], "d, e")
    assert given["query"] == {"t": ["1", "2"], "n": "Jörg"}


async def test_multipart_form_has_fields_and_files(app: App) -> None:
    path = (await create(app))["path"]
    files = [
        ("a", ("a.txt", "grüß".encode(), "text/plain; charset=utf-8")),
        ("b", ("b.bin", b"\x00\xff", "application/octet-stream")),
    ]
    body = (await output_of(app, path, data={"payload": '{"x": 1}', "n": "5"}, files=files))["body"]
    assert body == {
        "payload": {"x": 1},
        "n": "5",
        "a": {"filename": "a.txt", "contentType": "text/plain; charset=utf-8", "size": 6, "text": "grüß"},
        "b": {"filename": "b.bin", "contentType": "application/octet-stream", "size": 2, "base64": "AP8="},
    }


async def test_compressed_bodies(app: App) -> None:
    path = (await create(app))["path"]
    packed = gzip.compress(b'{"a": 1}')
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert (await output_of(app, path, content=packed, headers=headers))["body"] == {"a": 1}
    for coding, content in (("gzip", b"not gzip"), ("br", packed)):
        given = await output_of(app, path, content=content, headers={**headers, "content-encoding": coding})
        assert given["body"] is None
        assert "bodyBase64" in given
    bomb = await app.http.post(path, content=gzip.compress(bytes(50_000_000)), headers=headers)
    assert bomb.status_code == 413


async def test_failed_delivery_is_retried_and_keeps_succeeded_steps(app: App) -> None:
    path = (await create(app, ONCE))["path"]
    headers = {"x-github-delivery": "d"}
    first = await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    assert (first.status_code, first.json()["status"]) == (500, "FAILED")
    second = await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    assert second.status_code == 200
    assert second.json()["retryOf"] == first.json()["runId"]
    assert second.json()["output"] == first.json()["runId"]
    third = await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    assert (third.status_code, third.json()["duplicate"]) == (200, True)
    assert third.json()["runId"] == second.json()["runId"]


async def test_failed_delivery_runs_on_the_version_that_mends_it(app: App) -> None:
    flow = await app.create_flow(FAILING)
    path = (await create(app, flow=flow))["path"]
    headers = {"idempotency-key": "k" * 190}
    first = await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    await app.query(PUBLISH, {"flow": flow, "definition": ECHO})
    second = await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    assert (second.status_code, second.json()["retryOf"]) == (200, first.json()["runId"])


async def test_delivery_whose_run_was_retried_by_hand_is_delivered(app: App) -> None:
    path = (await create(app, ONCE))["path"]
    first = await app.http.post(f"{path}?wait=30000", json=1, headers={"svix-id": "m"})
    retry = """mutation($id: ID!) { retry(runId: $id, strategy: FROM_FAILED_STEP) {
        ... on RetrySuccess { run { id } } } }"""
    retried = (await app.query(retry, {"id": first.json()["runId"]}))["retry"]["run"]["id"]
    await app.wait_until_final(retried)
    again = await app.http.post(f"{path}?wait=30000", json=1, headers={"svix-id": "m"})
    assert (again.status_code, again.json()["runId"], again.json()["duplicate"]) == (200, retried, True)


async def test_failed_delivery_whose_retry_was_erased_starts_no_run_without_its_input(app: App) -> None:
    path = (await create(app, FAILING))["path"]
    headers = {"svix-id": "m"}
    await app.http.post(f"{path}?wait=30000", json=1, headers=headers)
    retried = (await app.http.post(f"{path}?wait=30000", json=1, headers=headers)).json()["runId"]
    erase = """mutation($id: ID!) { bulkErase(filter: {ids: [$id]}) {
        ... on BulkOperationSuccess { operation { succeeded } } } }"""
    erased = await app.query(erase, {"id": retried})
    assert erased["bulkErase"]["operation"]["succeeded"] == 1
    again = await app.http.post(path, json=1, headers=headers)
    assert (again.status_code, again.json()) == (202, {"runId": retried, "duplicate": True})


async def test_failed_delivery_whose_retry_the_quota_refused_is_retried_later(app: App) -> None:
    path = (await create(app, ONCE))["path"]
    limit = "mutation($n: Int) { updateProject(input: {quotaRuns: $n, quotaPeriod: DAY}) { __typename } }"

    async def deliver() -> httpx.Response:
        return await app.http.post(f"{path}?wait=30000", json=1, headers={"x-github-delivery": "d"})

    assert (await deliver()).json()["status"] == "FAILED"
    await app.query(limit, {"n": 1})
    await app.http.post(path, json=2)
    refused = [await deliver() for _ in range(2)]
    assert [response.status_code for response in refused] == [429, 429]
    # A refusal is no retry: further ones do not use up the limit of the chain.
    assert refused[0].json()["runId"] == refused[1].json()["runId"]
    await app.query(limit, {"n": 9})
    delivered = await deliver()
    assert (delivered.status_code, delivered.json()["retryOf"]) == (200, refused[0].json()["runId"])
    again = (await deliver()).json()
    assert (again["runId"], again["duplicate"]) == (delivered.json()["runId"], True)


async def test_stopped_delivery_stays_stopped(idle_app: App) -> None:
    path = (await create(idle_app))["path"]
    first = await idle_app.http.post(path, json=1, headers={"svix-id": "m"})
    await idle_app.query("mutation($id: ID!) { cancel(runId: $id) { __typename } }", {"id": first.json()["runId"]})
    again = await idle_app.http.post(path, json=1, headers={"svix-id": "m"})
    assert again.json() == {**first.json(), "duplicate": True}


async def test_empty_key_counts_as_absent(idle_app: App) -> None:
    path = (await create(idle_app))["path"]

    async def run_of(**headers: str) -> str:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        run_id: str = (await idle_app.http.post(path, json=1, headers=sent)).json()["runId"]
        return run_id

    assert await run_of(idempotency_key="") != await run_of(idempotency_key=" ")
    same = [await run_of(idempotency_key="", x_github_delivery="d" * 500) for _ in range(2)]
    assert same[0] == same[1]


def stripe(body: bytes, at: int) -> str:
    return f"t={at},v1={hmac.digest(b's', f'{at}.'.encode() + body, 'sha256').hex()}"


async def test_named_signature_is_checked_before_the_body(idle_app: App) -> None:
    created = await create(idle_app, signature="STRIPE", secret="s")
    webhook = created["webhook"]
    assert (webhook["signature"], webhook["signatureHeader"]) == ("STRIPE", "stripe-signature")
    body, now = b"{nope", int(clock.now().timestamp())

    async def post(signature: str | None, query: str = "") -> httpx.Response:
        headers = {"content-type": "application/json", **({"stripe-signature": signature} if signature else {})}
        return await idle_app.http.post(created["path"] + query, content=body, headers=headers)

    assert (await post(stripe(body, now))).status_code == 202
    for signature, query in ((stripe(body, now - 400), ""), (stripe(b"", now), ""), (None, "?wait=abc"), (None, "")):
        assert (await post(signature, query)).status_code == 401


@pytest.mark.parametrize(
    "variables",
    [
        {"signature": "STRIPE"},
        {"secret": "s"},
        {"signature": "HMAC", "secret": "s"},
        {"signature": "SVIX", "secret": "!"},
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_signature_requires_header_and_secret(idle_app: App, variables: dict[str, str]) -> None:
    flow = await idle_app.create_flow(ECHO)
    assert await idle_app.error_code(CREATE, {"flow": flow, **variables}) == "INVALID_ARGUMENT"
