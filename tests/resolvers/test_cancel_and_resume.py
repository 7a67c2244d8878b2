"""Tests of the mutations `cancel` and `resumeRun`."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from db.core import pubsub
from domain import ids
from domain.ids import IdKind
from tests.support.app import PATIENCE, App

CANCEL = """mutation($id: ID!) { result: cancel(runId: $id) {
    __typename ... on CancelSuccess { run { status finishedAt durationMs } } ... on UserError { code } } }"""
RESUME = """mutation($run: ID!, $request: ID!, $response: JSON!, $wait: Int) {
    result: resumeRun(runId: $run, requestId: $request, response: $response, waitMs: $wait) {
        __typename
        ... on ResumeRunSuccess { run { status output } step { name status output } }
        ... on InputInvalid { problems { path } }
        ... on UserError { code } } }"""
PENDING = """query($id: ID!) { flowRun(id: $id) { status
    pendingInputs { id stepName title description schema assignee createdAt expiresAt } } }"""
SCHEMA = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
ASK = {"steps": [{"name": "ask", "kind": "humanInput", "input": {"title": "Well?", "schema": SCHEMA}}]}
WAIT = {"steps": [{"name": "wait", "kind": "delay", "input": {"for": 3600}}]}
UNKNOWN = f"run_{'0' * 32}"


async def paused(app: App, definition: Any = ASK, name: str = "flow") -> tuple[str, dict[str, Any]]:
    """Returns the ID of a PAUSED run, and its first input request."""
    flow = await app.create_flow(definition, name)
    run_id = (await app.start(flow))["run"]["id"]
    with app.database.pubsub.subscribe(pubsub.run_changed(ids.decode(IdKind.RUN, run_id))) as changed:
        while (run := (await app.query(PENDING, {"id": run_id}))["flowRun"])["status"] != "PAUSED":
            await asyncio.wait_for(changed.wait(), PATIENCE)
            changed.clear()
    return run_id, next(iter(run["pendingInputs"]), {})


async def resume(app: App, run_id: str, request: str, response: Any, **more: Any) -> Any:
    variables = {"run": run_id, "request": request, "response": response, "wait": more.pop("wait", None)}
    return (await app.query(RESUME, variables, **more))["result"]


async def cancel(app: App, run_id: str, **more: Any) -> Any:
    return (await app.query(CANCEL, {"id": run_id}, **more))["result"]


async def test_input_request_is_listed_and_answered(app: App) -> None:
    run_id, asked = await paused(app)
    assert (asked["stepName"], asked["title"], asked["schema"]) == ("ask", "Well?", SCHEMA)
    assert asked["id"].startswith("req_")
    answered = await resume(app, run_id, asked["id"], {"ok": True}, wait=20_000)
    assert answered["run"] == {"status": "SUCCEEDED", "output": {"ok": True}}
    assert answered["step"] == {"name": "ask", "status": "SUCCEEDED", "output": {"ok": True}}
    assert (await app.query(PENDING, {"id": run_id}))["flowRun"]["pendingInputs"] == []


async def test_response_must_match_schema(app: App) -> None:
    run_id, asked = await paused(app)
    refused = await resume(app, run_id, asked["id"], {"ok": "yes"})
    assert (refused["code"], refused["problems"]) == ("INPUT_INVALID", [{"path": "response.ok"}])
    assert (await app.query(PENDING, {"id": run_id}))["flowRun"]["status"] == "PAUSED"


BLIND = """mutation { it: createApiKey(name: "blind", role: OPERATOR, payloads: false) {
    ... on CreateApiKeySuccess { secret } } }"""
HIDDEN = "The value does not match its schema. Only keys with access to payloads see where."


async def test_key_without_payloads_does_not_see_the_schema_of_a_response(app: App) -> None:
    secret = (await app.query(BLIND))["it"]["secret"]
    run_id, request = await paused(app)
    text = """mutation($run: ID!, $request: ID!) {
        it: resumeRun(runId: $run, requestId: $request, response: {ok: "no"}) {
        ... on InputInvalid { code message problems { path message } } } }"""
    variables = {"run": run_id, "request": request["id"]}
    refused = (await app.query(text, variables, key=secret))["it"]
    assert refused["code"] == "INPUT_INVALID"
    assert refused["problems"] == [{"path": "response", "message": HIDDEN}]
    assert refused["message"] == f"response: {HIDDEN}"
    assert (await app.query(text, variables))["it"]["problems"][0]["path"] == "response.ok"


async def test_key_without_payloads_does_not_see_the_input_that_a_rerun_repeats(app: App) -> None:
    secret = (await app.query(BLIND))["it"]["secret"]
    steps = [{"name": "pass", "kind": "transform", "input": 1}]
    flow_id = await app.create_flow({"steps": steps}, "blind rerun")
    started = await app.start(flow_id, input={"name": "a person"})
    run = await app.wait_until_final(started["run"]["id"], "id")
    definition = {"steps": steps, "inputSchema": {"properties": {"name": {"const": "x"}}}}
    await app.query(
        "mutation($id: ID!, $definition: JSON!) { publishFlowVersion(flowId: $id, definition: $definition) {"
        " __typename } }",
        {"id": flow_id, "definition": definition},
    )
    text = """mutation($run: ID!) { it: rerun(runId: $run) {
        ... on InputInvalid { code message problems { path message } } ... on UserError { code } } }"""
    refused = (await app.query(text, {"run": run["id"]}, key=secret))["it"]
    assert refused["code"] == "INPUT_INVALID"
    assert refused["problems"] == [{"path": "input", "message": HIDDEN}]
    assert (await app.query(text, {"run": run["id"]}))["it"]["problems"][0]["path"] == "input.name"


async def test_one_of_concurrent_responses_wins(app: App) -> None:
    run_id, asked = await paused(app)
    answers = await asyncio.gather(*(resume(app, run_id, asked["id"], {"ok": True, "n": n}) for n in range(8)))
    codes = Counter(answer.get("code") for answer in answers)
    assert codes == {None: 1, "INPUT_ALREADY_ANSWERED": 7}
    assert (await app.wait_until_final(run_id))["status"] == "SUCCEEDED"


async def test_same_response_again_finds_the_success(app: App) -> None:
    run_id, asked = await paused(app)
    answers = await asyncio.gather(*(resume(app, run_id, asked["id"], {"ok": True}) for _ in range(4)))
    assert [answer["__typename"] for answer in answers] == ["ResumeRunSuccess"] * 4
    await app.wait_until_final(run_id)
    assert (await resume(app, run_id, asked["id"], {"ok": True}))["run"]["status"] == "SUCCEEDED"
    assert (await resume(app, run_id, asked["id"], {"ok": 1}))["code"] == "INPUT_ALREADY_ANSWERED"
    other = await resume(app, run_id, asked["id"], {"ok": True}, key=app.keys.operator)
    assert other["code"] == "INPUT_ALREADY_ANSWERED"


async def test_order_of_keys_makes_no_other_response(app: App) -> None:
    run_id, asked = await paused(app)
    for response in ({"ok": True, "n": {"a": 1, "b": 2}}, {"n": {"b": 2, "a": 1}, "ok": True}):
        assert (await resume(app, run_id, asked["id"], response))["__typename"] == "ResumeRunSuccess"


async def test_idempotency_key_finds_the_response_of_another_api_key(app: App) -> None:
    run_id, asked = await paused(app)
    text = """mutation($run: ID!, $request: ID!, $response: JSON!) { result: resumeRun(runId: $run, requestId: $request,
        response: $response, idempotencyKey: "k") { __typename } }"""
    variables = {"run": run_id, "request": asked["id"], "response": {"ok": True}}
    found = [(await app.query(text, variables, key=key))["result"] for key in (app.keys.admin, app.keys.operator)]
    found.append((await app.query(text, {**variables, "response": {"ok": False}}))["result"])
    assert [answer["__typename"] for answer in found] == ["ResumeRunSuccess", "ResumeRunSuccess", "IdempotencyConflict"]


async def test_response_to_other_input_request_is_refused(app: App) -> None:
    run_id, asked = await paused(app)
    other_flow = await app.create_flow(ASK, "other")
    other = (await app.start(other_flow))["run"]["id"]
    assert (await resume(app, other, asked["id"], {"ok": True}))["code"] == "INPUT_REQUEST_NOT_FOUND"
    assert (await resume(app, run_id, f"req_{'0' * 32}", {"ok": True}))["code"] == "INPUT_REQUEST_NOT_FOUND"
    variables: dict[str, Any] = {"run": run_id, "request": run_id, "response": {}, "wait": None}
    assert await app.error_code(RESUME, variables) == "INVALID_ID"
    assert (await app.query(PENDING, {"id": run_id}))["flowRun"]["status"] == "PAUSED"


async def test_stopped_run_refuses_response(app: App) -> None:
    run_id, asked = await paused(app)
    stopped = await cancel(app, run_id)
    assert stopped["run"]["status"] == "STOPPED"
    assert stopped["run"]["finishedAt"] is not None
    assert (await resume(app, run_id, asked["id"], {"ok": True}))["code"] == "RUN_NOT_PAUSED"


async def test_queued_run_is_cancelled(idle_app: App) -> None:
    run_id = (await idle_app.start(await idle_app.create_flow(WAIT)))["run"]["id"]
    assert (await cancel(idle_app, run_id))["run"] == {
        "status": "STOPPED",
        "finishedAt": (await idle_app.query("query($id: ID!) { flowRun(id: $id) { finishedAt } }", {"id": run_id}))[
            "flowRun"
        ]["finishedAt"],
        "durationMs": None,
    }


async def test_final_run_cannot_be_cancelled(app: App) -> None:
    run_id, _ = await paused(app, WAIT)
    await cancel(app, run_id)
    assert (await cancel(app, run_id))["code"] == "RUN_NOT_CANCELLABLE"


@pytest.mark.parametrize("text", [CANCEL, RESUME])
async def test_run_of_other_project_is_not_found(app: App, text: str) -> None:
    run_id, asked = await paused(app)
    for requested_id, key in ((run_id, app.keys.other_admin), (UNKNOWN, app.keys.admin)):
        variables: dict[str, Any] = (
            {"id": requested_id}
            if text is CANCEL
            else {"run": requested_id, "request": asked["id"], "response": {"ok": True}, "wait": None}
        )
        assert (await app.query(text, variables, key=key))["result"]["code"] == "RUN_NOT_FOUND"


@pytest.mark.parametrize("text", [CANCEL, RESUME])
async def test_viewer_cannot_cancel_or_resume(app: App, text: str) -> None:
    run_id, asked = await paused(app)
    variables = (
        {"id": run_id}
        if text is CANCEL
        else {"run": run_id, "request": asked["id"], "response": {"ok": True}, "wait": None}
    )
    assert await app.error_code(text, variables, key=app.keys.viewer) == "FORBIDDEN"
