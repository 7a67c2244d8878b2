"""Cancellation, siblings, timeouts and archiving of families."""

from typing import Any

import pytest

from domain.enums import RetryStrategy
from tests.resolvers.families.harness import ASK, BOOM, FROM_FAILED, NAP, ON_LATEST, ONCE, Families, call, loop
from tests.support.clock import FakeClock


class TestCancel:
    """A cancellation that is refused changes nothing; one that succeeds leaves nothing alive."""

    async def final_parent(self, families: Families) -> tuple[str, str]:
        await families.flow(NAP, name="kid")
        parent = await families.start(await families.flow(call("kid", wait=False)))
        (child,) = await families.children(parent)
        assert await families.status(parent) == "SUCCEEDED"
        return parent, child["id"]

    async def test_refused_cancellation_changes_nothing_below(self, families: Families) -> None:
        parent, child = await self.final_parent(families)
        assert await families.cancel(parent) == {"code": "RUN_NOT_CANCELLABLE"}
        operation = await families.bulk("bulkCancel", f'filter: {{ids: ["{parent}"]}}')
        assert (operation["succeeded"], operation["skipped"]) == (0, 1)
        assert await families.status(child) == "PAUSED"

    async def test_descendants_of_an_ended_run_can_be_cancelled(self, families: Families) -> None:
        parent, child = await self.final_parent(families)
        answer = await families.cancel(parent, below=True)
        assert answer == {"run": {"status": "SUCCEEDED"}, "cancelledRunIds": [child]}
        assert await families.cancel(parent, below=True) == {"code": "RUN_NOT_CANCELLABLE"}

    async def test_answer_names_all_that_was_cancelled(self, families: Families) -> None:
        await families.flow(NAP, name="kid")
        parent = await families.start(await families.flow(loop("kid", [1, 2])))
        children = [child["id"] for child in await families.children(parent)]
        assert (await families.cancel(parent))["cancelledRunIds"] == [parent, *children]


class TestOneRetryAtATime:
    """A run that has a retry is retried again only by force; of a chain, only the last run is retried."""

    async def test_second_retry_finds_the_live_one(self, families: Families) -> None:
        run_id = await families.start(await families.flow(ONCE, ASK))
        first = (await families.retry(run_id))["run"]["id"]
        second = await families.retry(run_id)
        assert (second["code"], second["run"]["id"]) == ("RETRY_UNDER_WAY", first)
        abilities = (await families.run(run_id))["retryability"]
        assert {ability["reason"] for ability in abilities} == {"RETRY_UNDER_WAY"}
        assert (await families.retry(run_id, force=True))["__typename"] == "RetrySuccess"

    async def test_recovered_run_names_the_run_that_succeeded(self, families: Families) -> None:
        run_id = await families.start(await families.flow(ONCE))
        first = (await families.retry(run_id))["run"]["id"]
        second = await families.retry(run_id)
        assert (second["code"], second["run"]["id"]) == ("ALREADY_RECOVERED", first)

    async def test_only_the_last_run_of_a_chain_is_retried(self, families: Families) -> None:
        run_id = await families.start(await families.flow(BOOM))
        last = (await families.retry(run_id))["run"]["id"]
        refused = await families.retry(run_id)
        assert (refused["code"], refused["run"]["id"]) == ("RETRIED_SINCE", last)

    async def test_bulk_retries_do_not_multiply_runs(self, families: Families) -> None:
        flow = await families.flow(BOOM)
        await families.start(flow)
        succeeded = []
        for _ in range(4):
            arguments = f'filter: {{flowIds: ["{flow}"], unrecovered: true}}, strategy: {ON_LATEST}'
            succeeded.append((await families.bulk("bulkRetry", arguments))["succeeded"])
        assert succeeded == [1, 1, 1, 1]

    @pytest.mark.parametrize("strategy", [FROM_FAILED, ON_LATEST])
    async def test_bulk_retry_leaves_children_to_their_parents(self, families: Families, strategy: str) -> None:
        await families.flow(BOOM, name="leaf")
        await families.flow(call("leaf"), name="kid")
        flow = await families.flow(call("kid"))
        await families.start(flow, tags=["t"])
        select = 'filter: {statuses: [FAILED], tags: ["t"]}'
        plan = (await families.bulk("bulkRetry", f"{select}, strategy: {strategy}, dryRun: true"))["plan"]
        assert plan == {"eligible": 1, "ineligible": [{"reason": "COVERED_BY_PARENT", "count": 2}]}
        done = await families.bulk("bulkRetry", f"{select}, strategy: {strategy}")
        assert (done["succeeded"], done["skipped"]) == (1, 2)

    async def test_bulk_retry_takes_children_whose_parents_do_not_repeat_them(self, families: Families) -> None:
        await families.flow(BOOM, name="kid")
        flow = await families.flow(call("kid", wait=False), BOOM)
        await families.start(flow, tags=["t"])
        done = await families.bulk("bulkRetry", f'filter: {{tags: ["t"]}}, strategy: {FROM_FAILED}')
        assert (done["succeeded"], done["skipped"]) == (2, 0)

    async def test_retryability_gives_hints(self, families: Families) -> None:
        flow = await families.flow(
            {"name": "a", "kind": "transform", "input": {}}, output="{{ steps.a.output.missing }}"
        )
        run_id = await families.start(flow)
        kept = (await families.run(run_id))["retryability"][0]
        assert (kept["allowed"], kept["reusedSteps"], kept["rerunSteps"]) == (True, 1, 0)
        assert "executes none" in kept["message"]
        publish = "mutation($f: ID!, $d: JSON!) { publishFlowVersion(flowId: $f, definition: $d) { __typename } }"
        await families.app.query(publish, {"f": flow, "d": {"steps": [ASK]}})
        assert "newer version" in (await families.run(run_id))["retryability"][0]["message"]

    async def test_retryability_mentions_live_detached_children(self, families: Families) -> None:
        await families.flow(NAP, name="kid")
        run_id = await families.start(await families.flow(call("kid", wait=False), BOOM))
        messages = [ability["message"] for ability in (await families.run(run_id))["retryability"]]
        assert ["1 child runs" in message for message in messages] == [True] * len(RetryStrategy)


class TestSiblings:
    """What becomes of the other items of a loop of which one has failed."""

    KID = ({**BOOM, "when": "{{ run.input.n == 1 }}"}, NAP)

    async def test_waiting_parent_reports_the_failure(self, families: Families) -> None:
        await families.flow(*self.KID, name="kid")
        parent = await families.start(await families.flow(loop("kid", [0, 1, 2])))
        found = await families.run(parent)
        assert found["status"] == "PAUSED"
        assert found["statusHistory"][-1]["message"] == "1 of 3 failed; the step fails when the others have ended"

    async def test_others_can_be_cancelled(self, families: Families) -> None:
        await families.flow(NAP, name="leaf")
        await families.flow({**BOOM, "when": "{{ run.input.n == 1 }}"}, call("leaf"), name="kid")
        parent = await families.start(await families.flow(loop("kid", [0, 1, 2], onItemFailure="CANCEL")))
        assert await families.status(parent) == "FAILED"
        children = await families.children(parent)
        assert sorted(child["status"] for child in children) == ["FAILED", "STOPPED", "STOPPED"]
        below = [leaf["status"] for child in children for leaf in await families.children(child["id"])]
        assert set(below) == {"STOPPED"}

    async def test_parent_that_is_ended_from_outside_leaves_no_waiting_child(self, families: Families) -> None:
        await families.flow(NAP, name="kid")
        parent = await families.start(await families.flow(call("kid")))
        failing = await families.flow(BOOM, name="failing")
        await families.start(failing, parentRunId=parent, failParentOnFailure=True)
        waited = next(child for child in await families.children(parent) if child["status"] != "FAILED")
        assert (await families.status(parent), waited["status"]) == ("FAILED", "STOPPED")

    async def test_disabled_flow_starts_no_further_child(self, families: Families) -> None:
        kid = await families.flow({**ASK, "when": "{{ run.input.n == 0 }}"}, name="kid")
        parent = await families.start(await families.flow(loop("kid", [0, 1, 2], concurrency=1)))
        await families.app.query(
            "mutation($f: ID!) { updateFlow(flowId: $f, enabled: false) { __typename } }", {"f": kid}
        )
        (asking,) = await families.children(parent)
        await families.resume(asking["id"], "yes")
        found = await families.run(parent)
        assert (found["status"], found["error"], len(found["childRuns"]["nodes"])) == (
            "FAILED",
            {"code": "FLOW_DISABLED"},
            1,
        )


class TestTimeouts:
    """The timeout of a step applies to every kind."""

    @pytest.mark.parametrize(
        "step", [call("kid"), {**ASK, "name": "call"}, {**NAP, "name": "call"}], ids=["flow", "humanInput", "delay"]
    )
    async def test_step_that_waits_times_out(self, families: Families, fake_clock: FakeClock, step: Any) -> None:
        await families.flow(NAP, name="kid")
        run_id = await families.start(await families.flow({**step, "timeout": 60}))
        await fake_clock.advance(59)
        await families.work_off()
        assert await families.status(run_id) == "PAUSED"
        await fake_clock.advance(2)
        await families.work_off()
        found = await families.run(run_id)
        assert (found["status"], found["error"], found["pendingInputs"]) == ("FAILED", {"code": "TIMEOUT"}, [])
        assert {child["status"] for child in found["childRuns"]["nodes"]} <= {"STOPPED"}

    async def test_each_attempt_has_its_own_timeout(self, families: Families, fake_clock: FakeClock) -> None:
        await families.flow(NAP, name="kid")
        step = {**call("kid"), "timeout": 60, "retry": {"attempts": 2, "delay": 0, "jitter": 0}}
        run_id = await families.start(await families.flow(step))
        await fake_clock.advance(61)
        await families.work_off()
        assert [child["status"] for child in await families.children(run_id)] == ["STOPPED", "PAUSED"]
        await fake_clock.advance(61)
        await families.work_off()
        assert await families.status(run_id) == "FAILED"


async def test_large_results_of_a_loop_stay_with_the_children(families: Families) -> None:
    await families.flow({"name": "s", "kind": "transform", "input": "{{ 'x' * 300000 }}"}, name="kid")
    parent = await families.start(await families.flow(loop("kid", range(4))))
    found = await families.run(parent)
    assert (found["status"], found["output"]) == ("SUCCEEDED", {"count": 4, "truncated": True})


@pytest.mark.parametrize("name", [f"flow_{'0' * 32}", " ", "a" * 201])
async def test_names_that_cannot_be_called_are_refused(families: Families, name: str) -> None:
    text = "mutation($n: String!) { result: createFlow(name: $n) { __typename } }"
    assert await families.app.error_code(text, {"n": name}) == "INVALID_ARGUMENT"


async def test_flow_is_called_by_any_form_of_its_name(families: Families) -> None:
    await families.flow({"name": "s", "kind": "transform", "input": 7}, name=" caf\u0065\u0301 ")
    run_id = await families.start(await families.flow(call("\tcaf\u00e9")))
    assert (await families.run(run_id))["output"] == 7


class TestArchive:
    """Archiving takes descendants along."""

    async def archived(self, families: Families) -> tuple[list[str], str]:
        await families.flow({"name": "s", "kind": "transform", "input": 1}, name="leaf")
        await families.flow(call("leaf"), name="kid")
        await families.start(await families.flow(loop("kid", [0, 1])), tags=["t"])
        nodes = (await families.app.query(self.LIST))["flowRuns"]["nodes"]
        root = min(node["id"] for node in nodes)
        return [node["id"] for node in nodes], root

    LIST = """{ flowRuns(filter: {tags: ["t"]}, first: 10) { nodes { id } totalCount }
        flowRunStats(filter: {tags: ["t"]}) { total } }"""

    async def counts(self, families: Families) -> tuple[int, int]:
        found = await families.app.query(self.LIST)
        return found["flowRuns"]["totalCount"], found["flowRunStats"]["total"]

    async def test_descendants_leave_lists_and_statistics(self, families: Families) -> None:
        runs, root = await self.archived(families)
        assert await self.counts(families) == (len(runs), len(runs)) == (5, 5)
        operation = await families.bulk("bulkArchive", f'filter: {{ids: ["{root}"]}}')
        assert (operation["succeeded"], await self.counts(families)) == (1, (0, 0))

    async def test_undo_and_unarchive_bring_them_back(self, families: Families) -> None:
        runs, root = await self.archived(families)
        first = await families.bulk("bulkArchive", f'filter: {{ids: ["{root}"]}}')
        await families.bulk("bulkUnarchive", f'operationId: "{first["id"]}"')
        assert (await self.counts(families))[0] == len(runs)
        await families.bulk("bulkArchive", f'filter: {{ids: ["{root}"]}}')
        await families.bulk("bulkUnarchive", f'filter: {{ids: ["{root}"]}}')
        assert (await self.counts(families))[0] == len(runs)

    async def test_all_runs_of_a_family_can_be_selected(self, families: Families) -> None:
        runs, _ = await self.archived(families)
        operation = await families.bulk("bulkArchive", 'filter: {tags: ["t"]}')
        assert (operation["succeeded"], operation["skipped"]) == (len(runs), 0)

    async def test_child_that_was_archived_before_stays_archived(self, families: Families) -> None:
        runs, root = await self.archived(families)
        await families.bulk("bulkArchive", f'filter: {{ids: ["{max(runs)}"]}}')
        second = await families.bulk("bulkArchive", f'filter: {{ids: ["{root}"]}}')
        await families.bulk("bulkUnarchive", f'operationId: "{second["id"]}"')
        assert (await self.counts(families))[0] == len(runs) - 1
