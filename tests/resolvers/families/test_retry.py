"""Retries of children: their position in the parent, the results that they keep, their idempotency keys."""

from typing import Any

import pytest

from domain import ids
from domain.ids import IdKind
from engine.steps import StepContext
from tests.resolvers.families.harness import ASK, BOOM, FROM_FAILED, NAP, ON_LATEST, ONCE, RETRY, Families, call, loop
from tests.support.clock import FakeClock


class TestPlaceOfRetry:
    """A retried child replaces the failed one while the parent waits there; otherwise it is detached."""

    async def waiting(self, families: Families) -> tuple[str, str, str]:
        """Returns a parent that waits for item 1 while item 0 has failed, and these two."""
        await families.flow(
            {**ONCE, "when": "{{ run.input.n == 0 }}"}, {**ASK, "when": "{{ run.input.n == 1 }}"}, name="kid"
        )
        parent = await families.start(await families.flow(loop("kid", [0, 1])))
        failed, asking = [child["id"] for child in await families.children(parent)]
        assert [await families.status(run) for run in (parent, failed, asking)] == ["PAUSED", "FAILED", "PAUSED"]
        return parent, failed, asking

    @pytest.mark.parametrize("strategy", [FROM_FAILED, ON_LATEST])
    @pytest.mark.parametrize("in_bulk", [False, True])
    async def test_success_is_the_result_of_the_item(self, families: Families, strategy: str, in_bulk: bool) -> None:
        parent, failed, asking = await self.waiting(families)
        if in_bulk:
            arguments = f'filter: {{ids: ["{failed}"]}}, strategy: {strategy}'
            assert (await families.bulk("bulkRetry", arguments))["succeeded"] == 1
        else:
            await families.retry(failed, strategy)
        assert await families.status(parent) == "PAUSED"
        await families.resume(asking, "yes")
        found = await families.run(parent)
        assert (found["status"], found["output"]) == ("SUCCEEDED", [1, "yes"])

    async def test_parent_waits_for_the_retry_alone(self, families: Families) -> None:
        parent, failed, asking = await self.waiting(families)
        await families.app.query(RETRY, {"id": failed, "strategy": ON_LATEST})
        await families.resume(asking, "yes")
        assert (await families.run(parent))["output"] == [1, "yes"]

    async def test_failure_and_cancellation_of_the_retry_are_those_of_the_item(self, families: Families) -> None:
        await families.flow(
            {**BOOM, "when": "{{ run.input.n == 0 }}"}, {**ASK, "when": "{{ run.input.n == 1 }}"}, name="kid"
        )
        parent = await families.start(await families.flow(loop("kid", [0, 1])))
        failed, asking = [child["id"] for child in await families.children(parent)]
        again = (await families.retry(failed))["run"]["id"]
        assert [await families.status(run) for run in (again, parent)] == ["FAILED", "PAUSED"]
        await families.resume(asking, "yes")
        found = await families.run(parent)
        assert (found["status"], found["error"]) == ("FAILED", {"code": "CHILD_FAILED"})

    @pytest.mark.parametrize("outcome", ["FAILED", "SUCCEEDED", "STOPPED"])
    @pytest.mark.parametrize("in_bulk", [False, True])
    async def test_detached_retry_never_changes_the_parent(
        self, families: Families, outcome: str, in_bulk: bool
    ) -> None:
        kid: dict[str, list[Any]] = {"FAILED": [BOOM], "SUCCEEDED": [ONCE], "STOPPED": [ONCE, NAP]}
        await families.flow(*kid[outcome], name="kid")
        flow = await families.flow({**call("kid"), "continueOnFailure": True}, ASK)
        parent = await families.start(flow)
        (failed,) = await families.children(parent)
        if in_bulk:
            await families.bulk("bulkRetry", f'filter: {{parentRunId: "{parent}"}}, strategy: {ON_LATEST}')
        else:
            await families.retry(failed["id"], ON_LATEST)
        again = next(child for child in await families.children(parent) if child["retryOf"])
        if outcome == "STOPPED":
            await families.cancel(again["id"])
            await families.work_off()
        assert await families.status(again["id"]) == outcome
        assert await families.status(parent) == "PAUSED"

    async def test_child_that_no_step_waits_for_never_ends_its_parent(self, families: Families) -> None:
        await families.flow(BOOM, name="kid")
        parent = await families.start(await families.flow(call("kid", wait=False), ASK))
        (child,) = await families.children(parent)
        assert (child["status"], await families.status(parent)) == ("FAILED", "PAUSED")

    async def test_retry_beyond_the_quota_fails_no_parent(self, families: Families) -> None:
        parent, failed, asking = await self.waiting(families)
        text = """mutation($id: ID!) {
            updateProject(input: {projectId: $id, quotaRuns: 1, quotaPeriod: DAY}) { __typename } }"""
        await families.app.query(text, {"id": families.app.project})
        other = await families.flow(ASK, name="other")
        await families.start(other)
        assert (await families.retry(failed))["code"] == "QUOTA_EXCEEDED"
        assert await families.status(parent) == "PAUSED"
        refused = next(child for child in await families.children(parent) if child["retryOf"])
        await families.app.query(text.replace("quotaRuns: 1", "quotaRuns: 9"), {"id": families.app.project})
        await families.retry(refused["id"])
        await families.resume(asking, "yes")
        assert (await families.run(parent))["output"] == [0, "yes"]  # 1 // 2: the third run of the chain


class TestKeptChildren:
    """A step that is executed again keeps the child runs that succeeded, at every depth."""

    KID = (
        {
            "name": "s",
            "kind": "transform",
            "input": "{{ 1 // (run.attempt - 1) if run.input.n == 3 else run.input.n }}",
        },
    )

    async def test_retry_executes_failed_items_alone(self, families: Families) -> None:
        await families.flow(*self.KID, name="kid")
        parent = await families.start(await families.flow(loop("kid", range(6), concurrency=6)))
        failed = next(child for child in await families.children(parent) if child["status"] == "FAILED")
        again = (await families.retry(parent))["run"]["id"]
        found = await families.run(again)
        assert (found["status"], found["output"]) == ("SUCCEEDED", [0, 1, 2, 1, 4, 5])
        (child,) = found["childRuns"]["nodes"]
        assert (child["retryOf"]["id"], child["attempt"]) == (failed["id"], 2)
        assert (await families.run(failed["id"]))["recoveredBy"] == {"id": child["id"]}

    async def test_items_that_never_started_are_started(self, families: Families) -> None:
        await families.flow(*self.KID, name="kid")
        parent = await families.start(await families.flow(loop("kid", range(6), concurrency=1)))
        assert len(await families.children(parent)) == 4
        again = (await families.retry(parent))["run"]["id"]
        assert (await families.run(again))["output"] == [0, 1, 2, 1, 4, 5]
        assert len(await families.children(again)) == 3

    async def test_later_retry_keeps_results_of_earlier_ones(self, families: Families) -> None:
        step = {
            "name": "s",
            "kind": "transform",
            "input": "{{ 1 // ((run.attempt - 1) // 2) if run.input.n == 1 else 7 }}",
        }
        await families.flow(step, name="kid")
        parent = await families.start(await families.flow(loop("kid", range(3))))
        second = (await families.retry(parent))["run"]["id"]
        assert await families.status(second) == "FAILED"
        third = (await families.retry(second))["run"]["id"]
        assert (await families.run(third))["output"] == [7, 1, 7]
        assert len(await families.children(third)) == 1

    async def test_attempts_of_the_step_itself_keep_children(self, families: Families, fake_clock: FakeClock) -> None:
        await families.flow(*self.KID, name="kid")
        step = {**loop("kid", range(6)), "retry": {"attempts": 2, "delay": 1, "jitter": 0}}
        parent = await families.start(await families.flow(step))
        await fake_clock.advance(5)
        await families.work_off()
        assert (await families.run(parent))["output"] == [0, 1, 2, 1, 4, 5]
        assert len(await families.children(parent)) == 7

    @pytest.mark.parametrize("by_step", [False, True])
    async def test_attempt_that_never_knew_its_items_loses_nothing(
        self, families: Families, fake_clock: FakeClock, by_step: bool
    ) -> None:
        kid = await families.flow(*self.KID, name="kid")
        policy = {"retry": {"attempts": 3, "delay": 10, "factor": 1, "jitter": 0}} if by_step else {}
        parent = await families.start(await families.flow({**loop("kid", range(6), concurrency=6), **policy}))
        text = "mutation($id: ID!, $on: Boolean) { updateFlow(flowId: $id, enabled: $on) { __typename } }"
        await families.app.query(text, {"id": kid, "on": False})
        refused = parent
        if by_step:
            await fake_clock.advance(11)
            await families.work_off()
        else:
            refused = (await families.retry(parent))["run"]["id"]
            assert (await families.run(refused))["error"] == {"code": "FLOW_DISABLED"}
        await families.app.query(text, {"id": kid, "on": True})
        if by_step:
            await fake_clock.advance(11)
            await families.work_off()
        last = parent if by_step else (await families.retry(refused))["run"]["id"]
        found = await families.run(last)
        assert (found["status"], found["output"]) == ("SUCCEEDED", [0, 1, 2, 1, 4, 5])
        assert len(found["childRuns"]["nodes"]) == (7 if by_step else 1)

    async def test_items_of_a_child_are_kept_though_its_rendered_input_differs(self, families: Families) -> None:
        once = {"name": "s", "kind": "transform", "input": "{{ 1 // (run.attempt - 1) if run.input.n == 2 else 0 }}"}
        await families.flow(once, name="leaf")
        value = {"n": "{{ item }}", "of": "{{ run.input.of }}"}
        middle = call("leaf", forEach=[0, 1, 2], input=value)
        await families.flow(middle, name="middle")
        top = await families.flow(call("middle", forEach=[7, 8], input={"of": "{{ run.id }} {{ run.attempt }}"}))
        again = (await families.retry(await families.start(top)))["run"]["id"]
        assert (await families.run(again))["output"] == [[0, 0, 1]] * 2
        for child in await families.children(again):
            (leaf,) = await families.children(child["id"])
            assert (leaf["attempt"], leaf["input"]) == (2, {"n": 2, "of": f"{again} 2"})

    async def test_child_continues_from_its_failed_step_at_every_depth(self, families: Families) -> None:
        calls: list[str] = []

        async def pay(ctx: StepContext) -> None:
            calls.append(ctx.idempotency_key)

        families.actions = {"pay": pay}
        worker = families.worker
        paying = {"name": "pay", "kind": "python", "input": {"action": "pay"}}
        leaf = await worker.publish(paying, ONCE)
        middle = await worker.publish(paying, call(f"flow_{leaf.id.hex}"))
        top = await worker.publish(paying, call(f"flow_{middle.id.hex}"))
        run_id = ids.encode(IdKind.RUN, await worker.start(top))
        await families.work_off()
        assert (await families.status(run_id), len(calls)) == ("FAILED", 3)
        again = (await families.retry(run_id))["run"]["id"]
        assert (await families.status(again), len(calls)) == ("SUCCEEDED", 3)

    async def test_failure_after_which_the_run_continued_is_executed_again(self, families: Families) -> None:
        steps = (
            {**ONCE, "continueOnFailure": True},
            {"name": "kept", "kind": "transform", "input": 5},
            {**ONCE, "name": "last"},
        )
        run_id = await families.start(await families.flow(*steps))
        ability = (await families.run(run_id))["retryability"][0]
        assert (ability["reusedSteps"], ability["rerunSteps"]) == (1, 2)
        found = await families.run((await families.retry(run_id))["run"]["id"])
        assert [(step["name"], bool(step["reusedFrom"])) for step in found["steps"]] == [
            ("once", False),
            ("kept", True),
            ("last", False),
        ]
        assert (found["status"], found["output"]) == ("SUCCEEDED", 1)


class TestIdempotencyKeys:
    """One operation has one idempotency key."""

    async def keys(self, families: Families, strategy: str, **step: Any) -> list[str]:
        sent: list[str] = []

        async def pay(ctx: StepContext) -> None:
            sent.append(ctx.idempotency_key)
            if len(sent) < 3:
                raise ValueError

        families.actions = {"pay": pay}
        flow = await families.worker.publish({"name": "pay", "kind": "python", "input": {"action": "pay"}, **step})
        run_id = ids.encode(IdKind.RUN, await families.worker.start(flow, '{"order": 7}'))
        await families.work_off()
        for _ in range(2):
            run_id = (await families.retry(run_id, strategy))["run"]["id"]
        return sent

    async def test_retries_from_the_failed_step_send_the_first_key(self, families: Families) -> None:
        first, *others = await self.keys(families, FROM_FAILED)
        assert others == [first, first]

    async def test_retry_on_the_latest_version_is_a_new_operation(self, families: Families) -> None:
        assert len(set(await self.keys(families, ON_LATEST))) == 3

    async def test_step_may_set_its_key(self, families: Families) -> None:
        sent = await self.keys(families, ON_LATEST, idempotencyKey="order-{{ run.input.order }}")
        assert sent == ["order-7"] * 3

    @pytest.mark.parametrize("key", ["{{ [] }}", "{{ '' }}", "{{ 'x' * 201 }}"])
    async def test_key_that_is_no_text_fails_the_step(self, families: Families, key: str) -> None:
        assert await self.keys(families, FROM_FAILED, idempotencyKey=key) == []

    async def test_kinds_that_send_no_key_refuse_it(self, families: Families) -> None:
        text = """mutation($d: JSON!) { result: createFlow(name: "f", definition: $d) {
            ... on DefinitionInvalid { problems { path } } } }"""
        definition = {"steps": [{**NAP, "idempotencyKey": "k"}]}
        problems = (await families.app.query(text, {"d": definition}))["result"]["problems"]
        assert problems == [{"path": "steps[0].idempotencyKey"}]

    async def test_templates_see_the_chain(self, families: Families) -> None:
        step = {"name": "s", "kind": "transform", "input": {"first": "{{ run.firstRunId }}", "of": "{{ run.retryOf }}"}}
        flow = await families.flow(
            step, {**ONCE, "when": "{{ run.attempt < 3 }}", "input": "{{ 1 / 0 }}"}, output="{{ steps.s.output }}"
        )
        one = await families.start(flow)
        two = (await families.retry(one, ON_LATEST))["run"]["id"]
        three = (await families.retry(two, ON_LATEST))["run"]["id"]
        assert (await families.run(one))["steps"][0]["output"] == {"first": one, "of": None}
        assert (await families.run(three))["output"] == {"first": three, "of": two}
