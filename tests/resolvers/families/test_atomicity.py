"""A retry, a rerun and a completed step are written as a whole or not at all, wherever the transaction breaks off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.resolvers.families.harness import Families, loop
from tests.support.query import query

TABLES = ("flow_run", "step_result", "run_event", "run_file_reference", "quota_use", "run_rollup")
MUTATIONS = {
    "retry": "retry(runId: $id, strategy: FROM_FAILED_STEP, input: {x: 2}) { ... on RetrySuccess { run { id } } }",
    "rerun": 'rerun(runId: $id, stepName: "call") { ... on RerunSuccess { run { id } } }',
    "completeStep": 'completeStep(runId: $id, stepName: "call", output: 1)'
    " { ... on CompleteStepSuccess { run { id } } }",
}
KEPT = {"retry": 1, "rerun": 1, "completeStep": 2}
"""Step results that the new run has from its beginning."""


class Broken(Exception):  # noqa: N818 - stands for a process that is killed
    """Simulates the end of the process."""


@contextmanager
def broken_at(number: int) -> Iterator[list[int]]:
    """Raises at the writing statement `number`; yields a list with the number of writing statements so far."""
    seen = [0]

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            seen[0] += 1
            if seen[0] == number:
                raise Broken

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", count)


async def contents(database_url: str) -> list[Any]:
    return [await query(database_url, f"SELECT count(*) FROM {table}") for table in TABLES]


@pytest.mark.parametrize("name", MUTATIONS)
async def test_broken_transaction_leaves_nothing(families: Families, database_url: str, name: str) -> None:
    await families.flow({"name": "only", "kind": "transform", "input": "{{ run.input.n + 0 }}"}, name="kid")
    await query(database_url, "UPDATE project SET quota_runs = 100")
    steps = ({"name": "a", "kind": "transform", "input": 1}, loop("kid", [1, "x"]))
    run = await families.start(await families.flow(*steps))
    text = f"mutation($id: ID!) {{ result: {MUTATIONS[name]} }}"
    before = await contents(database_url)
    number = 1
    while True:
        with broken_at(number) as seen:
            answer = await families.app.execute(text, {"id": run})
        if seen[0] < number:
            break
        assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"
        assert await contents(database_url) == before
        number += 1
    assert number > 3  # the run, the steps that it keeps, and its event
    found = answer["data"]["result"]["run"]["id"]
    steps_text = "query($id: ID!) { flowRun(id: $id) { status stepsCount } }"
    created = (await families.app.query(steps_text, {"id": found}))["flowRun"]
    assert created == {"status": "QUEUED", "stepsCount": KEPT[name]}
