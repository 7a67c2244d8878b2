"""Runs that are run again, and steps that are completed by hand."""

from typing import Any

import pytest

from tests.resolvers.families.harness import ASK, BOOM, Families, call, loop
from tests.support.query import query

RERUN = """mutation($id: ID!, $version: ID, $step: String, $input: JSON, $key: String, $force: Boolean! = false) {
    result: rerun(runId: $id, flowVersionId: $version, stepName: $step, input: $input, idempotencyKey: $key,
    force: $force) { ... on RerunSuccess { run { id } } ... on RerunUnderWay { run { id } }
    ... on UserError { code message } } }"""
COMPLETE = """mutation($id: ID!, $step: String!, $output: JSON, $skip: Boolean! = false, $note: String, $key: String) {
    result: completeStep(runId: $id, stepName: $step, output: $output, skip: $skip, note: $note, idempotencyKey: $key) {
    ... on CompleteStepSuccess { run { id } } ... on UserError { code message } } }"""
RUN = """query($id: ID!, $step: String) { flowRun(id: $id) { status input output attempt triggerMethod retryStrategy
    retryStepName rerunOf { id } retryOf { id } recoveredBy { id } firstRun { id } reruns { nodes { id } totalCount }
    flowVersion { number } tags statusHistory { message } rootRun { id } parentRun { id } failParentOnFailure
    steps { name status output completedBy { kind name } completionNote reusedFrom { id } attempts { number } }
    rerunnability(stepName: $step) { allowed reason message reusedStepNames rerunStepNames }
    completability { allowed reason message stepName reusedStepNames rerunStepNames }
    retryability { strategy reusedItems rerunItems } } }"""
KEY = "admin for tests"
BY = {"kind": "API_KEY", "name": KEY}
FAILED_ITEM = {"name": "only", "kind": "transform", "input": "{{ run.input.n + 0 }}"}


def step(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "kind": "transform", "input": value}


async def read(families: Families, run: str, step_name: str | None = None) -> Any:
    return (await families.app.query(RUN, {"id": run, "step": step_name}))["flowRun"]


async def rerun(families: Families, run: str, **arguments: Any) -> Any:
    result = (await families.app.query(RERUN, {"id": run, **arguments}))["result"]
    await families.work_off()
    return result


async def complete(families: Families, run: str, name: str, **arguments: Any) -> Any:
    result = (await families.app.query(COMPLETE, {"id": run, "step": name, **arguments}))["result"]
    await families.work_off()
    return result


class TestRerun:
    """A run that has ended is executed again."""

    async def test_succeeded_run_is_run_again_and_linked(self, families: Families) -> None:
        run = await families.start(await families.flow(step("a", "{{ run.input.x }}")), input={"x": 5}, tags=["t"])
        first, second = [(await rerun(families, run))["run"]["id"] for _ in range(2)]
        found = await read(families, first)
        assert (found["status"], found["output"], found["input"], found["tags"]) == ("SUCCEEDED", 5, {"x": 5}, ["t"])
        assert (found["triggerMethod"], found["attempt"], found["retryOf"], found["firstRun"]) == (
            "RERUN",
            1,
            None,
            None,
        )
        assert (found["rerunOf"], found["rootRun"]) == ({"id": run}, {"id": first})
        assert found["statusHistory"][0]["message"] == f"Rerun of {run}"
        original = await read(families, run)
        assert [node["id"] for node in original["reruns"]["nodes"]] == [first, second]
        assert original["recoveredBy"] is None
        listed = await families.app.query(
            "query($id: ID!) { flowRuns(filter: {rerunOfId: $id}) { totalCount } }", {"id": run}
        )
        assert listed["flowRuns"]["totalCount"] == 2

    async def test_changed_input_is_recorded(self, families: Families) -> None:
        run = await families.start(await families.flow(step("a", "{{ run.input.x }}")), input={"x": 5})
        found = await read(families, (await rerun(families, run, input={"x": 6}))["run"]["id"])
        assert (found["input"], found["output"]) == ({"x": 6}, 6)
        assert found["statusHistory"][0]["message"] == f"Rerun of {run}, with another input"
        assert (await read(families, run))["input"] == {"x": 5}

    async def test_version_is_the_published_or_the_named_one(self, families: Families) -> None:
        flow = await families.flow(step("a", "old"))
        run = await families.start(flow)
        text = "mutation($f: ID!, $d: JSON!) { publishFlowVersion(flowId: $f, definition: $d) { __typename } }"
        await families.app.query(text, {"f": flow, "d": {"steps": [step("a", "new")]}})
        assert (await read(families, (await rerun(families, run))["run"]["id"]))["output"] == "new"
        version = await families.app.query("query($id: ID!) { flowRun(id: $id) { flowVersion { id } } }", {"id": run})
        pinned = await rerun(families, run, version=version["flowRun"]["flowVersion"]["id"])
        assert (await read(families, pinned["run"]["id"]))["output"] == "old"
        other = await families.start(await families.flow(step("a", 1), name="other"))
        answer = await families.app.execute(RERUN, {"id": other, "version": version["flowRun"]["flowVersion"]["id"]})
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"

    async def test_rerun_from_a_step_keeps_earlier_results(self, families: Families) -> None:
        steps = [
            step("a", 1),
            {**BOOM, "continueOnFailure": True},
            {**step("b", 2), "when": "{{ false }}"},
            step("c", 3),
        ]
        run = await families.start(await families.flow(*steps))
        check = (await read(families, run, "c"))["rerunnability"]
        assert check == {
            "allowed": True,
            "reason": None,
            "message": None,
            "reusedStepNames": ["a", "b"],
            "rerunStepNames": ["boom", "c"],
        }
        found = await read(families, (await rerun(families, run, step="c"))["run"]["id"])
        assert [each["name"] for each in found["steps"] if each["reusedFrom"]] == check["reusedStepNames"]
        assert (found["status"], found["retryStrategy"], found["retryStepName"]) == ("SUCCEEDED", "FROM_STEP", "c")
        assert (await rerun(families, run, step="nonsense"))["code"] == "STEP_NOT_REACHED"
        assert (await read(families, run, "nonsense"))["rerunnability"]["reason"] == "STEP_NOT_REACHED"

    async def test_live_run_and_live_rerun_refuse(self, families: Families) -> None:
        run = await families.start(await families.flow({**ASK, "when": "{{ run.input.ask }}"}), input={"ask": False})
        live = (await rerun(families, run, input={"ask": True}))["run"]["id"]
        assert (await rerun(families, live))["code"] == "RUN_NOT_FINAL"
        assert (await read(families, live))["rerunnability"]["reason"] == "RUN_NOT_FINAL"
        refused = await rerun(families, run)
        assert (refused["code"], refused["run"]["id"]) == ("RERUN_UNDER_WAY", live)
        assert (await read(families, run))["rerunnability"]["reason"] == "RERUN_UNDER_WAY"
        assert (await rerun(families, run, force=True))["run"]["id"] != live

    async def test_same_key_finds_the_same_rerun(self, families: Families) -> None:
        run = await families.start(await families.flow(step("a", 1)))
        one, other = [await rerun(families, run, key="k") for _ in range(2)]
        assert one["run"]["id"] == other["run"]["id"]
        assert (await rerun(families, run, key="k", input={"x": 1}))["code"] == "IDEMPOTENCY_CONFLICT"

    @pytest.mark.parametrize(
        ("change", "step_name", "code"),
        [
            ("UPDATE flow SET enabled = false", None, "FLOW_DISABLED"),
            ("UPDATE flow SET published_version_id = NULL", None, "FLOW_NOT_PUBLISHED"),
            ("UPDATE flow_run SET steps_purged_at = created_at", "a", "STEP_DATA_EXPIRED"),
        ],
    )
    async def test_check_predicts_refusals(
        self, families: Families, database_url: str, change: str, step_name: str | None, code: str
    ) -> None:
        run = await families.start(await families.flow(step("a", 1)))
        await query(database_url, change)
        answer = await rerun(families, run, step=step_name)
        check = (await read(families, run, step_name))["rerunnability"]
        assert (answer["code"], check["reason"], check["message"]) == (code, code, answer["message"])

    async def test_rerun_of_a_failed_run_neither_recovers_nor_retries_it(self, families: Families) -> None:
        run = await families.start(await families.flow(step("a", "{{ run.input.x + 0 }}")), input={"x": "text"})
        again = (await rerun(families, run, input={"x": 1}))["run"]["id"]
        assert (await read(families, again))["status"] == "SUCCEEDED"
        assert (await read(families, run))["recoveredBy"] is None
        assert (await families.retry(run))["__typename"] == "RetrySuccess"

    async def test_rerun_of_a_child_never_changes_its_parent(self, families: Families) -> None:
        await families.flow(FAILED_ITEM, name="kid")
        parent = await families.start(await families.flow(loop("kid", [1, 2]), ASK))
        child = (await families.children(parent))[0]["id"]
        found = await read(families, (await rerun(families, child, input={"n": "text"}))["run"]["id"])
        assert (found["status"], found["parentRun"], found["rootRun"]) == ("FAILED", {"id": parent}, {"id": parent})
        assert found["failParentOnFailure"] is False
        assert await families.status(parent) == "PAUSED"

    async def test_other_projects_and_viewers_are_refused(self, families: Families) -> None:
        run = await families.start(await families.flow(step("a", 1)))
        keys = families.app.keys
        for text, more in [(RERUN, {}), (COMPLETE, {"step": "a"})]:
            foreign = await families.app.query(text, {"id": run, **more}, key=keys.other_admin)
            assert foreign["result"]["code"] == "RUN_NOT_FOUND"
            viewer = await families.app.execute(text, {"id": run, **more}, key=keys.viewer)
            assert viewer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


class TestCompletion:
    """A step that failed is completed by hand, and a retry continues behind it."""

    async def failed(self, families: Families) -> str:
        last = step("last", {"status": "{{ steps.boom.status }}", "output": "{{ steps.boom.output }}"})
        return await families.start(await families.flow(step("a", 1), BOOM, last))

    async def test_step_gets_an_output_and_is_marked(self, families: Families) -> None:
        run = await self.failed(families)
        check = (await read(families, run))["completability"]
        assert check == {
            "allowed": True,
            "reason": None,
            "message": None,
            "stepName": "boom",
            "reusedStepNames": ["a"],
            "rerunStepNames": ["last"],
        }
        again = (await complete(families, run, "boom", output={"paid": 1}, note="paid by hand"))["run"]["id"]
        found = await read(families, again)
        assert (found["status"], found["output"]) == ("SUCCEEDED", {"status": "SUCCEEDED", "output": {"paid": 1}})
        assert (found["retryOf"], found["retryStrategy"]) == ({"id": run}, "FROM_FAILED_STEP")
        assert found["firstRun"] == {"id": run}
        a, boom, _ = found["steps"]
        assert (a["reusedFrom"], a["completedBy"]) == ({"id": run}, None)
        assert boom == {
            "name": "boom",
            "status": "SUCCEEDED",
            "output": {"paid": 1},
            "completedBy": BY,
            "completionNote": "paid by hand",
            "reusedFrom": None,
            "attempts": [],
        }
        message = f"Retry of {run}, step 'boom' completed with the key {KEY!r}"
        assert found["statusHistory"][0]["message"] == message
        original = await read(families, run)
        assert (original["status"], original["recoveredBy"]) == ("FAILED", {"id": again})
        assert original["completability"]["reason"] == "ALREADY_RECOVERED"

    async def test_step_is_skipped(self, families: Families) -> None:
        found = await read(
            families, (await complete(families, await self.failed(families), "boom", skip=True))["run"]["id"]
        )
        assert (found["status"], found["output"]) == ("SUCCEEDED", {"status": "SKIPPED", "output": None})
        assert (found["steps"][1]["status"], found["steps"][1]["completedBy"]) == ("SKIPPED", BY)

    async def test_output_is_null_by_default_and_excludes_skip(self, families: Families) -> None:
        run = await self.failed(families)
        answer = await families.app.execute(COMPLETE, {"id": run, "step": "boom", "output": 1, "skip": True})
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
        text = f'mutation {{ completeStep(runId: "{run}", stepName: "boom", output: {{n: 1e999}}) {{ __typename }} }}'
        assert await families.app.error_code(text) == "NUMBER_OUT_OF_RANGE"
        found = await read(families, (await complete(families, run, "boom"))["run"]["id"])
        assert found["output"] == {"status": "SUCCEEDED", "output": None}

    async def test_result_by_hand_is_kept_by_later_retries(self, families: Families) -> None:
        run = await families.start(await families.flow(BOOM, {**BOOM, "name": "again"}))
        second = (await complete(families, run, "boom", output=7))["run"]["id"]
        assert (await read(families, second))["status"] == "FAILED"
        third = await read(families, (await families.retry(second))["run"]["id"])
        kept = third["steps"][0]
        assert (kept["output"], kept["completedBy"], kept["reusedFrom"]) == (7, BY, {"id": second})
        assert third["firstRun"] == {"id": run}

    async def test_only_the_step_at_which_the_run_ended_can_be_completed(self, families: Families) -> None:
        run = await self.failed(families)
        for name in ("a", "last", "nonsense"):
            refused = await complete(families, run, name, output=1)
            assert refused["code"] == "STEP_NOT_FAILED"
            assert "'boom'" in refused["message"]
        no_step = await families.start(await families.flow(step("a", 1), output="{{ 1 / 0 }}", name="no step"))
        assert (await complete(families, no_step, "a", output=1))["code"] == "STEP_NOT_FAILED"
        check = (await read(families, no_step))["completability"]
        assert (check["allowed"], check["reason"], check["stepName"]) == (False, "STEP_NOT_FAILED", None)

    async def test_runs_that_cannot_be_retried_refuse(self, families: Families) -> None:
        done = await families.start(await families.flow(step("a", 1)))
        waiting = await families.start(await families.flow(ASK, name="ask"))
        for run, name in [(done, "a"), (waiting, "ask")]:
            assert (await complete(families, run, name))["code"] == "RUN_NOT_RETRYABLE"
            assert (await read(families, run))["completability"]["reason"] == "RUN_NOT_RETRYABLE"

    async def test_cancelled_question_gets_its_answer_by_hand(self, families: Families) -> None:
        run = await families.start(await families.flow(ASK, step("last", "{{ steps.ask.output }}")))
        await families.cancel(run)
        found = await read(families, (await complete(families, run, "ask", output="yes"))["run"]["id"])
        assert (found["status"], found["output"]) == ("SUCCEEDED", "yes")

    async def test_same_key_finds_the_same_run(self, families: Families) -> None:
        run = await self.failed(families)
        one, other = [await complete(families, run, "boom", output=1, key="k") for _ in range(2)]
        assert one["run"]["id"] == other["run"]["id"]
        assert (await complete(families, run, "boom", skip=True, key="k"))["code"] == "IDEMPOTENCY_CONFLICT"
        assert (await complete(families, run, "boom", output=1))["code"] == "ALREADY_RECOVERED"

    @pytest.mark.parametrize("refused_is", ["completion", "retry"])
    async def test_step_is_completed_after_the_quota_refused_it(self, families: Families, refused_is: str) -> None:
        run = await self.failed(families)
        text = """mutation($id: ID!, $runs: Int) {
            updateProject(input: {projectId: $id, quotaRuns: $runs, quotaPeriod: DAY}) { __typename } }"""
        await families.app.query(text, {"id": families.app.project, "runs": 1})
        await families.start(await families.flow(step("other", 1), name="other"))
        if refused_is == "completion":
            refused = await complete(families, run, "boom", output=1, key="k")
        else:
            refused = await families.retry(run)
        assert refused["code"] == "QUOTA_EXCEEDED"
        (last,) = (await families.app.query("{ flowRuns(filter: {statuses: [QUOTA_EXCEEDED]}) { nodes { id } } }"))[
            "flowRuns"
        ]["nodes"]
        await families.app.query(text, {"id": families.app.project, "runs": 9})
        check = (await read(families, last["id"]))["completability"]
        assert (check["allowed"], check["stepName"], check["reusedStepNames"][0]) == (True, "boom", "a")
        if refused_is == "completion":
            done = await complete(families, run, "boom", output=1, key="k")
        else:
            done = await complete(families, last["id"], "boom", output=1)
        found = await read(families, done["run"]["id"])
        assert found["output"] == {"status": "SUCCEEDED", "output": 1}
        assert found["steps"][0]["reusedFrom"] == {"id": run}

    async def test_completed_child_replaces_the_failed_one_in_the_waiting_parent(self, families: Families) -> None:
        await families.flow(
            {**FAILED_ITEM, "when": "{{ run.input.n != 1 }}"}, {**ASK, "when": "{{ run.input.n == 1 }}"}, name="kid"
        )
        parent = await families.start(await families.flow(loop("kid", [1, "x"])))
        asking, broken = await families.children(parent)
        assert (await complete(families, broken["id"], "only", output="by hand"))["run"]["id"]
        await families.resume(asking["id"], "yes")
        found = await read(families, parent)
        assert (found["status"], found["output"]) == ("SUCCEEDED", ["yes", "by hand"])

    async def test_loop_completed_by_hand_starts_no_child(self, families: Families) -> None:
        await families.flow(FAILED_ITEM, name="kid")
        parent = await families.start(await families.flow(loop("kid", [1, "x"]), BOOM))
        again = (await complete(families, parent, "call", output=[1, 2]))["run"]["id"]
        assert (await read(families, again))["status"] == "FAILED"
        third = (await families.retry(again))["run"]["id"]
        assert await families.children(again) == await families.children(third) == []


class TestItems:
    """What a retry would do with the items of a loop."""

    async def test_counts_of_items_are_known_beforehand(self, families: Families) -> None:
        await families.flow(
            {
                "name": "only",
                "kind": "transform",
                "input": "{{ run.input.n // (run.attempt - 1) if run.input.n == 3 else 1 }}",
            },
            name="kid",
        )
        parent = await families.start(await families.flow(loop("kid", [1, 2, 3, 4], concurrency=2)))
        options = {each.pop("strategy"): each for each in (await read(families, parent))["retryability"]}
        executed = len(await families.children(parent))
        for strategy, counts in options.items():
            known = strategy != "ON_LATEST_VERSION"
            assert counts == {"reusedItems": 3 if known else None, "rerunItems": 1 if known else None}, executed
        again = (await families.retry(parent))["run"]["id"]
        assert len(await families.children(again)) == options["FROM_FAILED_STEP"]["rerunItems"]
        assert await families.status(again) == "SUCCEEDED"

    async def test_items_are_unknown_where_no_loop_failed(self, families: Families) -> None:
        await families.flow(step("a", 1), name="kid")
        run = await families.start(await families.flow(call("kid"), BOOM))
        options = (await read(families, run))["retryability"]
        assert {(each["reusedItems"], each["rerunItems"]) for each in options} == {(None, None)}
