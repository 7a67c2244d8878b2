"""Redacted outputs whose key is lost: nothing takes the mask in their place for their value."""

from typing import Any

import pytest

from tests.support.app import App
from tests.support.query import query as query_database


@pytest.mark.parametrize(
    "after",
    [
        # By its attempts, because a later one would execute the step without its condition.
        {"kind": "python", "input": {"action": "none"}, "retry": {"attempts": 3, "delay": 0}},
        {"kind": "transform", "input": 1},
    ],
    ids=["condition", "output"],
)
async def test_nothing_is_decided_by_the_mask_of_an_output_whose_key_is_lost(
    app: App, database_url: str, after: dict[str, Any]
) -> None:
    is_right = "{{ steps.login.output.token == 'the right token' }}"
    is_condition = after["kind"] == "python"
    steps = [
        {"name": "login", "kind": "transform", "input": {"token": "the right token"}, "redact": ["output.token"]},
        {"name": "after", **after, **({"when": is_right} if is_condition else {})},
    ]
    output = "{{ 1 if run.attempt == 2 and steps.login.output.token == 'the right token' else 1 / 0 }}"
    flow_id = await app.create_flow({"steps": steps, **({} if is_condition else {"output": output})})
    run = (await app.start(flow_id))["run"]["id"]
    assert (await app.wait_until_final(run))["status"] == "FAILED"
    await query_database(database_url, "UPDATE step_result SET sealed = 'gone:' WHERE sealed IS NOT NULL")
    retry = """mutation($id: ID!) {
        retry(runId: $id, strategy: FROM_FAILED_STEP) { ... on RetrySuccess { run { id } } } }"""
    again = (await app.query(retry, {"id": run}))["retry"]["run"]["id"]
    lost = await app.wait_until_final(again, "status error { code }")
    assert lost == {"status": "FAILED", "error": {"code": "SECRET_UNREADABLE"}}
