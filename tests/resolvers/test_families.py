"""Tests of retries, cancellations and archiving in families of runs: parents, loops and their children."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from db.runs import claims
from domain import ids
from domain.ids import IdKind
from engine.steps import StepContext
from engine.worker.bulk_worker import BulkWorker
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness

BOOM = {"name": "boom", "kind": "transform", "input": "{{ 1 / 0 }}"}
ASK = {"name": "ask", "kind": "humanInput", "input": {"title": "Well?"}}
NAP = {"name": "nap", "kind": "delay", "input": {"for": 3600}}
ONCE = {"name": "once", "kind": "transform", "input": "{{ 1 // (run.attempt - 1) }}"}
"""Fails in the first run of a chain of retries."""
RUN = """query($id: ID!) { flowRun(id: $id) { id status attempt output input error { code } recoveredBy { id }
    steps { name status output reusedFrom { id } } pendingInputs { id } statusHistory { message }
    retryability { strategy allowed reason message reusedSteps rerunSteps } retryOf { id } parentRun { id }
    files { name runId: id } childRuns(first: 100) { nodes { id status attempt retryOf { id } input } } } }"""
RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $force: Boolean! = false) {
    result: retry(runId: $id, strategy: $strategy, force: $force) { __typename
        ... on RetrySuccess { run { id } } ... on RetryUnderWay { run { id } } ... on AlreadyRecovered { run { id } }
        ... on RetriedSince { run { id } } ... on UserError { code message } } }"""
CANCEL = """mutation($id: ID!, $below: Boolean! = false) { result: cancel(runId: $id, includeDescendants: $below) {
    ... on CancelSuccess { run { status } cancelledRunIds } ... on UserError { code } } }"""
FROM_FAILED, ON_LATEST = "FROM_FAILED_STEP", "ON_LATEST_VERSION"


class Families:
    """A service whose due runs a test executes step by step."""

    def __init__(self, app: App, worker: WorkerHarness) -> None:
        self.app, self.worker = app, worker
        self.actions: dict[str, Any] = {}

    async def flow(self, *steps: dict[str, Any], name: str = "flow", **definition: Any) -> str:
        return await self.app.create_flow({"steps": list(steps), **definition}, name)

    async def start(self, flow_id: str, **values: Any) -> str:
        """Starts a run, executes all that is due, and returns its ID."""
        run_id: str = (await self.app.start(flow_id, **values))["run"]["id"]
        await self.work_off()
        return run_id

    async def work_off(self) -> None:
        executor = await self.worker.executor(**self.actions)
        while claimed := await self.app.database.write(claims.claim, 10, timedelta(minutes=1)):
            for run in claimed:
                await executor.execute(run)

    async def run(self, run_id: str) -> Any:
        return (await self.app.query(RUN, {"id": run_id}))["flowRun"]

    async def status(self, run_id: str) -> str:
        status: str = (await self.run(run_id))["status"]
        return status

    async def children(self, run_id: str) -> list[Any]:
        nodes: list[Any] = (await self.run(run_id))["childRuns"]["nodes"]
        return sorted(nodes, key=lambda node: str(node["id"]))

    async def retry(self, run_id: str, strategy: str = FROM_FAILED, *, force: bool = False) -> Any:
        """Retries a run, and executes all that is due; returns the result of the mutation."""
        variables = {"id": run_id, "strategy": strategy, "force": force}
        result = (await self.app.query(RETRY, variables))["result"]
        await self.work_off()
        return result

    async def cancel(self, run_id: str, *, below: bool = False) -> Any:
        return (await self.app.query(CANCEL, {"id": run_id, "below": below}))["result"]

    async def resume(self, run_id: str, response: Any) -> None:
        (request,) = (await self.run(run_id))["pendingInputs"]
        text = """mutation($r: ID!, $q: ID!, $a: JSON!) { resumeRun(runId: $r, requestId: $q, response: $a) {
            ... on UserError { code message } } }"""
        assert (await self.app.query(text, {"r": run_id, "q": request["id"], "a": response}))["resumeRun"] == {}
        await self.work_off()

    async def bulk(self, mutation: str, arguments: str) -> Any:
        """Executes a bulk operation, and all that is due then."""
        text = f"""mutation {{ result: {mutation}({arguments}) {{ ... on BulkOperationSuccess {{ operation {{ id
            succeeded skipped reasons {{ reason count }} plan {{ eligible ineligible {{ reason count }} }} }} }}
            ... on UserError {{ code message }} }} }}"""
        operation = (await self.app.query(text))["result"]["operation"]
        await BulkWorker(self.app.database).drain()
        await self.work_off()
        return operation


@pytest.fixture
async def families(fake_clock: FakeClock, idle_app: App) -> AsyncIterator[Families]:
    async with AsyncExitStack() as resources:
        project_id = ids.decode(IdKind.PROJECT, idle_app.project)
        yield Families(idle_app, WorkerHarness(idle_app.database, project_id, resources))


def call(flow: str, **more: Any) -> dict[str, Any]:
    return {"name": "call", "kind": "flow", "input": {"flow": flow, **more}}


def loop(flow: str, items: Sequence[Any], **more: Any) -> dict[str, Any]:
    return call(flow, forEach=list(items), input={"n": "{{ item }}"}, **more)


class TestPlaceOfRetry:
    """A retried child takes the place of the one that failed while the parent waits there; else it is detached."""

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

    async def test_later_retry_keeps_what_earlier_ones_kept(self, families: Families) -> None:
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

    async def test_retryability_says_what_a_retry_cannot_mend(self, families: Families) -> None:
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

    async def test_retryability_says_that_detached_children_live(self, families: Families) -> None:
        await families.flow(NAP, name="kid")
        run_id = await families.start(await families.flow(call("kid", wait=False), BOOM))
        messages = [ability["message"] for ability in (await families.run(run_id))["retryability"]]
        assert ["1 child runs" in message for message in messages] == [True, True]


class TestSiblings:
    """What becomes of the other items of a loop of which one has failed."""

    KID = ({**BOOM, "when": "{{ run.input.n == 1 }}"}, NAP)

    async def test_parent_that_waits_says_so(self, families: Families) -> None:
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
    """The timeout of a step holds for every kind."""

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
