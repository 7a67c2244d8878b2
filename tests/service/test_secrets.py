"""Secrets from end to end: steps get their values, and nothing that is stored, logged or answered has them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route

from db import secrets
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.rewrap import rewrap
from engine.templates import compile_value
from service.asgi import create_service
from service.cli import main
from service.keys.secret_keys import load_key_ring, report_missing_keys
from service.settings import Settings
from tests.resolvers.test_cancel_and_resume import paused, resume
from tests.support import secret_actions
from tests.support.app import App, run_app
from tests.support.leaks import CHILD, Echo, all_rows, contents, dump, found, leaking_flow, process_log, python
from tests.support.processes.listener import answering
from tests.support.query import query as query_database

TOKEN = 'p@ss/w0rd+"q\\z é-7f3'
PASSWORD = "pässword: with/slash"
KEY, NEW_KEY = new_key(), new_key()
CREATE = """mutation($name: String!, $value: String!, $environment: RunEnvironment) {
    result: createSecret(name: $name, value: $value, environment: $environment) { __typename
        ... on CreateSecretSuccess { secret { id name environment changedBy { kind name } isReadable } }
        ... on UserError { code message } ... on SecretInvalid { problems { path message } } } }"""
ROTATE = """mutation($id: ID!, $value: String!) { result: rotateSecret(id: $id, value: $value) { __typename
    ... on RotateSecretSuccess { secret { id changedAt } } ... on UserError { code message } } }"""
DELETE = """mutation($id: ID!) { result: deleteSecret(id: $id) { __typename
    ... on DeleteSecretSuccess { secretId } ... on UserError { code } } }"""
RUN = """status output input error { code message stepName } statusHistory { message }
    steps { name status input output error { code message details } attempts { error { message } } }
    logs(first: 500) { nodes { message } } files { name size }
    childRuns { nodes { input output status steps { input output } } }"""


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """Yields a server that repeats what it receives."""
    server = Echo()
    routes = [Route("/{path:path}", server.respond, methods=["GET", "POST"])]
    async with answering(Starlette(routes=routes)) as server.url:
        yield server


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    """The service with a worker, a key for secrets, and actions that repeat their arguments."""
    settings: dict[str, Any] = {
        "secret_keys": f"{KEY},{NEW_KEY}",
        "actions": "tests.support.secret_actions",
        "http_allow_private": True,
        "files_url": str(tmp_path / "stored"),
    }
    async with run_app(database_url, with_worker=True, **settings) as running:
        yield running


async def create(app: App, name: str, value: str, environment: str | None = None) -> dict[str, Any]:
    """Creates a secret and returns the result."""
    variables = {"name": name, "value": value, "environment": environment}
    result: dict[str, Any] = (await app.query(CREATE, variables))["result"]
    return result


async def test_no_value_of_a_secret_is_stored_logged_or_answered(
    app: App, echo: Echo, database_url: str, tmp_path: Path
) -> None:
    secret_actions.received.clear()
    child = json.loads(json.dumps(CHILD))
    child["steps"][0]["input"]["url"] = f"{echo.url}/child"
    with process_log() as log:
        for name, value in (("TOKEN", TOKEN), ("PASSWORD", PASSWORD)):
            assert (await create(app, name, value))["__typename"] == "CreateSecretSuccess"
        await app.create_flow(child, "child")
        flow_id = await app.create_flow(leaking_flow(echo.url), "leaking")
        # What looks like a placeholder in data is text: no caller can ask for a secret.
        started = await app.start(flow_id, input={"text": "{{ secrets.PASSWORD }}"})
        answered = await app.wait_until_final(started["run"]["id"], RUN)
    by_name = {done["name"]: done for done in answered["steps"]}
    statuses = {name: done["status"] for name, done in by_name.items()}
    failing = {"raised", "detailed", "program", "failed", "hanging", "refused"}
    assert statuses == {name: "FAILED" if name in failing else "SUCCEEDED" for name in statuses}, by_name

    # The values arrive where they are meant to.
    assert secret_actions.received == [TOKEN] * 3
    _, headers, body = echo.requests[0]
    assert json.loads(body) == {"token": TOKEN, "both": [f"{TOKEN} and {PASSWORD}"]}
    assert headers["authorization"].split()[1] == secret_actions.forms(PASSWORD)["basic"]
    assert headers["x-key"] == secret_actions.forms(TOKEN)["quoted whole"]
    (passed_on,) = (body for url, _, body in echo.requests if url.endswith("/child"))
    assert json.loads(passed_on) == {"got": f"k={TOKEN}", "text": "{{ secrets.PASSWORD }}"}

    # The journal has placeholders and masks.
    assert by_name["repeated"]["input"]["args"] == {"value": "{{ secrets.TOKEN }}"}
    assert by_name["call"]["input"]["query"] == {"key": "{{ secrets.TOKEN }}"}
    assert by_name["call"]["input"]["headers"]["x-key"] == "urlencode({{ secrets.TOKEN }})"
    assert by_name["repeated"]["output"]["forms"]["plain"] == "***"
    assert answered["childRuns"]["nodes"][0]["input"] == {
        "token": "k={{ secrets.TOKEN }}",
        "text": "{{ secrets.PASSWORD }}",
    }

    rows = await app.database.read(all_rows)
    assert "{{ secrets.TOKEN }}" in rows
    stored = contents(tmp_path / "stored", "**/*")
    assert b"***" in stored
    # Every file beside the database: with SQLite these are the database and its write-ahead log.
    beside = dump(database_url) if "postgresql" in database_url else contents(tmp_path, "*")
    texts: dict[str, str | bytes] = {
        "rows": rows,
        "answer": json.dumps(answered),
        "answer in unicode": json.dumps(answered, ensure_ascii=False),
        "log": log.getvalue(),
        "stored": stored,
        "files": beside,
    }
    assert "***" in log.getvalue()
    leaks = {
        (place, form) for value in (TOKEN, PASSWORD) for place, where in texts.items() for form in found(value, where)
    }
    assert not leaks


@pytest.mark.parametrize("template", ["{{ secrets.HOOK }}", "http://{{ secrets.HOOK }}"])
async def test_log_and_errors_repeat_no_part_of_a_secret_url(app: App, echo: Echo, template: str) -> None:
    """A call is logged without the query of its URL, and the server repeats the path that it gets."""
    url = f"{echo.url}/hooks/T0/token-of-a-hook/fail?wait=true#part"
    await create(app, "HOOK", url if template.startswith("{") else url.partition("://")[2])
    call = {"name": "call", "kind": "http", "input": {"method": "POST", "url": template}}
    started = await app.start(await app.create_flow({"steps": [call]}))
    failed = await app.wait_until_final(started["run"]["id"], RUN)
    assert echo.requests[0][0] == url.partition("#")[0]
    assert failed["steps"][0]["error"]["details"]["status"] == 500
    assert failed["logs"]["nodes"][0]["message"].startswith("POST http://")
    assert "token-of-a-hook" not in json.dumps(failed)
    assert "token-of-a-hook" not in await app.database.read(all_rows)


async def test_secrets_are_listed_without_values_and_belong_to_project_and_environment(app: App) -> None:
    everywhere = await create(app, "NAME", "value everywhere")
    assert everywhere["secret"] | {"id": ""} == {
        "id": "",
        "name": "NAME",
        "environment": None,
        "changedBy": {"kind": "API_KEY", "name": "admin for tests"},
        "isReadable": True,
    }
    testing = await create(app, "NAME", "value of trials", "TESTING")
    assert (await create(app, "NAME", "another value", "TESTING"))["code"] == "SECRET_NAME_TAKEN"
    short = await create(app, "1NAME", " 1234567 ")
    assert [problem["path"] for problem in short["problems"]] == ["name", "value"]
    assert "at least 8 characters" in short["message"]
    fields = "id name environment createdAt changedAt changedBy { kind name } isReadable __typename"
    listed = await app.query(f"{{ secrets {{ {fields} }} viewer {{ project {{ secrets {{ {fields} }} }} }} }}")
    compiled = "{ viewer { project { secrets { id name environment createdAt changedAt changedBy { kind name } } } } }"
    in_text = (await app.query(compiled, key=app.keys.viewer))["viewer"]["project"]["secrets"]
    assert listed["secrets"] == listed["viewer"]["project"]["secrets"]
    assert [secret["id"] for secret in in_text] == [everywhere["secret"]["id"], testing["secret"]["id"]]
    assert [secret["environment"] for secret in in_text] == [None, "TESTING"]

    node = "query($id: ID!) { node(id: $id) { ... on Secret { name } } }"
    its_id = {"id": testing["secret"]["id"]}
    assert (await app.query(node, its_id))["node"] == {"name": "NAME"}
    assert (await app.query(node, its_id, key=app.keys.other_admin))["node"] is None
    assert (await app.query("{ secrets { name } }", key=app.keys.other_admin))["secrets"] == []
    assert await app.error_code("{ secrets { name } }", key=app.keys.all_projects) == "INVALID_ARGUMENT"
    assert await app.error_code(DELETE, its_id, key=app.keys.operator) == "FORBIDDEN"
    assert (await app.query(DELETE, its_id, key=app.keys.other_admin))["result"]["code"] == "SECRET_NOT_FOUND"

    # The value of the environment comes first; without it, the value for all serves.
    call = {"action": "repeat.return", "args": {"value": "{{ secrets.NAME }}"}}
    flow_id = await app.create_flow({"steps": [{"name": "a", "kind": "python", "input": call}]})
    values = []
    for environment in ("TESTING", "PRODUCTION", "TESTING"):
        secret_actions.received.clear()
        run = (await app.start(flow_id, environment=environment))["run"]["id"]
        assert (await app.wait_until_final(run))["status"] == "SUCCEEDED"
        values += secret_actions.received
        await app.query(DELETE, its_id)
    assert values == ["value of trials", "value everywhere", "value everywhere"]
    await app.query(DELETE, {"id": everywhere["secret"]["id"]})
    run = (await app.start(flow_id))["run"]["id"]
    failed = await app.wait_until_final(run, "status error { code message } steps { input }")
    assert failed["error"]["code"] == "SECRET_NOT_FOUND"
    assert failed["steps"][0]["input"]["args"] == {"value": "{{ secrets.NAME }}"}


WITH_INPUT = """mutation($run: ID!, $input: JSON) {
    retry: retry(runId: $run, strategy: FROM_FAILED_STEP, input: $input) { ... on RetrySuccess { run { id } } }
    rerun: rerun(runId: $run, input: $input) { ... on RerunSuccess { run { id } } } }"""


async def test_other_input_of_a_child_run_refers_to_no_secret(app: App, echo: Echo) -> None:
    """A key that cannot publish flows would otherwise use each secret of the project by its name."""
    for name, value in (("TOKEN", TOKEN), ("OTHER", PASSWORD)):
        await create(app, name, value)
    child = json.loads(json.dumps(CHILD))
    child["steps"][0]["input"]["url"] = f"{echo.url}/fail"
    await app.create_flow(child, "child")
    given = {"token": "k={{ secrets.TOKEN }}", "text": "-"}
    call = {"name": "call", "kind": "flow", "input": {"flow": "child", "input": given}}
    parent = (await app.start(await app.create_flow({"steps": [call]}, "parent")))["run"]["id"]
    (failed,) = (await app.wait_until_final(parent, "childRuns { nodes { id input } }"))["childRuns"]["nodes"]
    assert failed["input"] == given
    other = {**given, "token": "k={{ secrets.OTHER }}"}
    started = await app.query(WITH_INPUT, {"run": failed["id"], "input": other}, key=app.keys.operator)
    for result in started.values():
        await app.wait_until_final(result["run"]["id"])
    bodies = [json.loads(body)["got"] for _, _, body in echo.requests]
    assert bodies == [f"k={TOKEN}", "k={{ secrets.OTHER }}", "k={{ secrets.OTHER }}"]


async def test_retired_values_stay_masked(app: App) -> None:
    secret = (await create(app, "TOKEN", "the first value"))["secret"]["id"]
    await app.query(ROTATE, {"id": secret, "value": "the second value"})
    await app.query(DELETE, {"id": secret})
    await create(app, "UNUSED", "a third, unused value")
    text = "the first value, the second value, a third, unused value"
    definition = {"steps": [{"name": "a", "kind": "transform", "input": text}]}
    run = (await app.start(await app.create_flow(definition)))["run"]["id"]
    assert (await app.wait_until_final(run, "output"))["output"] == "***, ***, ***"


def test_local_variable_may_be_called_secrets() -> None:
    compiled = compile_value("{% set secrets = {'a': 1} %}{{ secrets.a }}")
    assert (compiled.render({}), compiled.secrets) == ("1", frozenset())


async def test_answers_of_people_are_masked_where_the_inbox_shows_them(app: App) -> None:
    await create(app, "TOKEN", TOKEN)
    run_id, asked = await paused(app)
    response = {"ok": True, "note": f"it is {TOKEN}"}
    assert (await resume(app, run_id, asked["id"], response, wait=20_000))["run"]["status"] == "SUCCEEDED"
    shown = {"ok": True, "note": "it is ***"}
    document = "query($id: ID!) { node(id: $id) { ... on InputRequest { answer run { output } } } }"
    assert (await app.query(document, {"id": asked["id"]}))["node"] == {"answer": shown, "run": {"output": shown}}
    # The same response again is known.
    assert (await resume(app, run_id, asked["id"], response))["__typename"] == "ResumeRunSuccess"


async def test_key_is_changed_while_steps_use_secrets(app: App) -> None:
    for name in ("TOKEN", *(f"OTHER_{number}" for number in range(120))):
        secret = (await create(app, name, TOKEN))["secret"]["id"]
    secret_actions.received.clear()
    flow_id = await app.create_flow({"steps": [python("a", "repeat.return", continueOnFailure=False)]})
    # The service has the new key behind the old one already, as docs/secrets.md says.
    ring = KeyRing(parse_keys(f"{NEW_KEY},{KEY}"))
    running = [asyncio.create_task(_run(app, flow_id)) for _ in range(10)]
    changed, _ = await asyncio.gather(
        rewrap(app.database, ring), app.query(ROTATE, {"id": secret, "value": "set in between"})
    )
    assert await asyncio.gather(*running) == ["SUCCEEDED"] * 10
    # Values that the service encrypted in the meantime, with the key that is still its first one, come next.
    again = await rewrap(app.database, ring)
    assert changed.values + again.values >= 121
    assert await app.database.read(secrets.key_counts) == {ring.primary_id: 121}
    assert await _run(app, flow_id) == "SUCCEEDED"
    assert secret_actions.received == [TOKEN] * 11


async def _run(app: App, flow_id: str) -> str:
    run = (await app.start(flow_id))["run"]["id"]
    status: str = (await app.wait_until_final(run))["status"]
    return status


async def test_lost_key_is_an_error_of_step_and_readiness(
    app: App, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    created = await create(app, "TOKEN", TOKEN)
    flow_id = await app.create_flow({"steps": [python("a", "repeat.return", continueOnFailure=False)]})
    # The same database, with a service that has another key.
    lost_key = Settings(database_url=database_url, secret_keys=SecretStr(NEW_KEY))
    service = create_service(lost_key, app.database, UUID(int=0), with_worker=False)
    await report_missing_keys(app.database, KeyRing(parse_keys(KEY)))
    assert not caplog.records
    await report_missing_keys(app.database, load_key_ring(lost_key))
    (record,) = caplog.records
    assert (record.__dict__["key"], record.__dict__["secrets"]) == (KeyRing(parse_keys(KEY)).primary_id, 1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://test") as http:
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert f"{KeyRing(parse_keys(KEY)).primary_id} (1 secrets)" in ready.text
        query = {"query": "{ secrets { isReadable } }"}
        answer = await http.post("/graphql", json=query, headers={"authorization": f"Bearer {app.keys.admin}"})
        assert answer.json()["data"] == {"secrets": [{"isReadable": False}]}
    assert (await app.http.get("/readyz")).text == "ready\n"
    # The text of another secret, put into the row by hand, does not decrypt either.
    await query_database(database_url, "UPDATE secret SET environment = 'TESTING'")
    run = (await app.start(flow_id, environment="TESTING"))["run"]["id"]
    failed = (await app.wait_until_final(run, "status error { code message }"))["error"]
    assert failed["code"] == "SECRET_UNREADABLE"
    assert "rotateSecret" in failed["message"]
    assert TOKEN not in failed["message"]
    rotated = await app.query(ROTATE, {"id": created["secret"]["id"], "value": TOKEN})
    assert rotated["result"]["__typename"] == "RotateSecretSuccess"
    run = (await app.start(flow_id, environment="TESTING"))["run"]["id"]
    assert (await app.wait_until_final(run))["status"] == "SUCCEEDED"


async def test_service_without_configuration_has_key_file_or_says_what_is_missing(
    database_url: str, tmp_path: Path
) -> None:
    async with run_app(database_url, with_worker=False, secret_keys="") as app:
        created = await create(app, "TOKEN", TOKEN)
        key_file = tmp_path / "secrets.key"
        if "postgresql" in database_url:
            assert (created["code"], key_file.exists()) == ("SECRET_KEYS_MISSING", False)
            return
        assert created["secret"]["isReadable"]
        assert key_file.stat().st_mode & 0o777 == 0o600
        assert load_key_ring(Settings(database_url=database_url)).primary_id in await app.database.read(
            secrets.key_counts
        )
    # A key in the settings precedes the file: `rewrap` needs both.
    keys = f"{NEW_KEY},{key_file.read_text().strip()}"
    environment = {"FLOWRUNS_DATABASE_URL": database_url, "FLOWRUNS_SECRET_KEYS": keys}
    for expected in ("1 values", "0 values"):
        result = await asyncio.to_thread(CliRunner().invoke, main, ["secrets", "rewrap"], env=environment)
        assert result.output.startswith(expected), result.output
    listed = await asyncio.to_thread(CliRunner().invoke, main, ["secrets", "keys"], env=environment)
    states = sorted(line.split()[1:3] for line in listed.output.splitlines())
    assert states == [["decrypts", "0"], ["encrypts", "1"]]
    environment["FLOWRUNS_SECRET_KEYS"] = "short"
    refused = await asyncio.to_thread(CliRunner().invoke, main, ["secrets", "keys"], env=environment)
    assert "FLOWRUNS_SECRET_KEYS" in refused.output
    assert "base64 of 32 bytes" in refused.output


async def test_redacted_values_are_unreadable_and_later_steps_have_them(
    app: App, echo: Echo, database_url: str
) -> None:
    token, password = "session-token-4711", "log in with this"
    login = {
        "method": "POST",
        "url": f"{echo.url}/login",
        "headers": {"X-Password": "{{ run.input.password[::-1] }}"},
        "json": {"token": token[::-1], "pin": 4711},
    }
    paths = ["input.headers.x-password", "input.json.*", "output.body.body", "output.body.headers.x-password"]
    use = {"method": "POST", "url": f"{echo.url}/use", "json": "{{ steps.login.output.body.body }}"}
    definition = {
        "steps": [
            {"name": "login", "kind": "http", "input": login, "redact": paths},
            {"name": "pause", "kind": "delay", "input": {"for": 0.01}},
            {"name": "use", "kind": "http", "input": use},
            {"name": "fail", "kind": "python", "input": {"action": "{{ run.input.action }}"}},
        ]
    }
    flow_id = await app.create_flow(definition)
    values = {"password": password[::-1], "action": "none"}
    run = (await app.start(flow_id, input=values))["run"]["id"]
    failed = await app.wait_until_final(run, "steps { name input output }")
    by_name = {done["name"]: done for done in failed["steps"]}
    assert by_name["login"]["input"]["headers"] == {"X-Password": "***"}
    assert by_name["login"]["input"]["json"] == {"token": "***", "pin": "***"}
    assert by_name["login"]["output"]["body"]["body"] == "***"
    assert by_name["use"]["input"]["json"] == "***"
    sent = {url.rpartition("/")[2]: (headers, body) for url, headers, body in echo.requests}
    assert sent["login"][0]["x-password"] == password
    assert json.loads(json.loads(sent["use"][1])) == {"token": token[::-1], "pin": 4711}

    # A retry from the failed step has them, too; by then another key has encrypted them.
    ring = KeyRing(parse_keys(f"{NEW_KEY},{KEY}"))
    old_id, new_id = KeyRing(parse_keys(KEY)).primary_id, ring.primary_id
    assert await app.database.read(secrets.all_key_counts) == {old_id: 1}
    assert (await rewrap(app.database, ring)).outputs == 1
    # The old key can be removed.
    assert await app.database.read(secrets.all_key_counts) == {new_id: 1}
    retry = (
        "mutation($id: ID!) { retry(runId: $id, strategy: FROM_FAILED_STEP) { ... on RetrySuccess { run { id } } } }"
    )
    again = (await app.query(retry, {"id": run}))["retry"]["run"]["id"]
    kept = await app.wait_until_final(again, "steps { name output }")
    assert kept["steps"][0]["output"]["body"]["body"] == "***"
    rows = await app.database.read(all_rows)
    for value in (password, token[::-1]):
        assert found(value, rows) == []

    # Without the key, the next step reports it.
    await query_database(database_url, "UPDATE step_result SET sealed = 'gone:' WHERE sealed IS NOT NULL")
    third = (await app.query(retry, {"id": again}))["retry"]["run"]["id"]
    lost = await app.wait_until_final(third, "error { code message }")
    assert lost["error"]["code"] == "SECRET_UNREADABLE"


COMPLETE = """mutation($run: ID!, $output: JSON) { it: completeStep(runId: $run, stepName: "login", output: $output) {
    ... on CompleteStepSuccess { run { id } } ... on UserError { code message } } }"""


async def test_parts_of_the_response_of_a_failed_call_are_redacted(app: App, echo: Echo) -> None:
    """Where the response cannot be read as JSON, because it is cut, nothing of it is shown."""
    login = {"method": "POST", "url": f"{echo.url}/fail", "json": "{{ run.input }}"}
    steps = [{"name": "login", "kind": "http", "input": login, "redact": ["output.body.body"]}]
    flow_id = await app.create_flow({"steps": steps})
    bodies = []
    for token in ("token-4711", "token-4711" * 1_000):
        run = (await app.start(flow_id, input={"token": token}))["run"]["id"]
        (step,) = (await app.wait_until_final(run, "steps { error { details } attempts { error { details } } }"))[
            "steps"
        ]
        assert step["error"]["details"]["status"] == 500
        assert "token-4711" not in json.dumps(step)
        bodies.append(step["error"]["details"]["body"])
    whole, truncated = bodies
    assert json.loads(whole)["body"] == "***"
    assert json.loads(whole)["url"] == f"{echo.url}/fail"
    assert truncated == "***"


async def test_output_by_hand_is_redacted_and_masked_like_that_of_the_step(app: App, echo: Echo) -> None:
    await create(app, "TOKEN", TOKEN)
    login = {"method": "POST", "url": f"{echo.url}/fail"}
    use = {"method": "POST", "url": f"{echo.url}/use", "json": "{{ steps.login.output }}"}
    steps = [
        {"name": "login", "kind": "http", "input": login, "redact": ["output.body.token"]},
        {"name": "use", "kind": "http", "input": use},
    ]
    run = (await app.start(await app.create_flow({"steps": steps})))["run"]["id"]
    await app.wait_until_final(run)
    output = {"body": {"token": "token by hand", "about": f"not {TOKEN}"}}
    retry = (await app.query(COMPLETE, {"run": run, "output": output}))["it"]["run"]["id"]
    done = await app.wait_until_final(retry, RUN)
    assert done["status"] == "SUCCEEDED"
    assert done["steps"][0]["output"] == {"body": {"token": "***", "about": "not ***"}}
    assert done["steps"][1]["input"]["json"] == {"body": {"token": "***", "about": "not ***"}}
    assert json.loads(echo.requests[-1][2]) == {"body": {"token": "token by hand", "about": "not ***"}}
    rows = await app.database.read(all_rows)
    assert "token by hand" not in rows
    assert found(TOKEN, rows) == []


async def test_output_by_hand_that_no_key_encrypts_is_refused(database_url: str) -> None:
    steps = [{"name": "login", "kind": "http", "input": {"url": "http://127.0.0.1:1"}, "redact": ["output.body"]}]
    async with run_app(database_url, with_worker=True, secret_keys="") as app:
        run = (await app.start(await app.create_flow({"steps": steps})))["run"]["id"]
        await app.wait_until_final(run)
        if "postgresql" in database_url:  # With SQLite there is a key file.
            refused = (await app.query(COMPLETE, {"run": run, "output": {"body": 1}}))["it"]
            assert refused["code"] == "SECRET_KEYS_MISSING"
        assert "run" in (await app.query(COMPLETE, {"run": run, "output": {"status": 204}}))["it"]


async def test_publication_warns_of_literals_that_look_like_credentials(app: App) -> None:
    headers = {"Authorization": "Bearer abcdef123456", "X-Api-Key": "{{ run.input.key }}", "Accept": "text/html"}
    args = {
        "clientSecret": "correct horse",
        "note": "AKIAIOSFODNN7EXAMPLE",
        "tokens": 5,
        "nested": [{"password": "hunter22"}],
    }
    steps = [
        {"name": "a", "kind": "http", "input": {"url": "https://me:pass@example.com/", "headers": headers}},
        {"name": "b", "kind": "python", "input": {"action": "a", "args": args}},
    ]
    publish = """mutation($id: ID!, $definition: JSON!) {
        result: publishFlowVersion(flowId: $id, definition: $definition) {
            ... on PublishFlowVersionSuccess { warnings { path message } } } }"""
    flow_id = await app.create_flow(None)
    variables = {"id": flow_id, "definition": {"steps": steps}}
    warnings = (await app.query(publish, variables))["result"]["warnings"]
    assert [warning["path"] for warning in warnings] == [
        "steps[0].input.url",
        "steps[0].input.headers.Authorization",
        "steps[1].input.args.clientSecret",
        "steps[1].input.args.note",
        "steps[1].input.args.nested[0].password",
    ]
    text = json.dumps(warnings)
    assert not [word for word in ("abcdef", "pass@", "horse", "AKIA", "hunter") if word in text]
