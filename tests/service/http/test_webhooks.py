"""Tests of webhook deliveries over HTTP."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.app import App, run_app
from tests.support.clock import FakeClock

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
STRICT = {
    **ECHO,
    "inputSchema": {"properties": {"body": {"type": "object", "required": ["order"]}}, "required": ["body"]},
}
FAILING = {"steps": [{"name": "fail", "kind": "transform", "input": "{{ 1 / 0 }}"}]}
CREATE = """mutation($flow: ID!, $header: String, $secret: String) {
    result: createWebhook(flowId: $flow, name: "shop", signatureHeader: $header, signatureSecret: $secret) {
        __typename ... on UserError { code }
        ... on CreateWebhookSuccess { token path webhook { id name hint environment signatureHeader rotatedAt } } } }"""
ROTATE = """mutation($id: ID!) { result: rotateWebhook(id: $id) {
    __typename ... on UserError { code } ... on RotateWebhookSuccess { token path webhook { id hint rotatedAt } } } }"""
DELETE = """mutation($id: ID!) { result: deleteWebhook(id: $id) {
    __typename ... on UserError { code } ... on DeleteWebhookSuccess { webhookId } } }"""


async def create(app: App, definition: Any = ECHO, **variables: Any) -> dict[str, Any]:
    flow = variables.pop("flow", None) or await app.create_flow(definition)
    created: dict[str, Any] = (await app.query(CREATE, {"flow": flow, **variables}))["result"]
    return created


async def echoed(app: App, **request: Any) -> dict[str, Any]:
    """Returns the input of the run that a delivery started."""
    webhook = await create(app)
    response = await app.http.post(f"{webhook['path']}?wait=30000", **request)
    assert response.status_code == 200, response.text
    output: dict[str, Any] = response.json()["output"]
    return output


async def run_count(app: App) -> int:
    count: int = (await app.query("{ flowRuns { totalCount } }"))["flowRuns"]["totalCount"]
    return count


def code_of(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["message"]
    code: str = error["code"]
    return code


async def test_call_starts_run_at_once(idle_app: App) -> None:
    webhook = await create(idle_app)
    response = await idle_app.http.post(webhook["path"], json={"order": 7})
    assert response.status_code == 202
    text = "query($id: ID!) { flowRun(id: $id) { status triggerMethod source environment input } }"
    run = (await idle_app.query(text, {"id": response.json()["runId"]}))["flowRun"]
    given = run.pop("input")
    assert given["body"] == {"order": 7}
    assert given["method"] == "POST"
    assert run == {
        "status": "QUEUED",
        "triggerMethod": "WEBHOOK",
        "source": webhook["webhook"]["id"],
        "environment": "PRODUCTION",
    }


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        ("application/json", b'{"a": [1, null]}', {"body": {"a": [1, None]}}),
        ("application/json; charset=utf-8", b"7", {"body": 7}),
        ("application/vnd.github+json", b'"x"', {"body": "x"}),
        ("application/x-www-form-urlencoded", b"a=1&b=2&b=%C3%A4&c=", {"body": {"a": "1", "b": ["2", "ä"], "c": ""}}),
        ("text/plain", "grüß".encode(), {"body": "grüß"}),
        ("text/plain; charset=latin-1", "grüß".encode("latin-1"), {"body": "grüß"}),
        ("application/xml", b"<a/>", {"body": "<a/>"}),
        ("image/svg+xml", b"<svg/>", {"body": "<svg/>"}),
        ("text/plain", b"\xff", {"body": None, "bodyBase64": "/w=="}),
        ("text/plain; charset=nonsense", b"x", {"body": None, "bodyBase64": "eA=="}),
        ("application/octet-stream", b"\x00\x01", {"body": None, "bodyBase64": "AAE="}),
        ("application/csp-report", b'{"a": 1}', {"body": {"a": 1}}),
        ("text/csv", b"[a,b]", {"body": "[a,b]"}),
        ("", b"x", {"body": "x"}),
        ("", b'{"a": 1}', {"body": {"a": 1}}),
        ("", b"\xff", {"body": None, "bodyBase64": "/w=="}),
        ("application/json", b'\xef\xbb\xbf{"a": 1}', {"body": {"a": 1}}),
        ("application/json; charset=utf-16", '{"a": "ü"}'.encode("utf-16"), {"body": {"a": "ü"}}),
        ("application/json; charset=iso-8859-1", '{"a": "ü"}'.encode("latin-1"), {"body": {"a": "ü"}}),
        ("application/json", b"{", {"body": "{"}),
        ("application/json", b"NaN", {"body": "NaN"}),
        ("application/json", b"[" * 300 + b"]" * 300, {"body": "[" * 300 + "]" * 300}),
        ("application/json", b"\xff", {"body": None, "bodyBase64": "/w=="}),
        ("text/plain; charset=UTF-8", b'{"Type": "Notification"}', {"body": {"Type": "Notification"}}),
        ("text/plain", b"7", {"body": "7"}),
        ("text/plain", b"{no", {"body": "{no"}),
        ("text/plain", b'{"id": 18446744073709551616}', {"body": '{"id": 18446744073709551616}'}),
        ("text/html", b"[1]", {"body": "[1]"}),
        ("application/x-ndjson", b"{}\n{}\n", {"body": "{}\n{}\n"}),
        ("application/octet-stream", b"[1]", {"body": [1]}),
        (
            "application/x-www-form-urlencoded",
            b"payload=%7B%22a%22%3A1%7D&b=2",
            {"body": {"payload": {"a": 1}, "b": "2"}},
        ),
        ("application/x-www-form-urlencoded", b'{"order": 7}', {"body": {"order": 7}}),
        ("application/x-www-form-urlencoded", b"a=%FF&b=J\xf6rg", {"body": {"a": "ÿ", "b": "Jörg"}}),
        (
            "application/x-www-form-urlencoded",
            b"charset=koi8-r&a=%C1",
            {"body": {"charset": "koi8-r", "a": "\N{CYRILLIC SMALL LETTER A}"}},
        ),
        ("application/x-www-form-urlencoded; charset=windows-1252", b"a=%80", {"body": {"a": "€"}}),
        ("application/x-www-form-urlencoded", b"a=%zz&=1&b", {"body": {"a": "%zz", "": "1", "b": ""}}),
        ("multipart/form-data", b"no boundary", {"body": None, "bodyBase64": "bm8gYm91bmRhcnk="}),
        ("application/json", b"", {"body": None}),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_body_is_parsed_by_content_type(
    app: App, content_type: str, content: bytes, expected: dict[str, Any]
) -> None:
    given = await echoed(app, content=content, headers={"content-type": content_type})
    assert {name: given[name] for name in given if name.startswith("body")} == expected


async def test_input_has_query_and_headers_without_secrets(app: App) -> None:
    webhook = await create(app)
    secret = {"authorization": "Bearer x", "cookie": "a=b", "proxy-authorization": "x"}
    headers = [("X-Event", "paid"), ("X-Many", "1"), ("X-Many", "2"), *secret.items()]
    response = await app.http.post(f"{webhook['path']}?wait=30000&a=1&b=2&b=3", headers=headers)
    given = response.json()["output"]
    assert given["query"] == {"a": "1", "b": ["2", "3"]}
    assert given["headers"]["x-event"] == "paid"
    assert given["headers"]["x-many"] == ["1", "2"]
    assert given["headers"].keys().isdisjoint(secret)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"id": 18446744073709551616}'),
        ("application/json", b"-9223372036854775809"),
        ("application/vnd.x+json", b"[1e400]"),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_number_that_cannot_be_kept_is_refused(idle_app: App, content_type: str, content: bytes) -> None:
    webhook = await create(idle_app)
    response = await idle_app.http.post(webhook["path"], content=content, headers={"content-type": content_type})
    assert (response.status_code, code_of(response)) == (400, "NUMBER_OUT_OF_RANGE")
    assert await run_count(idle_app) == 0


async def test_input_must_match_schema(idle_app: App) -> None:
    webhook = await create(idle_app, STRICT)
    response = await idle_app.http.post(webhook["path"], json={})
    assert (response.status_code, code_of(response)) == (422, "INPUT_INVALID")
    assert response.json()["error"]["problems"][0]["path"] == "input.body"
    assert (await idle_app.http.post(webhook["path"], json={"order": 1})).status_code == 202


async def test_waiting_call_returns_output(app: App) -> None:
    flow = await app.create_flow({"steps": [{"name": "a", "kind": "transform", "input": {"x": 1}}]})
    webhook = await create(app, flow=flow)
    response = await app.http.post(f"{webhook['path']}?wait=30000")
    assert response.status_code == 200
    body = response.json()
    assert body == {"runId": body["runId"], "status": "SUCCEEDED", "output": {"x": 1}}


async def test_waiting_call_returns_error_of_failed_run(app: App) -> None:
    webhook = await create(app, FAILING)
    response = await app.http.post(f"{webhook['path']}?wait=30000")
    assert response.status_code == 500
    body = response.json()
    assert body["status"] == "FAILED"
    assert body["runId"].startswith("run_")
    assert body["error"]["stepName"] == "fail"
    assert body["error"]["code"]
    assert body["error"]["message"]


async def test_waiting_call_times_out(idle_app: App) -> None:
    webhook = await create(idle_app)
    assert (await idle_app.http.post(f"{webhook['path']}?wait=")).status_code == 202
    response = await idle_app.http.post(f"{webhook['path']}?wait=1")
    body = response.json()
    assert response.status_code == 504
    assert body == {"runId": body["runId"], "status": "QUEUED"}


@pytest.mark.parametrize("wait", ["x", "-1", "1.5", "60001", "9" * 5_000, "٣"])
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_wait_time_is_bounded(idle_app: App, wait: str) -> None:
    webhook = await create(idle_app)
    response = await idle_app.http.post(webhook["path"], params={"wait": wait})
    assert (response.status_code, code_of(response)) == (400, "INVALID_ARGUMENT")
    assert await run_count(idle_app) == 0


@pytest.mark.parametrize(
    "header", ["Idempotency-Key", "webhook-id", "X-GitHub-Delivery", "X-GitLab-Event-UUID", "X-Shopify-Webhook-Id"]
)
async def test_repeated_delivery_returns_same_run(idle_app: App, header: str) -> None:
    webhook = await create(idle_app)

    async def deliver(body: int, time: str) -> httpx.Response:
        return await idle_app.http.post(webhook["path"], json=body, headers={header: "1", "x-time": time})

    first, second = await deliver(7, "12:00"), await deliver(7, "12:01")
    assert second.json() == {**first.json(), "duplicate": True}
    assert second.status_code == 202
    assert await run_count(idle_app) == 1
    other = await deliver(8, "12:02")
    if header == "Idempotency-Key":
        assert (other.status_code, code_of(other)) == (409, "IDEMPOTENCY_CONFLICT")
    else:
        # Some senders give one ID to several events.
        assert other.status_code == 202
        assert other.json()["runId"] != first.json()["runId"]


async def test_concurrent_deliveries_start_one_run(idle_app: App) -> None:
    webhook = await create(idle_app)
    calls = [idle_app.http.post(webhook["path"], json=1, headers={"webhook-id": "m"}) for _ in range(5)]
    assert len({response.json()["runId"] for response in await asyncio.gather(*calls)}) == 1
    assert await run_count(idle_app) == 1


async def test_idempotency_keys_of_webhooks_and_api_are_independent(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    for webhook in [await create(idle_app, flow=flow), await create(idle_app, flow=flow)]:
        response = await idle_app.http.post(webhook["path"], headers={"idempotency-key": "k"})
        assert response.status_code == 202
    await idle_app.start(flow, idempotencyKey="k")
    assert await run_count(idle_app) == 3


async def test_token_is_shown_once_and_never_stored(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    created = await create(idle_app, flow=flow)
    token = created["token"]
    assert token.startswith("frh_")
    assert len(token) >= 43 + len("frh_")
    assert created["path"] == f"/hooks/{token}"
    text = "query($id: ID!) { flow(id: $id) { webhooks { id name hint signatureHeader createdAt flow { id } } } }"
    response = await idle_app.post(text, {"id": flow}, key=idle_app.keys.viewer)
    (listed,) = response.json()["data"]["flow"]["webhooks"]
    assert listed["id"] == created["webhook"]["id"]
    assert listed["hint"] == token[:8]
    assert token not in response.text


async def test_rotated_token_is_refused_at_once(idle_app: App) -> None:
    created = await create(idle_app)
    rotated = (await idle_app.query(ROTATE, {"id": created["webhook"]["id"]}))["result"]
    assert rotated["webhook"]["rotatedAt"] is not None
    assert rotated["token"] != created["token"]
    old, new = [await idle_app.http.post(each["path"]) for each in (created, rotated)]
    assert (old.status_code, code_of(old)) == (404, "WEBHOOK_NOT_FOUND")
    assert new.status_code == 202


async def test_deleted_webhook_is_not_found_and_its_runs_remain(idle_app: App) -> None:
    created = await create(idle_app)
    await idle_app.http.post(created["path"])
    variables = {"id": created["webhook"]["id"]}
    assert (await idle_app.query(DELETE, variables))["result"]["webhookId"] == variables["id"]
    assert (await idle_app.http.post(created["path"])).status_code == 404
    for text in (DELETE, ROTATE):
        assert (await idle_app.query(text, variables))["result"]["code"] == "WEBHOOK_NOT_FOUND"
    assert await run_count(idle_app) == 1


@pytest.mark.parametrize("token", ["frh_x", "x", "%00", "%2e%2e", "a" * 5_000, "ä"])
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_unknown_token_is_not_found(idle_app: App, token: str) -> None:
    response = await idle_app.http.post(f"/hooks/{token}", json={})
    assert (response.status_code, code_of(response)) == (404, "WEBHOOK_NOT_FOUND")


async def test_key_or_hash_is_refused_as_token(idle_app: App) -> None:
    created = await create(idle_app)
    for token in (idle_app.keys.admin, hashlib.sha256(created["token"].encode()).hexdigest(), created["token"][:-1]):
        assert (await idle_app.http.post(f"/hooks/{token}")).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_webhook_accepts_only_post(idle_app: App, method: str) -> None:
    created = await create(idle_app)
    assert (await idle_app.http.request(method, created["path"])).status_code == 405
    assert await run_count(idle_app) == 0


@pytest.fixture
async def small_app(database_url: str) -> AsyncIterator[App]:
    """An application that accepts bodies of up to 2,048 bytes."""
    async with run_app(database_url, with_worker=False, max_body_bytes=2_048) as served:
        yield served


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 256):
        yield b"x" * 256


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_oversized_body_is_refused(small_app: App, chunked: bool) -> None:
    created = await create(small_app)
    for size, status in ((2_048, 202), (2_304, 413)):
        content: Any = in_chunks(size) if chunked else b"x" * size
        response = await small_app.http.post(created["path"], content=content, headers={"content-type": "text/plain"})
        assert response.status_code == status
    assert code_of(response) == "PAYLOAD_TOO_LARGE"
    assert await run_count(small_app) == 1


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_body_that_exceeds_input_size_is_refused(idle_app: App) -> None:
    created = await create(idle_app)
    response = await idle_app.http.post(created["path"], json="x" * 1_100_000)
    assert (response.status_code, code_of(response)) == (413, "INPUT_TOO_LARGE")


async def test_call_of_flow_that_cannot_start_is_refused(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    created = await create(idle_app, flow=flow)
    await idle_app.query("mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }", {"id": flow})
    response = await idle_app.http.post(created["path"])
    assert (response.status_code, code_of(response)) == (409, "FLOW_DISABLED")
    unpublished = await create(idle_app, flow=await idle_app.create_flow(None, "new"))
    response = await idle_app.http.post(unpublished["path"])
    assert (response.status_code, code_of(response)) == (409, "FLOW_NOT_PUBLISHED")


SECRET = "It's a Secret to Everybody"
HELLO = b"Hello, World!"
# The example of a signed body in GitHub's documentation.
SIGNED = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (f"sha256={SIGNED}", 202),
        (SIGNED, 202),
        (base64.b64encode(bytes.fromhex(SIGNED)).decode(), 202),
        (None, 401),
        ("", 401),
        ("sha256=", 401),
        (f"sha1={SIGNED}", 401),
        (hmac.digest(b"another", HELLO, "sha256").hex(), 401),
        ("\u00e4", 401),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_signature_is_checked(idle_app: App, shown: str | None, status: int) -> None:
    created = await create(idle_app, header="X-Hub-Signature-256", secret=SECRET)
    assert created["webhook"]["signatureHeader"] == "x-hub-signature-256"
    headers = {b"x-hub-signature-256": shown.encode("latin-1")} if shown is not None else {}
    response = await idle_app.http.post(created["path"], content=HELLO, headers=headers)
    assert response.status_code == status
    assert status == 202 or code_of(response) == "SIGNATURE_INVALID"
    assert await run_count(idle_app) == (status == 202)


@pytest.mark.parametrize(
    "variables", [{"header": "x"}, {"secret": "x"}, {"header": "a b", "secret": "x"}, {"header": "x", "secret": ""}]
)
async def test_signature_requires_both_header_and_secret(idle_app: App, variables: dict[str, str]) -> None:
    flow = await idle_app.create_flow(ECHO)
    assert await idle_app.error_code(CREATE, {"flow": flow, **variables}) == "INVALID_ARGUMENT"


async def test_foreign_webhook_is_not_found(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    created = await create(idle_app, flow=flow)
    variables, other = {"id": created["webhook"]["id"]}, idle_app.keys.other_admin
    assert (await idle_app.query(CREATE, {"flow": flow}, key=other))["result"]["code"] == "FLOW_NOT_FOUND"
    for text in (ROTATE, DELETE):
        assert (await idle_app.query(text, variables, key=other))["result"]["code"] == "WEBHOOK_NOT_FOUND"
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert (await idle_app.query(node, variables, key=other))["node"] is None
    assert (await idle_app.query(node, variables, key=idle_app.keys.viewer))["node"] == variables
    assert (await idle_app.http.post(created["path"])).status_code == 202


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_admins_change_webhooks(idle_app: App, role: str) -> None:
    flow = await idle_app.create_flow(ECHO)
    variables = {"id": (await create(idle_app, flow=flow))["webhook"]["id"]}
    key = getattr(idle_app.keys, role)
    assert await idle_app.error_code(CREATE, {"flow": flow}, key=key) == "FORBIDDEN"
    for text in (ROTATE, DELETE):
        assert await idle_app.error_code(text, variables, key=key) == "FORBIDDEN"


async def test_run_belongs_to_project_of_webhook(idle_app: App) -> None:
    created = await create(idle_app)
    await idle_app.http.post(created["path"], headers={"authorization": f"Bearer {idle_app.keys.other_admin}"})
    assert await run_count(idle_app) == 1
    found = await idle_app.query("{ flowRuns { totalCount } }", key=idle_app.keys.other_viewer)
    assert found["flowRuns"]["totalCount"] == 0


async def test_call_beyond_quota_returns_run_and_retry_time(fake_clock: FakeClock, idle_app: App) -> None:
    fake_clock.watch(idle_app.database)
    webhook = await create(idle_app)
    limit = "mutation { updateProject(input: {quotaRuns: 1, quotaPeriod: HOUR}) { __typename } }"
    await idle_app.query(limit)
    assert (await idle_app.http.post(webhook["path"], json=1)).status_code == 202
    await fake_clock.advance(600.5)
    for headers in ({}, {"idempotency-key": "k"}, {"idempotency-key": "k"}):
        refused = await idle_app.http.post(f"{webhook['path']}?wait=1000", json={"order": 7}, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3000")
        assert code_of(refused) == "QUOTA_EXCEEDED"
    assert await run_count(idle_app) == 3
    text = "query($id: ID!) { flowRun(id: $id) { status input } }"
    run = (await idle_app.query(text, {"id": refused.json()["runId"]}))["flowRun"]
    assert (run["status"], run["input"]["body"]) == ("QUOTA_EXCEEDED", {"order": 7})
    await fake_clock.advance(3_000)
    assert (await idle_app.http.post(webhook["path"], json=1)).status_code == 202
    # The key of a refused delivery is not used up: with more room it is delivered.
    await idle_app.query(limit.replace("1,", "9,"))
    again = await idle_app.http.post(webhook["path"], json={"order": 7}, headers={"idempotency-key": "k"})
    assert again.status_code == 202
    assert again.json()["runId"] != refused.json()["runId"]
    duplicate = await idle_app.http.post(webhook["path"], json={"order": 7}, headers={"idempotency-key": "k"})
    assert duplicate.json() == {**again.json(), "duplicate": True}


async def test_repeated_delivery_returns_run_after_flow_was_disabled(idle_app: App) -> None:
    flow = await idle_app.create_flow(ECHO)
    webhook = await create(idle_app, flow=flow)
    headers = {"idempotency-key": "k"}
    first = await idle_app.http.post(webhook["path"], json=1, headers=headers)
    await idle_app.query("mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }", {"id": flow})
    again = await idle_app.http.post(webhook["path"], json=1, headers=headers)
    assert (again.status_code, again.json()) == (202, {**first.json(), "duplicate": True})
    assert code_of(await idle_app.http.post(webhook["path"], json=1)) == "FLOW_DISABLED"
