"""Retries and reruns after runs were erased or deleted."""

from typing import Any

import pytest

from tests.resolvers.families.harness import BOOM, ON_LATEST, ONCE, Families, loop

START = """mutation($id: ID!, $input: JSON) { retry(runId: $id, strategy: ON_LATEST_VERSION, input: $input) {
    ... on RetrySuccess { run { id } } ... on UserError { code message } } }"""
RERUN = """mutation($id: ID!, $input: JSON) { rerun(runId: $id, input: $input) {
    ... on RerunSuccess { run { id } } ... on UserError { code message } } }"""
CHECKS = """query($id: ID!) { flowRun(id: $id) { retryability { strategy reason message reusedItems rerunItems }
    rerunnability { reason message } } }"""


async def checks(families: Families, run: str) -> Any:
    return (await families.app.query(CHECKS, {"id": run}))["flowRun"]


async def remove(families: Families, action: str, *runs: str) -> None:
    listed = ", ".join(f'"{run}"' for run in runs)
    assert (await families.bulk(action, f"filter: {{ids: [{listed}]}}"))["succeeded"] == len(runs)


class TestInput:
    """An erased run has no input: it is executed again only with another one."""

    async def erased(self, families: Families) -> str:
        run = await families.start(await families.flow(BOOM), input={"n": 1})
        await remove(families, "bulkErase", run)
        return run

    @pytest.mark.parametrize(("mutation", "name"), [(START, "retry"), (RERUN, "rerun")])
    async def test_run_is_repeated_with_another_input_only(self, families: Families, mutation: str, name: str) -> None:
        run = await self.erased(families)
        refused = (await families.app.query(mutation, {"id": run}))[name]
        assert refused["code"] == "STEP_DATA_EXPIRED"
        assert "erased" in refused["message"]
        repeated = (await families.app.query(mutation, {"id": run, "input": {"n": 2}}))[name]["run"]["id"]
        assert (await families.run(repeated))["input"] == {"n": 2}

    async def test_checks_say_so(self, families: Families) -> None:
        found = await checks(families, await self.erased(families))
        answers = [found["rerunnability"], *found["retryability"]]
        assert {answer["reason"] for answer in answers} == {"STEP_DATA_EXPIRED"}
        assert all("Start a new run" in answer["message"] for answer in answers)

    async def test_bulk_retry_skips_it(self, families: Families) -> None:
        run = await self.erased(families)
        done = await families.bulk("bulkRetry", f'filter: {{ids: ["{run}"]}}, strategy: {ON_LATEST}')
        assert done["reasons"] == [{"reason": "STEP_DATA_EXPIRED", "count": 1}]


class TestItems:
    """A loop keeps no item whose run was erased or deleted since."""

    async def failed(self, families: Families) -> str:
        """Returns a parent whose second item fails twice, and asks in its third attempt."""
        fails = "{{ 1 // (0 if run.input.n == 1 and run.attempt < 3 else 1) }}"
        asks = {"name": "ask", "kind": "humanInput", "when": "{{ run.attempt > 2 }}", "input": {"title": "Well?"}}
        work = {"name": "work", "kind": "transform", "input": fails}
        await families.flow(work, asks, name="kid", output="{{ run.input.n }}")
        return await families.start(await families.flow(loop("kid", [0, 1], onItemFailure="WAIT")))

    async def finish(self, families: Families, parent: str) -> Any:
        for child in await families.children(parent):
            if child["status"] == "PAUSED":
                await families.resume(child["id"], "yes")
        return await families.run(parent)

    @pytest.mark.parametrize("action", ["bulkErase", "bulkDelete"])
    async def test_item_is_repeated(self, families: Families, action: str) -> None:
        first = await self.failed(families)
        second = (await families.retry(first))["run"]["id"]
        assert await families.status(second) == "FAILED"
        by_strategy = {each["strategy"]: each for each in (await checks(families, second))["retryability"]}
        assert [by_strategy["FROM_FAILED_STEP"][name] for name in ("reusedItems", "rerunItems")] == [1, 1]
        await remove(families, action, first)
        by_strategy = {each["strategy"]: each for each in (await checks(families, second))["retryability"]}
        assert [by_strategy["FROM_FAILED_STEP"][name] for name in ("reusedItems", "rerunItems")] == [0, 2]
        third = (await families.retry(second))["run"]["id"]
        assert len(await families.children(third)) == 2
        done = await self.finish(families, third)
        assert (done["status"], done["output"]) == ("SUCCEEDED", [0, 1])

    @pytest.mark.parametrize("action", ["bulkErase", "bulkDelete"])
    async def test_step_that_loses_an_item_while_it_waits_fails_and_is_retried(
        self, families: Families, action: str
    ) -> None:
        first = await self.failed(families)
        second = (await families.retry(first))["run"]["id"]
        third = (await families.retry(second))["run"]["id"]
        assert await families.status(third) == "PAUSED"
        refused = await families.bulk(action, f'filter: {{ids: ["{first}"]}}')
        assert refused["reasons"] == [{"reason": "RETRY_UNDER_WAY", "count": 1}]
        (kept,) = (child["id"] for child in await families.children(first) if child["status"] == "SUCCEEDED")
        await remove(families, action, kept)
        lost = await self.finish(families, third)
        assert (lost["status"], lost["error"]["code"]) == ("FAILED", "CHILD_DELETED")
        done = await families.run((await families.retry(third))["run"]["id"])
        assert (done["status"], done["output"]) == ("SUCCEEDED", [0, 1])


async def test_run_whose_recovery_was_deleted_stays_recovered(families: Families) -> None:
    """The answer names no run that does not exist, so that a client does not repeat the request."""
    run = await families.start(await families.flow(ONCE))
    recovery = (await families.retry(run))["run"]["id"]
    assert await families.status(recovery) == "SUCCEEDED"
    await remove(families, "bulkDelete", recovery)
    refused = await families.retry(run)
    assert (refused["__typename"], refused["code"]) == ("RunNotRetryable", "RUN_NOT_RETRYABLE")
    assert "deleted" in refused["message"]
    assert (await families.retry(run, force=True))["__typename"] == "RetrySuccess"
