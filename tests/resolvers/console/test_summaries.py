"""`FlowRun.summary`: one line about a run, by a template of its flow."""

from typing import Any
from uuid import uuid4

import pytest

from domain.errors import DefinitionInvalidError
from engine.compiled_flow import check
from tests.support.app import App

STEPS = [{"name": "a", "kind": "transform", "input": 1}]


async def summary_of(app: App, template: str, **values: Any) -> str | None:
    flow_id = await app.create_flow({"steps": STEPS, "summary": template}, name=f"flow {uuid4()}")
    run = (await app.start(flow_id, select="id summary", **values))["run"]
    ended = await app.wait_until_final(run["id"], "status summary")
    assert ended["status"] == "SUCCEEDED"
    summary: str | None = ended["summary"]
    return summary


async def test_run_that_has_not_started_has_no_summary(idle_app: App) -> None:
    flow_id = await idle_app.create_flow({"steps": STEPS, "summary": "{{ run.input.who }}"})
    run = (await idle_app.start(flow_id, select="summary", input={"who": "Ada"}))["run"]
    assert run["summary"] is None


async def test_summary_is_one_line_about_the_run(app: App) -> None:
    found = await summary_of(
        app, "{{ run.input.who }}:\n {{ run.tags | length }} tags", input={"who": "Ada\t L."}, tags=["x"]
    )
    assert found == "Ada L.: 1 tags"
    assert await summary_of(app, "{{ run.input }}", input={"a": [1]}) == '{"a":[1]}'
    assert await summary_of(app, "{{ run.input.text }}", input={"text": "x" * 500}) == "x" * 199 + "…"
    # A template that fails, or gives nothing, is no reason to fail the run.
    assert await summary_of(app, "{{ run.input.missing.member }}", input={}) is None
    assert await summary_of(app, "{{ run.input.text }} ", input={"text": ""}) is None
    secret = 'mutation { createSecret(name: "TOKEN", value: "a long secret") { __typename } }'
    await app.query(secret)
    assert await summary_of(app, "For {{ run.input.text }}", input={"text": "a long secret"}) == "For ***"
    # A retry has a summary of its own input.
    text = """mutation($id: ID!) { rerun(runId: $id, input: {text: "again"}) { ... on RerunSuccess { run { id } } } }"""
    runs = (await app.query("{ flowRuns(first: 1) { nodes { id } } }"))["flowRuns"]["nodes"]
    again = (await app.query(text, {"id": runs[0]["id"]}))["rerun"]["run"]["id"]
    assert await app.wait_until_final(again, "summary") == {"summary": "For again"}


@pytest.mark.parametrize("template", ["{{ steps.a.output }}", "{{ secrets.TOKEN }}", "{{ run.input", ""])
def test_template_uses_only_the_run(template: str) -> None:
    with pytest.raises(DefinitionInvalidError) as refused:
        check({"steps": STEPS, "summary": template})
    assert [problem.path for problem in refused.value.problems] == ["summary"]
