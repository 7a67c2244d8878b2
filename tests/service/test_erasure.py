"""Erasure from end to end: of an erased run, nothing that clients, steps and people wrote is left anywhere."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from db.search import switch
from engine.file_store import FileStore
from engine.worker import maintenance
from tests.resolvers.bulk.operations import done
from tests.resolvers.test_cancel_and_resume import paused, resume
from tests.support.app import App, run_app
from tests.support.leaks import all_rows, contents, found

VALUE = 'zoë "quoted" \\ q5-9Kx-to-erase'
"""The last word is found however often the rest is escaped."""


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    """The service with a worker, and actions that repeat their arguments in logs, files, results and errors."""
    settings: dict[str, Any] = {"actions": "tests.support.secret_actions", "files_url": str(tmp_path / "stored")}
    async with run_app(database_url, with_worker=True, **settings) as running:
        await running.database.write(switch.switch_on)
        yield running


def step(name: str, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "input": value, "continueOnFailure": True, **more}


def python(name: str, action: str, **more: Any) -> dict[str, Any]:
    return step(name, "python", {"action": action, "args": {"value": VALUE}}, **more)


CHILD = {"steps": [step("use", "transform", "{{ run.input.name }}")], "output": "{{ run.input }}"}
FLOW = {
    "steps": [
        step("ask", "humanInput", {"title": VALUE, "description": VALUE, "assignee": VALUE}),
        python("repeated", "repeat.return"),
        python("raised", "repeat.raise", retry={"attempts": 2, "delay": 0}),
        step("child", "flow", {"flow": "child", "input": {"name": "{{ steps.ask.output.name }}"}}),
        {**python("last", "repeat.raise"), "continueOnFailure": False},
    ],
    "summary": "For {{ run.input.customer | default('unknown') }}",
}

LINK = """mutation($id: ID!, $to: String!) { it: createAnswerLink(requestId: $id, recipient: $to) { __typename } }"""
BY_TAG = """mutation($value: String!) { it: bulkErase(filter: {tags: [$value]}) {
    ... on BulkOperationSuccess { operation { filter matched } } } }"""
CHANGE = """mutation($id: ID!, $value: String!) {
    updateRun(runId: $id, addTags: [$value], metadata: {name: $value}, note: $value) { __typename } }"""


async def test_nothing_of_an_erased_run_is_left(app: App, database_url: str, tmp_path: Path) -> None:
    await app.create_flow(CHILD, "child")
    run, asked = await paused(app, FLOW)
    linked = await app.query(LINK, {"id": asked["id"], "to": VALUE})
    assert linked["it"]["__typename"] == "CreateAnswerLinkSuccess"
    labels: dict[str, Any] = {"tags": [VALUE], "metadata": {"customer": VALUE}, "input": {"customer": VALUE}}
    flow = (await app.query("query($id: ID!) { flowRun(id: $id) { flowId } }", {"id": run}))["flowRun"]["flowId"]
    labelled, _second = (await app.start(flow, **labels))["run"]["id"], None
    select = "status error { message } pendingInputs { id } steps { name status attempts { number } } stepData erasedAt"
    await resume(app, run, asked["id"], {"name": VALUE})
    before = await app.wait_until_final(run, select)
    assert (before["status"], before["stepData"], before["erasedAt"]) == ("FAILED", "AVAILABLE", None)
    assert found(VALUE, before["error"]["message"])
    # The other run is stopped where it waits, so that it is final, too.
    stopped = f'mutation {{ bulkCancel(filter: {{ids: ["{labelled}"]}}) {{ __typename }} }}'
    await app.query(stopped)
    await app.wait_until_final(labelled)
    await app.query(CHANGE, {"id": run, "value": VALUE})
    summary = (await app.query("query($id: ID!) { flowRun(id: $id) { summary } }", {"id": labelled}))["flowRun"]
    assert summary == {"summary": f"For {VALUE}"}
    assert contents(tmp_path / "stored", "**/*") != b""
    # The flow has the value in clear: it is no part of a run.
    plain = "flow_version: "
    rows = await app.database.read(all_rows)
    assert any(found(VALUE, line) for line in rows.splitlines() if not line.startswith(plain))
    assert any(found(VALUE.casefold(), line) for line in rows.splitlines() if line.startswith("run_text: "))

    operation = await done(app, f'bulkErase(filter: {{flowIds: ["{flow}"]}})')
    assert (operation["matched"], operation["succeeded"]) == (2, 2)
    again = await app.query(BY_TAG, {"value": VALUE})
    assert again["it"]["operation"] == {"filter": {"tags": None}, "matched": 0}
    await maintenance.delete_purged_files(app.database, FileStore(str(tmp_path / "stored")))

    rows = await app.database.read(all_rows)
    forms = (VALUE, VALUE.casefold())
    left = [
        line for line in rows.splitlines() if any(found(form, line) for form in forms) and not line.startswith(plain)
    ]
    assert left == []
    assert contents(tmp_path / "stored", "**/*") == b""
    after = (
        await app.query(
            f"query($id: ID!) {{ flowRun(id: $id) {{ {select} input output metadata tags }} }}", {"id": run}
        )
    )["flowRun"]
    assert after["erasedAt"] is not None
    assert after["stepData"] == "PURGED"
    assert (after["input"], after["output"], after["metadata"], after["tags"]) == ({}, None, {}, [])
    assert after["steps"] == before["steps"]
    assert (after["status"], after["error"]) == (before["status"], {"message": "Erased."})
    retry = f'mutation {{ it: retry(runId: "{run}", strategy: FROM_FAILED_STEP) {{ ... on UserError {{ code }} }} }}'
    assert (await app.query(retry))["it"] == {"code": "STEP_DATA_EXPIRED"}
    operation = await done(app, f'bulkErase(filter: {{ids: ["{run}"]}})')
    assert operation["reasons"] == [{"reason": "RUN_ALREADY_ERASED", "count": 1}]
