"""Nothing that was ever the value of a secret is found anywhere: neither where it is stored, nor in what clients and
operators read, after runs that fail, are retried, time out, are cancelled, and repeat the secret in every form, while
the secret and the key that encrypts it are changed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from db import secrets
from db.search import switch
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.rewrap import rewrap
from resolvers.subscriptions import encode_position
from tests.support import secret_actions
from tests.support.app import PATIENCE, App, run_app
from tests.support.leaks import CHILD, Echo, all_rows, contents, dump, found, leaking_flow, process_log, python, step
from tests.support.processes.listener import answering

VALUES = ('p@ssw0rd+1/"q\\z é-7f3', 'n€w p@ssw0rd+2/"q\\z-9c1')
PASSWORD = "pässword: with/slash"
TARGET = "slack://token-of-a-chat+1/T1/B1"
CALLBACK = "token-of-a-callback/5%2B1"
# Of the URLs of endpoints: in the path, the query and the account.
URL_TOKENS = ("T0token-in-a-path", "token-in-a-query 7+1", "password-in-a-url")
NEW_URL_TOKEN = "token-of-a-url-that-replaced-another"
SIGNING = "signing secret + / of a webhook"
KEY, NEW_KEY = new_key(), new_key()
CREATE = """mutation($name: String!, $value: String!) { it: createSecret(name: $name, value: $value) {
    ... on CreateSecretSuccess { secret { id } } ... on UserError { code message } } }"""
ROTATE = """mutation($id: ID!, $value: String!) { it: rotateSecret(id: $id, value: $value) { __typename } }"""
WEBHOOK = """mutation($flow: ID!, $secret: String!) { it: createWebhook(
    flowId: $flow, name: "shop", signatureHeader: "x-signature", signatureSecret: $secret) {
    ... on CreateWebhookSuccess { path } ... on UserError { code message } } }"""
ENDPOINT = """mutation($url: String) { it: createEndpoint(input: {
    name: "e", url: $url, kinds: [RUN_ENDED, RUN_STATUS_CHANGED], payloads: true}) {
    ... on CreateEndpointSuccess { secret endpoint { id url } } ... on UserError { code message } } }"""
UPDATE_ENDPOINT = """mutation($id: ID!, $url: String) { it: updateEndpoint(input: {id: $id, url: $url}) {
    ... on UpdateEndpointSuccess { endpoint { url } } ... on UserError { code message } } }"""
ALERT = """mutation($target: String!) { it: createAlert(input: {name: "a", target: $target}) {
    ... on CreateAlertSuccess { alert { id } } ... on UserError { code message } } }"""
RETRY = """mutation($id: ID!) { it: retry(runId: $id, strategy: FROM_FAILED_STEP) {
    ... on RetrySuccess { run { id } } ... on UserError { code message } } }"""
CANCEL = "mutation($id: ID!) { cancel(runId: $id) { __typename } }"
RUN = """id status input output note tags metadata error { code message stepName fingerprint } statusHistory { message }
    steps { name status input output error { code message details }
        attempts { number status error { message details } } }
    logs(first: 1000) { nodes { message } } files { id name url } logUrl startedBy { name }
    retryability { strategy allowed reason }"""
ALL = f"""{{ flowRuns(first: 100, filter: {{archived: INCLUDE}}) {{ nodes {{ {RUN} }} }}
    flows {{ nodes {{ name publishedVersion {{ definition steps {{ name input }} }} schedules {{ input }}
        webhooks {{ name hint signatureHeader }} }} }}
    secrets {{ name changedBy {{ name }} isReadable }}
    endpoints {{ nodes {{ name filter changedBy {{ name }} }} }}
    alerts {{ nodes {{ name targetScheme filter notifications {{ nodes {{ status message }} }} }} }}
    deliveries(first: 200) {{ nodes {{ kind status isCallback attempts {{ message excerpt }} }} }}
    auditEvents(first: 100) {{ nodes {{ action details }} }}
    apiKeys {{ nodes {{ name hint }} }}
    flowRunStats {{ failures(first: 50) {{ fingerprint message }}
        topFailingSteps {{ stepName errors {{ message }} }} }} }}"""
PROGRESS = """subscription($run: ID!, $after: String) { flowRunProgressed(runId: $run, after: $after) { __typename
    ... on StepChanged { stepName error { message details } step { input output } }
    ... on LogLinesAppended { lines { message } }
    ... on FlowRunStatusChanged { run { output error { message } } } } }"""


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A server that repeats what it receives."""
    server = Echo()
    routes = [Route("/{path:path}", server.respond, methods=["GET", "POST"])]
    async with answering(Starlette(routes=routes)) as server.url:
        yield server


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    settings: dict[str, Any] = {
        "secret_keys": f"{KEY},{NEW_KEY}",
        "actions": "tests.support.secret_actions",
        "http_allow_private": True,
        "files_url": str(tmp_path / "stored"),
    }
    async with run_app(database_url, with_worker=True, **settings) as running:
        await running.database.write(switch.switch_on)
        yield running


def flows(url: str) -> dict[str, Any]:
    """Flows that repeat secrets, by name; those that end badly are named after their end."""
    ends = {"continueOnFailure": False}
    call = {"method": "POST", "url": f"{url}/hang", "json": {"token": "{{ secrets.TOKEN }}"}}
    child = json.loads(json.dumps(CHILD))
    child["steps"][0]["input"]["url"] = f"{url}/child"
    return {
        "child": child,
        "leaking": leaking_flow(url),
        "FAILED": {"steps": [python("raised", "repeat.raise", retry={"attempts": 2, "delay": 0}, **ends)]},
        "unprintable": {"steps": [python("broken", "repeat.break", **ends)]},
        "TIMEOUT": {"timeout": 0.3, "steps": [step("hanging", "http", call, **ends)]},
        "STOPPED": {"steps": [step("stuck", "http", {**call, "url": f"{url}/stuck"}, **ends)]},
    }


async def one(app: App, text: str, **variables: Any) -> Any:
    return (await app.query(text, variables))["it"]


async def finished(app: App, flow_id: str, **more: Any) -> str:
    run_id: str = (await app.start(flow_id, **more))["run"]["id"]
    await app.wait_until_final(run_id)
    return run_id


async def delivered(app: App) -> None:
    """Waits until the receiver has taken deliveries of both kinds, and checks that the log has what it repeated."""
    ask = "{ deliveries(first: 200) { nodes { status isCallback attempts { excerpt } } } }"
    log: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while {(each["status"], each["isCallback"]) for each in log} != {("DELIVERED", True), ("DELIVERED", False)}:
            log = (await app.query(ask))["deliveries"]["nodes"]
            await asyncio.sleep(0.02)
    assert all("webhook-signature" in each["attempts"][0]["excerpt"] for each in log)


async def cancelled(app: App, flow_id: str, echo: Echo) -> str:
    """Starts a run and cancels it while its step waits for a response."""
    run_id: str = (await app.start(flow_id))["run"]["id"]
    await asyncio.wait_for(echo.is_stuck.wait(), PATIENCE)
    await app.query(CANCEL, {"id": run_id})
    await app.wait_until_final(run_id)
    return run_id


async def downloads(app: App, runs: list[Any]) -> bytes:
    """Returns what can be downloaded of the runs."""
    headers = {"authorization": f"Bearer {app.keys.viewer}"}
    paths = [path for run in runs for path in (run["logUrl"], *(file["url"] for file in run["files"]))]
    return b"\n".join([(await app.http.get(path, headers=headers)).content for path in paths])


async def streamed(app: App, run_id: str) -> str:
    """Returns the events of a run, as a stream has them."""
    headers = {"authorization": f"Bearer {app.keys.viewer}", "accept": "text/event-stream"}
    body = {"query": PROGRESS, "variables": {"run": run_id, "after": encode_position(0)}}
    return (await app.http.post("/graphql", json=body, headers=headers)).text


async def test_no_value_is_found_anywhere(
    app: App, echo: Echo, database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret_actions.received.clear()
    with process_log() as log:
        token = (await one(app, CREATE, name="TOKEN", value=VALUES[0]))["secret"]["id"]
        await one(app, CREATE, name="PASSWORD", value=PASSWORD)
        made = {name: await app.create_flow(definition, name) for name, definition in flows(echo.url).items()}
        # A receiver repeats what it gets, of endpoints and of callbacks.
        path, query, password = URL_TOKENS
        account = echo.url.replace("://", f"://user:{password}@")
        url = f"{account}/services/{path}?key={quote(query)}"
        issued = [await one(app, ENDPOINT, url=given) for given in (url, None, f"{echo.url}/{path}")]
        signing = [each["secret"] for each in issued]
        assert [each["endpoint"]["url"] for each in issued[:2]] == [url, None]
        assert (await one(app, ALERT, target=TARGET))["alert"]
        await finished(app, made["leaking"], callbackUrl=f"{echo.url}/echo?key={CALLBACK}")
        # Under load: the secret and the key of all secrets change while runs use them.
        beside = [finished(app, made[name]) for name in ("leaking", "FAILED", "TIMEOUT", "unprintable")]
        running = [asyncio.create_task(work) for work in (*beside, cancelled(app, made["STOPPED"], echo))]
        ring = KeyRing(parse_keys(f"{NEW_KEY},{KEY}"))
        await asyncio.gather(rewrap(app.database, ring), one(app, ROTATE, id=token, value=VALUES[1]))
        ended = await asyncio.gather(*running)
        await rewrap(app.database, ring)
        assert set(await app.database.read(secrets.key_counts)) == {ring.primary_id}
        new_url = f"{echo.url}/{NEW_URL_TOKEN}?{query}"
        changed = await one(app, UPDATE_ENDPOINT, id=issued[2]["endpoint"]["id"], url=new_url)
        assert changed["endpoint"]["url"] == new_url
        retried = (await one(app, RETRY, id=ended[1]))["run"]["id"]
        await app.wait_until_final(retried)
    # Behind the log, because this client logs the URL, which is a secret.
    hook = (await one(app, WEBHOOK, flow=made["child"], secret=SIGNING))["path"]
    refused = await app.http.post(hook, json={"token": 1}, headers={"x-signature": "sha256=00"})
    assert refused.status_code == 401
    await delivered(app)
    answers = [await app.query(ALL), await app.query(f"{{ flowRuns(first: 100) {{ nodes {{ {RUN} }} }} }}")]
    runs = answers[0]["flowRuns"]["nodes"]
    statuses = {run["status"] for run in runs}
    assert statuses == {"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED"}, [(run["status"], run["error"]) for run in runs]
    assert set(secret_actions.received) == set(VALUES)

    out, err = capfd.readouterr()
    beside_database = dump(database_url) if "postgresql" in database_url else contents(tmp_path, "*")
    texts: dict[str, str | bytes] = {
        "rows, the event log among them": await app.database.read(all_rows),
        "files of the database": beside_database,
        "stored files": contents(tmp_path / "stored", "**/*"),
        "answers": json.dumps(answers),
        "answers in unicode": json.dumps(answers, ensure_ascii=False),
        "streams": "".join([await streamed(app, run["id"]) for run in runs]),
        "exports": await downloads(app, runs),
        "log": log.getvalue(),
        "output of the process": out + err,
        "refused call": refused.text,
    }
    for place in ("answers", "streams", "exports", "log", "stored files"):
        assert "***" in str(texts[place]), place
    assert "Traceback" in log.getvalue()
    keys = (app.keys.admin, hook.rpartition("/")[2], KEY, NEW_KEY)
    hidden = [*VALUES, PASSWORD, SIGNING, CALLBACK, *URL_TOKENS, NEW_URL_TOKEN, TARGET, *signing, *keys]
    hidden += [value.casefold() for value in hidden]  # The search has texts in this form.
    leaks = {(place, value, form) for value in hidden for place, where in texts.items() for form in found(value, where)}
    assert not leaks, sorted(leaks)
