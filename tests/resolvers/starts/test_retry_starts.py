"""Tests of where retries start: on the latest version with kept steps, from a chosen step, with other input."""

from typing import Any

import pytest

from db.runs import reads
from domain import ids
from domain.ids import IdKind
from tests.support.app import App

RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $step: String, $key: String) {
    result: retry(runId: $id, strategy: $strategy, stepName: $step, idempotencyKey: $key) {
    __typename ... on RetrySuccess { run { id } } ... on UserError { code message } } }"""
WITH_INPUT = """mutation($id: ID!, $strategy: RetryStrategy!, $input: JSON) {
    result: retry(runId: $id, strategy: $strategy, input: $input) {
    __typename ... on RetrySuccess { run { id } } ... on UserError { code } } }"""
ABILITY = """query($id: ID!, $step: String) { flowRun(id: $id) { retryability(stepName: $step) {
    strategy allowed reason reusedStepNames rerunStepNames reusedSteps rerunSteps } } }"""
PUBLISH = """mutation($id: ID!, $d: JSON!) { publishFlowVersion(flowId: $id, definition: $d) {
    __typename ... on UserError { message } } }"""
ON_LATEST, FROM_STEP = "FROM_FAILED_STEP_ON_LATEST_VERSION", "FROM_STEP"
OUTCOME = "status output input flowVersion { number } steps { name reusedFrom { id } }"


def step(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "kind": "transform", "input": value}


def failing(name: str) -> dict[str, Any]:
    """A step that fails for every input without `ok`."""
    return step(name, "{{ run.input.ok + 1 }}")


BROKEN = {"steps": [step("a", "{{ run.input.x }}"), step("b", {"k": 1, "l": 2}), failing("c"), step("d", "end")]}


async def failed(app: App, definition: dict[str, Any] = BROKEN, run_input: Any = None) -> tuple[str, str]:
    flow = await app.create_flow(definition, name=f"flow {ids.new_uuid()}")
    run: str = (await app.start(flow, input=run_input or {"x": 5}))["run"]["id"]
    assert (await app.wait_until_final(run, "status failedStepName"))["status"] == "FAILED"
    return flow, run


async def publish(app: App, flow: str, *steps: dict[str, Any], **more: Any) -> None:
    found = await app.query(PUBLISH, {"id": flow, "d": {"steps": list(steps), **more}})
    assert found["publishFlowVersion"]["__typename"] == "PublishFlowVersionSuccess", found


async def retried(app: App, run: str, strategy: str, step_name: str | None = None) -> dict[str, Any]:
    result = (await app.query(RETRY, {"id": run, "strategy": strategy, "step": step_name}))["result"]
    if "run" not in result:
        return dict(result)
    return dict(await app.wait_until_final(result["run"]["id"], OUTCOME))


async def ability(app: App, run: str, strategy: str, step_name: str | None = None) -> tuple[Any, ...]:
    found = (await app.query(ABILITY, {"id": run, "step": step_name}))["flowRun"]["retryability"]
    one = next(option for option in found if option["strategy"] == strategy)
    assert (one["reusedSteps"], one["rerunSteps"]) == (len(one["reusedStepNames"]), len(one["rerunStepNames"]))
    return one["reason"], one["reusedStepNames"], one["rerunStepNames"]


def kept(run: dict[str, Any]) -> list[str]:
    return [found["name"] for found in run["steps"] if found["reusedFrom"]]


NEW_VERSIONS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "the failed step is mended": ([BROKEN["steps"][0], BROKEN["steps"][1], step("c", 7)], ["a", "b"]),
    "the order of keys is no change": ([BROKEN["steps"][0], step("b", {"l": 2, "k": 1}), step("c", 7)], ["a", "b"]),
    "true is not 1": ([BROKEN["steps"][0], step("b", {"k": True, "l": 2}), step("c", 7)], ["a"]),
    "the first step has changed": ([step("a", "new"), BROKEN["steps"][1], step("c", 7)], []),
    "a step is inserted": ([BROKEN["steps"][0], step("n", 1), BROKEN["steps"][1], step("c", 7)], ["a"]),
    "steps are left out": ([BROKEN["steps"][0]], ["a"]),
}


@pytest.mark.parametrize("name", NEW_VERSIONS)
async def test_latest_version_keeps_leading_steps_that_did_not_change(app: App, name: str) -> None:
    steps, names = NEW_VERSIONS[name]
    flow, run = await failed(app)
    await publish(app, flow, *steps)
    rerun = [found["name"] for found in steps if found["name"] not in names]
    assert await ability(app, run, ON_LATEST) == (None, names, rerun)
    again = await retried(app, run, ON_LATEST)
    assert (again["status"], again["flowVersion"], kept(again)) == ("SUCCEEDED", {"number": 2}, names)
    assert [found["name"] for found in again["steps"]] == [found["name"] for found in steps]


async def test_from_step_executes_the_chosen_step_and_all_after_it(app: App) -> None:
    _, run = await failed(app)
    for name, names in [("c", ["a", "b"]), ("b", ["a"]), ("a", [])]:
        rest = [other for other in "abcd" if other not in names]
        assert await ability(app, run, FROM_STEP, name) == (None, names, rest)
        again = (await app.query(RETRY, {"id": run, "strategy": FROM_STEP, "step": name}))["result"]["run"]["id"]
        found = await app.wait_until_final(again, OUTCOME)
        assert (found["status"], kept(found)) == ("FAILED", names)
        run = again


async def test_from_step_refuses_steps_that_were_not_reached(app: App) -> None:
    _, run = await failed(app)
    for name in ("d", "nonsense"):
        assert (await retried(app, run, FROM_STEP, name))["code"] == "STEP_NOT_REACHED"
        assert await ability(app, run, FROM_STEP, name) == ("STEP_NOT_REACHED", [], [])


async def test_only_from_step_accepts_a_step(app: App) -> None:
    _, run = await failed(app)
    for strategy, name in [(FROM_STEP, None), (ON_LATEST, "a"), ("FROM_FAILED_STEP", "a"), ("ON_LATEST_VERSION", "a")]:
        answer = await app.execute(RETRY, {"id": run, "strategy": strategy, "step": name})
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"


async def test_another_input_is_recorded_and_kept_steps_stay(app: App) -> None:
    _, run = await failed(app)
    variables = {"id": run, "strategy": "FROM_FAILED_STEP", "input": {"x": 6, "ok": 1}}
    again = (await app.query(WITH_INPUT, variables))["result"]["run"]["id"]
    found = await app.wait_until_final(again, OUTCOME)
    assert (found["status"], found["input"], kept(found)) == ("SUCCEEDED", {"x": 6, "ok": 1}, ["a", "b"])
    assert (await app.wait_until_final(run, "input recoveredBy { id }")) == {
        "input": {"x": 5},
        "recoveredBy": {"id": again},
    }


async def test_another_input_must_match_the_schema_of_the_version_that_is_executed(app: App) -> None:
    flow, run = await failed(app)
    schema = {"type": "object", "required": ["ok"]}
    await publish(app, flow, *BROKEN["steps"], inputSchema=schema)
    for strategy, code in [(ON_LATEST, "INPUT_INVALID"), ("ON_LATEST_VERSION", "INPUT_INVALID")]:
        answer = (await app.query(WITH_INPUT, {"id": run, "strategy": strategy, "input": {"x": 1}}))["result"]
        assert answer["code"] == code
    answer = (await app.query(WITH_INPUT, {"id": run, "strategy": "FROM_FAILED_STEP", "input": {"x": 1}}))["result"]
    assert answer["__typename"] == "RetrySuccess"


async def test_first_run_is_named_while_the_operation_is_continued(app: App) -> None:
    """The first run's ID is in the idempotency keys of steps."""
    for strategy, chosen, is_continued in [(ON_LATEST, None, True), (FROM_STEP, "c", True), (FROM_STEP, "b", False)]:
        _, run = await failed(app)
        again = (await app.query(RETRY, {"id": run, "strategy": strategy, "step": chosen}))["result"]["run"]["id"]
        row = await app.database.read(reads.complete, ids.decode(IdKind.RUN, again))
        assert row.first_run_id == (ids.decode(IdKind.RUN, run) if is_continued else None)


async def test_loop_keeps_items_with_every_strategy_that_continues(app: App) -> None:
    child = {"steps": [step("only", "{{ run.input.n + 0 }}")]}
    await app.create_flow(child, name="child-of-loop")
    loop = {
        "name": "loop",
        "kind": "flow",
        "input": {"flow": "child-of-loop", "forEach": "{{ run.input.items }}", "input": {"n": "{{ item }}"}},
    }
    definition = {"steps": [step("a", 1), loop]}
    count = "childRuns { totalCount } output"
    for strategy, chosen, children in [(ON_LATEST, None, 1), (FROM_STEP, "loop", 1), (FROM_STEP, "a", 2)]:
        flow, run = await failed(app, definition, {"items": [1, "x"]})
        if strategy == ON_LATEST:
            await publish(app, flow, *definition["steps"], step("z", 1))
        again = (await app.query(RETRY, {"id": run, "strategy": strategy, "step": chosen}))["result"]["run"]["id"]
        found = await app.wait_until_final(again, count)
        assert found["childRuns"]["totalCount"] == children


async def test_loop_starts_only_the_items_that_another_input_changes(app: App) -> None:
    await app.create_flow({"steps": [step("only", "{{ run.input.n + 0 }}")]}, name="child-of-loop")
    loop = {"flow": "child-of-loop", "forEach": "{{ run.input.items }}", "input": {"n": "{{ item }}"}}
    _, run = await failed(app, {"steps": [{"name": "loop", "kind": "flow", "input": loop}]}, {"items": [1, "x", 3]})
    variables = {"id": run, "strategy": "FROM_FAILED_STEP", "input": {"items": [1, 2, 3]}}
    again = (await app.query(WITH_INPUT, variables))["result"]["run"]["id"]
    found = await app.wait_until_final(again, "status output childRuns { totalCount nodes { input } }")
    assert found["output"] == [1, 2, 3]
    assert [child["input"] for child in found["childRuns"]["nodes"]] == [{"n": 2}]


BULK = """mutation($ids: [ID!]!, $strategy: RetryStrategy!, $step: String, $dry: Boolean!) {
    result: bulkRetry(filter: {ids: $ids}, strategy: $strategy, stepName: $step, dryRun: $dry, waitMs: 20000) {
    ... on BulkOperationSuccess { operation { stepName strategy
        plan { eligible ineligible { reason count } }
        outcomes { nodes { runId reason newRun { id } } } } } ... on UserError { code } } }"""


async def test_bulk_retries_take_the_same_strategies(app: App) -> None:
    flow, run = await failed(app)
    await publish(app, flow, BROKEN["steps"][0], step("b", "new"), failing("c"))
    _, short = await failed(app, {"steps": [failing("c")]})
    for strategy, chosen, names in [(FROM_STEP, "b", ["a"]), (ON_LATEST, None, ["a"])]:
        variables = {"ids": [run, short], "strategy": strategy, "step": chosen}
        plan = (await app.query(BULK, {**variables, "dry": True}))["result"]["operation"]["plan"]
        skipped = [{"reason": "STEP_NOT_REACHED", "count": 1}] if chosen else []
        assert plan == {"eligible": 1 if chosen else 2, "ineligible": skipped}
        operation = (await app.query(BULK, {**variables, "dry": False}))["result"]["operation"]
        assert (operation["strategy"], operation["stepName"]) == (strategy, chosen)
        outcomes = {outcome["runId"]: outcome for outcome in operation["outcomes"]["nodes"]}
        assert outcomes[short]["reason"] == ("STEP_NOT_REACHED" if chosen else None)
        found = await app.wait_until_final(outcomes[run]["newRun"]["id"], OUTCOME)
        assert kept(found) == names
        run = outcomes[run]["newRun"]["id"]
