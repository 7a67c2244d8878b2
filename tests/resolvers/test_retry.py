"""Tests of retries: both strategies, copied arguments, refusals and retryability."""

from typing import Any

import pytest
from sqlalchemy import update

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from domain import ids
from domain.enums import RetryStrategy, RunStatus
from domain.runs.state_machine import UNSUCCESSFUL
from domain.time import clock
from tests.support import factory
from tests.support.app import App
from tests.support.factory import encode_run_id
from tests.support.query import query
from tests.support.run_family import RunFamily, make_flow, make_run_family, make_runs

FAILS_ONCE = {
    "steps": [
        {"name": "first", "kind": "transform", "input": "{{ run.input.x }}"},
        {"name": "skipped", "kind": "transform", "when": "{{ false }}", "input": 1},
        {
            "name": "charge",
            "kind": "python",
            "input": {"action": "demo.charge_card", "args": {"amount": 1, "run_attempt": "{{ run.attempt }}"}},
        },
        {"name": "last", "kind": "transform", "input": "{{ steps.first.output }}"},
    ],
}
RIGHT = {"steps": [{"name": "only", "kind": "transform", "input": "new {{ run.input.x }}"}]}
RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $step: String, $force: Boolean! = false) {
    result: retry(runId: $id, strategy: $strategy, stepName: $step, force: $force) {
    __typename ... on RetrySuccess { run { id } } ... on UserError { code message } } }"""
ABILITY = """query($id: ID!) { flowRun(id: $id) {
    retryability { strategy allowed reason message reusedSteps rerunSteps } } }"""
FROM_FAILED, ON_LATEST = "FROM_FAILED_STEP", "ON_LATEST_VERSION"


async def retry(
    app: App, run: str, strategy: str = FROM_FAILED, key: str | None = None, *, force: bool = False, step: str = "b"
) -> dict[str, Any]:
    """Retries a run; the strategy FROM_STEP starts at `step`."""
    chosen = step if strategy == RetryStrategy.FROM_STEP else None
    variables = {"id": run, "strategy": strategy, "force": force, "step": chosen}
    result: dict[str, Any] = (await app.query(RETRY, variables, key=key))["result"]
    return result


async def make_family_without_retry(app: App) -> RunFamily:
    """Makes a run family whose failed run has no retry."""
    family = await make_run_family(app)
    runs = table(FlowRun)

    def work(uow: UnitOfWork) -> None:
        uow.conn.execute(update(runs).values(retry_of_id=None, recovered_by_id=None))

    await app.database.write(work)
    return family


async def abilities(app: App, run: str) -> dict[str, dict[str, Any]]:
    found = (await app.query(ABILITY, {"id": run}))["flowRun"]["retryability"]
    return {ability.pop("strategy"): ability for ability in found}


async def failed_run(app: App) -> tuple[str, str]:
    """Publishes a flow, and executes a run of it that fails at its third step."""
    flow = await app.create_flow(FAILS_ONCE)
    run: str = (await app.start(flow, input={"x": 5}))["run"]["id"]
    assert (await app.wait_until_final(run, "status failedStepName")) == {
        "status": "FAILED",
        "failedStepName": "charge",
    }
    return flow, run


async def test_retry_from_failed_step_reuses_succeeded_steps(app: App) -> None:
    _, run = await failed_run(app)
    again = (await retry(app, run))["run"]["id"]
    select = """status output triggerMethod attempt retryOf { id }
        steps { name status reusedFrom { id } attempts { number } }"""
    assert await app.wait_until_final(again, select) == {
        "status": "SUCCEEDED",
        "output": 5,
        "triggerMethod": "RETRY",
        "attempt": 2,
        "retryOf": {"id": run},
        "steps": [
            {"name": "first", "status": "SUCCEEDED", "reusedFrom": {"id": run}, "attempts": []},
            {"name": "skipped", "status": "SKIPPED", "reusedFrom": {"id": run}, "attempts": []},
            {"name": "charge", "status": "SUCCEEDED", "reusedFrom": None, "attempts": [{"number": 1}]},
            {"name": "last", "status": "SUCCEEDED", "reusedFrom": None, "attempts": [{"number": 1}]},
        ],
    }


async def test_retry_on_latest_version_starts_over(app: App) -> None:
    flow, run = await failed_run(app)
    publish = "mutation($id: ID!, $d: JSON!) { publishFlowVersion(flowId: $id, definition: $d) { __typename } }"
    await app.query(publish, {"id": flow, "d": RIGHT})
    ability = (await abilities(app, run))[ON_LATEST]
    assert (ability["reusedSteps"], ability["rerunSteps"]) == (0, 1)
    again = (await retry(app, run, ON_LATEST))["run"]["id"]
    assert await app.wait_until_final(again, "output flowVersion { number } steps { name reusedFrom { id } }") == {
        "output": "new 5",
        "flowVersion": {"number": 2},
        "steps": [{"name": "only", "reusedFrom": None}],
    }


async def test_successful_retry_is_recorded_in_whole_chain(app: App) -> None:
    _, run = await failed_run(app)
    again = (await retry(app, run))["run"]["id"]
    await app.wait_until_final(again)
    unrecovered = "{ flowRuns(filter: {unrecovered: true}) { totalCount } }"
    assert (await app.wait_until_final(run, "recoveredBy { id } retries { nodes { id } }")) == {
        "recoveredBy": {"id": again},
        "retries": {"nodes": [{"id": again}]},
    }
    assert (await app.query(unrecovered))["flowRuns"]["totalCount"] == 0


async def test_retry_does_not_change_original_run(app: App) -> None:
    _, run = await failed_run(app)
    select = "status finishedAt error { message } steps { name status } statusHistory { to }"
    before = await app.wait_until_final(run, select)
    await app.wait_until_final((await retry(app, run))["run"]["id"])
    assert await app.wait_until_final(run, select) == before


async def test_recovery_is_a_change_of_the_original_run(app: App) -> None:
    _, run = await failed_run(app)
    before = await app.wait_until_final(run, "updatedAt finishedAt")
    assert before["updatedAt"] == before["finishedAt"]
    again = (await retry(app, run))["run"]["id"]
    recovered_at = (await app.wait_until_final(again, "finishedAt"))["finishedAt"]
    found = await app.wait_until_final(run, "updatedAt finishedAt")
    assert found["updatedAt"] >= recovered_at > found["finishedAt"] == before["finishedAt"]


async def test_retry_copies_start_arguments(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    said = """environment tags metadata input externalId source failParentOnFailure parentRun { id } rootRun { id }
        flow { id } project { id }"""
    text = f"query($id: ID!) {{ flowRun(id: $id) {{ {said} }} }}"
    old = await idle_app.query(text, {"id": family.failed})
    # No step of the parent waits for the run, so its retries are detached from the parent.
    old["flowRun"]["failParentOnFailure"] = False
    for strategy in RetryStrategy:
        again = (await retry(idle_app, family.failed, strategy, force=True))["run"]["id"]
        assert await idle_app.query(text, {"id": again}) == old


async def test_retry_of_run_without_parent_is_its_own_root(idle_app: App) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app), {"status": RunStatus.FAILED})
    again = (await retry(idle_app, run))["run"]["id"]
    found = await idle_app.query("query($id: ID!) { flowRun(id: $id) { rootRun { id } } }", {"id": again})
    assert found["flowRun"]["rootRun"]["id"] == again


async def test_step_reused_twice_names_run_that_executed_it(idle_app: App) -> None:
    published = await make_flow(idle_app)
    failed = {"status": RunStatus.FAILED, "failed_step_name": "b"}
    first, second = await idle_app.database.write(factory.make_runs, published, [failed, {**failed, "attempt": 2}])
    await idle_app.database.write(factory.make_steps, second, [{"reused_from_id": first}, {"status": "FAILED"}])
    third = (await retry(idle_app, encode_run_id(second)))["run"]["id"]
    text = "query($id: ID!) { flowRun(id: $id) { steps { name reusedFrom { id } } attempt } }"
    assert (await idle_app.query(text, {"id": third}))["flowRun"] == {
        "steps": [{"name": "a", "reusedFrom": {"id": encode_run_id(first)}}],
        "attempt": 3,
    }


async def test_first_history_entry_names_original_run_and_strategy(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    text = "query($id: ID!) { flowRun(id: $id) { statusHistory { to message } } }"
    for strategy, how in [(FROM_FAILED, "from its failed step"), (ON_LATEST, "on the latest version")]:
        again = (await retry(idle_app, family.failed, strategy, force=True))["run"]["id"]
        history = (await idle_app.query(text, {"id": again}))["flowRun"]["statusHistory"]
        assert history == [{"to": "QUEUED", "message": f"Retry of {family.failed} {how}"}]


# Changes that make a retry impossible, and the error code of each strategy.
STATES: dict[str, tuple[list[str], str | None, str | None]] = {
    "fit": ([], None, None),
    "limit reached": (["UPDATE flow_run SET attempt = 11"], "RETRY_LIMIT_REACHED", "RETRY_LIMIT_REACHED"),
    "at the limit": (["UPDATE flow_run SET attempt = 10"], None, None),
    "no retries allowed": (["UPDATE project SET retry_limit = 0"], "RETRY_LIMIT_REACHED", "RETRY_LIMIT_REACHED"),
    "data expired": (["UPDATE flow_run SET steps_purged_at = created_at"], "STEP_DATA_EXPIRED", None),
    "flow disabled": (["UPDATE flow SET enabled = false"], "FLOW_DISABLED", "FLOW_DISABLED"),
    "flow unpublished": (["UPDATE flow SET published_version_id = NULL"], None, "FLOW_NOT_PUBLISHED"),
}


@pytest.mark.parametrize("name", STATES)
async def test_retryability_predicts_refusal_and_its_message(idle_app: App, database_url: str, name: str) -> None:
    family = await make_family_without_retry(idle_app)
    changes, *codes = STATES[name]
    if changes:
        await query(database_url, *changes)
    retryability = await abilities(idle_app, family.failed)
    for strategy, code in zip([FROM_FAILED, ON_LATEST], codes, strict=True):
        answer = await retry(idle_app, family.failed, strategy, force=True)
        assert answer.get("code") == code
        assert retryability[strategy]["allowed"] == (code is None)
        assert retryability[strategy]["reason"] == code
        assert retryability[strategy]["message"] == answer.get("message")


async def test_retryability_matches_retry_for_every_status(idle_app: App) -> None:
    published = await make_flow(idle_app)
    for status in RunStatus:
        (run,) = await make_runs(idle_app, published, {"status": status})
        retryability = await abilities(idle_app, run)
        expected = None if status in UNSUCCESSFUL else "RUN_NOT_RETRYABLE"
        for strategy in (FROM_FAILED, ON_LATEST):
            answer = await retry(idle_app, run, strategy, force=True)
            assert (answer.get("code"), retryability[strategy]["reason"]) == (expected, expected)
            assert retryability[strategy]["allowed"] == (expected is None)


async def test_retryability_predicts_numbers_of_steps(idle_app: App) -> None:
    family = await make_family_without_retry(idle_app)
    retryability = await abilities(idle_app, family.failed)
    numbers = {strategy: (answer["reusedSteps"], answer["rerunSteps"]) for strategy, answer in retryability.items()}
    assert numbers == {strategy.value: (0, 3) if strategy == ON_LATEST else (1, 2) for strategy in RetryStrategy}
    again = (await retry(idle_app, family.failed))["run"]["id"]
    found = await idle_app.query("query($id: ID!) { flowRun(id: $id) { stepsCount } }", {"id": again})
    assert found["flowRun"]["stepsCount"] == 1


async def test_chain_of_retries_ends_at_project_limit(idle_app: App, database_url: str) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app), {"status": RunStatus.FAILED})
    await query(database_url, "UPDATE project SET retry_limit = 3")
    for _ in range(3):
        run = (await retry(idle_app, run))["run"]["id"]
        await query(database_url, "UPDATE flow_run SET status = 'FAILED'")
    assert (await retry(idle_app, run))[
        "message"
    ] == "The run is retry 3 of its chain, and the project's `retryLimit` is 3. Start a new run instead."


async def test_unknown_and_foreign_runs_have_same_error(idle_app: App) -> None:
    family: RunFamily = await make_run_family(idle_app)
    for strategy in (FROM_FAILED, ON_LATEST):
        foreign = await retry(idle_app, family.failed, strategy, key=idle_app.keys.other_admin)
        unknown = await retry(idle_app, encode_run_id(ids.new_uuid()), strategy)
        assert foreign == unknown
        assert foreign["code"] == "RUN_NOT_FOUND"


async def test_archived_run_can_be_retried(idle_app: App) -> None:
    published = await make_flow(idle_app)
    (run,) = await make_runs(idle_app, published, {"status": RunStatus.FAILED, "archived_at": clock.now()})
    again = (await retry(idle_app, run))["run"]["id"]
    found = await idle_app.query("query($id: ID!) { flowRun(id: $id) { archivedAt } }", {"id": again})
    assert found["flowRun"]["archivedAt"] is None


async def test_run_can_be_retried_twice_and_lists_oldest_retry_first(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    retries = [await retry(idle_app, family.failed, strategy, force=True) for strategy in (FROM_FAILED, ON_LATEST)]
    new = [result["run"]["id"] for result in retries]
    text = "query($id: ID!) { flowRun(id: $id) { retries { nodes { id } } } }"
    found = await idle_app.query(text, {"id": family.failed})
    assert [node["id"] for node in found["flowRun"]["retries"]["nodes"]] == [family.retry, *new]


async def test_strategy_decides_flow_version_of_retry(idle_app: App) -> None:
    published = await make_flow(idle_app)
    (run,) = await make_runs(idle_app, published, {"status": RunStatus.FAILED})
    await idle_app.database.write(factory.make_version, published.project_id, published.flow_id)
    text = "query($id: ID!) { flowRun(id: $id) { flowVersion { number } } }"
    for strategy, number in [(FROM_FAILED, 1), (ON_LATEST, 2)]:
        again = (await retry(idle_app, run, strategy, force=True))["run"]["id"]
        assert (await idle_app.query(text, {"id": again}))["flowRun"]["flowVersion"]["number"] == number
